"""Starting the server and ending it: answers in progress are finished, new requests refused."""

from __future__ import annotations

import signal
import socket
import sys
from types import FrameType

import uvicorn

from speechkit.core.errors import ConfigError
from speechkit.server.app import Service, create_app
from speechkit.server.config import ServerConfig
from speechkit.server.guard import LOOPBACK
from speechkit.server.voices import VoiceStore
from speechkit.server.worker import Worker
from speechkit.tts import ZeroShotTTS

BACKLOG = 64


class _Server(uvicorn.Server):
    """Tells the worker when it is told to end."""

    def __init__(self, config: uvicorn.Config, worker: Worker) -> None:
        super().__init__(config)
        self._worker = worker

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """On SIGTERM and Ctrl-C; a second one ends without waiting."""
        self._worker.draining = True
        super().handle_exit(sig, frame)


def listen(config: ServerConfig) -> socket.socket:
    """A bound socket; raises ConfigError for an address that cannot be had."""
    try:
        kind = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(kind[0], socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(kind[4])
            bound.listen(BACKLOG)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        raise ConfigError(
            f"The server cannot listen on {config.host}:{config.port} ({error.strerror}): give "
            "another --port or --host."
        ) from error
    return bound


def serve(config: ServerConfig) -> None:
    """Run the server until Ctrl-C or SIGTERM.

    Raises CheckpointError for a folder without models or a bad voice, ConfigError for an address
    in use.
    """
    bound = listen(config)
    try:
        tts = ZeroShotTTS.from_pretrained(config.model, device=config.device, dtype=config.dtype)
        voices = VoiceStore(tts, config.voices, config.max_voices)
        service = Service(config, tts, voices)
        options = uvicorn.Config(
            create_app(service),
            log_level="warning",
            access_log=False,
            server_header=False,
            ws="none",
            lifespan="off",
            backlog=BACKLOG,
            limit_concurrency=config.max_connections,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=round(config.grace_seconds),
        )
        server = _Server(options, service.worker)
        # uvicorn raises the signal again when it has ended; then this one takes it, and we return.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: setattr(service.worker, "draining", True))
        print(f"speechkit server: {address(config, bound)}", file=sys.stderr, flush=True)
        try:
            server.run(sockets=[bound])
        finally:
            service.worker.close()
    finally:
        bound.close()


def address(config: ServerConfig, bound: socket.socket) -> str:
    """What to give a client as its base URL, and who may use it."""
    host, port = bound.getsockname()[:2]
    host = f"[{host}]" if ":" in host else host
    open_to_all = config.host not in LOOPBACK and not config.api_key
    warning = " OPEN TO THE NETWORK WITHOUT A KEY (SPEECHKIT_API_KEY)" if open_to_all else ""
    return f"http://{host}:{port}/v1 (Ctrl-C ends it){warning}"
