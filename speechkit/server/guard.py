"""What stands before every route: who may call, from where, and how much they may send.

Works on raw ASGI messages, so that a request is refused before its body is read.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from speechkit.server.config import ServerConfig

UPLOADS = "/v1/audio/voices"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def error_body(message: str, code: str, *, param: str | None = None) -> dict[str, Any]:
    """An error as OpenAI's clients read it."""
    kind = "server_error" if code in ("busy", "internal") else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


class Guard:
    """Refuses what is not allowed or too large; passes on the rest."""

    def __init__(self, app: ASGIApp, config: ServerConfig) -> None:
        self._app, self._config = app, config
        self._token = f"Bearer {config.api_key}".encode() if config.api_key else b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _refuse(send, *refusal)
            return
        await self._app(scope, self._limited(scope, receive), send)

    def _refusal(self, scope: Scope, headers: Mapping[bytes, bytes]) -> tuple[int, str, str] | None:
        """Status, message and code of a refusal, or None."""
        host = headers.get(b"host", b"").decode("latin-1")
        if self._config.host in LOOPBACK and _name(host) not in LOOPBACK:
            # A page elsewhere may give its own name our address (DNS rebinding).
            return 403, "This server answers to localhost alone.", "host"
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin and origin not in self._config.cors_origins and _netloc(origin) != host:
            return 403, "Pages of this origin may not call the server (--cors-origin).", "origin"
        if self._token and scope["path"] != "/health" and scope["method"] != "OPTIONS":
            given = headers.get(b"authorization", b"")
            if not hmac.compare_digest(given, self._token):
                return 401, "Give the API key as a bearer token.", "invalid_api_key"
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length[:20]) > self._most_bytes(scope):
            return 413, self._too_large(scope), "too_large"
        return None

    def _most_bytes(self, scope: Scope) -> int:
        upload = scope["path"] == UPLOADS
        return self._config.max_upload_bytes if upload else self._config.max_json_bytes

    def _too_large(self, scope: Scope) -> str:
        return f"The request is larger than {self._most_bytes(scope) >> 10} KiB."

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """`receive` that counts the body's bytes and its time."""
        received = 0
        ended = False
        until = time.monotonic() + self._config.body_seconds

        async def limited() -> Message:
            nonlocal received, ended
            if ended:
                # After the body comes only the news that the client has gone.
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, until - time.monotonic()))
            except asyncio.TimeoutError as error:  # noqa: UP041 (not the same in Python 3.10)
                raise HTTPException(408, "The request did not arrive in time.") from error
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                ended = not message.get("more_body", False)
                if received > self._most_bytes(scope):
                    raise HTTPException(413, self._too_large(scope))
            return message

        return limited


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _netloc(origin: str) -> str:
    """Host and port of an origin."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


async def _refuse(send: Send, status: int, message: str, code: str) -> None:
    """Answer with an error, and end the connection: the body may still be coming."""
    body = json.dumps(error_body(message, code)).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
