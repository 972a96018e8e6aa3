"""Harmful input, clients that go away, too many at once: the server answers and lives on."""

from __future__ import annotations

import io
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .conftest import Running, start

pytest.importorskip("uvicorn", reason="the server needs the extra `server`")

TIMEOUT_SECONDS = 300
get = partial(httpx.get, timeout=TIMEOUT_SECONDS)
post = partial(httpx.post, timeout=TIMEOUT_SECONDS)
delete = partial(httpx.delete, timeout=TIMEOUT_SECONDS)
LONG = "The ferry leaves at noon, and we are late. " * 24


def alive(server: Running) -> None:
    """Fail unless the server still answers and still speaks."""
    answer = post(f"{server.base_url}/audio/speech", json={"input": "Hi."})
    assert answer.status_code == 200, answer.text
    assert server.process.poll() is None


def refused(answer: httpx.Response, *status: int) -> str:
    """The message of an error; fails unless it has the shape and status, and tells no secret."""
    assert answer.status_code in (status or (400,)), (answer.status_code, answer.text[:300])
    message = answer.json()["error"]["message"]
    assert isinstance(message, str)
    assert "Traceback" not in message
    assert str(Path(__file__).resolve().parents[2]) not in answer.text
    return message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[" * 60_000,
        b'{"input": "a", "speed": NaN}',
        b'{"input": "a", "speed": 1e999}',
        b'{"input": "a", "speed": "1"}',
        b'{"input": "a", "speed": true}',
        b'{"input": "a", "speed": 0.1}',
        b'{"input": 5}',
        b'{"input": ["a"]}',
        b'{"input": ""}',
        b'{"input": "  "}',
        b'{"input": "\\u0000\\u0007\\u001b"}',
        b'{"input": "\\ud800"}',
        b'{"input": "a\xff"}',
        b'{"input": "a", "seed": -1}',
        b'{"input": "a", "seed": 1e400}',
        b'{"input": "a", "seed": ' + b"9" * 5000 + b"}",
        b'{"input": "a", "steps": 0}',
        b'{"input": "a", "response_format": "aac"}',
        b'{"input": "a", "response_format": "../wav"}',
        b'{"input": "a", "voice": {"id": 5}}',
        b'{"input": "a", "voice": {"path": "/etc/passwd"}}',
        b'{"input": "a", "timestamps": true, "stream_format": "audio"}',
        b'{"input": "a", "candidates": 2, "stream_format": "audio"}',
        b'{"input": "a", "candidates": 0}',
        b'{"input": "a", "\\ud800": 1}',
        b'{"input": "a", "voice_url": "http://127.0.0.1:1/"}',
        b'{"input": "<speak><audio src=\\"file:///etc/passwd\\"/></speak>"}',
        b'{"input": "a [pause 9999s]"}',
    ],
)
def test_bad_requests_get_one_plain_error(client: httpx.Client, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    assert refused(client.post("/audio/speech", content=body, headers=headers))


@pytest.mark.parametrize(
    "voice",
    ["../../etc/passwd", "/etc/passwd", "C:\\x", "http://127.0.0.1:1/a.wav", "a\0b", "\u202e", "."],
)
def test_voices_are_names_and_never_paths(
    client: httpx.Client, recording: bytes, voice: str
) -> None:
    refused(client.post("/audio/speech", json={"input": "a", "voice": voice}), 404)
    form = {"name": voice, "consent": "yes"}
    refused(client.post("/audio/voices", data=form, files={"audio_sample": recording}))
    for answer in (
        client.delete(f"/audio/voices/{voice.encode('utf-8').hex()}"),
        client.delete("/audio/voices/..%2F..%2Fetc%2Fpasswd"),
    ):
        refused(answer, 404)


def huge_header(kind: str) -> bytes:
    """An audio file whose header promises far more than it holds."""
    if kind == "wav":
        rate = 16_000
        fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
        return b"RIFF\xff\xff\xff\x7fWAVE" + fmt + b"data\xff\xff\xff\x7f" + bytes(100)
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(16_000, np.int16), 16_000, format="FLAC")
    data = bytearray(buffer.getvalue())
    data[21:26] = b"\x0f\xff\xff\xff\xff"
    return bytes(data)


def hour_of_silence() -> bytes:
    """Ten minutes of nothing in a few kilobytes."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(600 * 16_000, np.int16), 16_000, format="FLAC")
    assert len(buffer.getvalue()) < 1 << 20
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an audio"),
        (b"PK\x03\x04" + bytes(1000), "ZIP archive"),
        (b"RIFF" + bytes(1000), "damaged|not an audio"),
        (b"OggS" + bytes(range(256)) * 10, "damaged|not an audio"),
        (huge_header("wav"), "short|silent|long"),
        (huge_header("flac"), "long|damaged"),
        (hour_of_silence(), "600 s long"),
    ],
)
def test_recordings_that_are_none_are_refused(
    client: httpx.Client, data: bytes, message: str
) -> None:
    form = {"name": "bad", "consent": "yes"}
    answer = client.post("/audio/voices", data=form, files={"audio_sample": ("../../x", data)})
    told = refused(answer)
    assert any(part in told for part in message.split("|")), told
    refused(client.get("/audio/voices/bad"), 404)


@pytest.mark.parametrize(
    "form", [{}, {"name": "x"}, {"name": "x", "consent": " "}, {"consent": "yes"}]
)
def test_forms_must_be_whole(client: httpx.Client, recording: bytes, form: dict[str, str]) -> None:
    refused(client.post("/audio/voices", data=form, files={"audio_sample": recording}))
    refused(client.post("/audio/voices", data={**form, "audio_sample": "/etc/passwd"}))
    refused(client.post("/audio/voices", content=b"x", headers={"content-type": "text/plain"}))


def test_bodies_have_a_limit_whether_announced_or_not(
    server: Running, client: httpx.Client
) -> None:
    refused(client.post("/audio/speech", json={"input": "a" * 70_000}), 413)

    def chunks() -> Iterator[bytes]:
        for _ in range(200):
            yield b"a" * 65_536

    for path, content_type in (
        ("/audio/speech", "application/json"),
        ("/audio/voices", "multipart/form-data; boundary=x"),
    ):
        try:
            answer = client.post(path, content=chunks(), headers={"content-type": content_type})
            refused(answer, 400, 413)
        except httpx.TransportError:
            pass  # closed while we were still sending
    alive(server)


def raw(server: Running, data: bytes) -> socket.socket:
    """A connection that has sent these bytes."""
    address = urlsplit(server.base_url)
    made = socket.create_connection(
        (address.hostname or "", address.port or 0), timeout=TIMEOUT_SECONDS
    )
    made.sendall(data)
    return made


def head(body: bytes, host: str = "127.0.0.1", extra: str = "") -> bytes:
    """A request for speech."""
    return (
        f"POST /v1/audio/speech HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n{extra}\r\n"
    ).encode() + body


@pytest.mark.parametrize(
    "data",
    [
        b"\0" * 10_000,
        b"GET / HTTP/1.1\r\nHost: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"%2e%2e/" * 500 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
        + b"9" * 19
        + b"\r\n\r\n",
    ],
)
def test_broken_http_is_answered_or_cut(server: Running, data: bytes) -> None:
    with raw(server, data) as connection:
        answer = connection.recv(100)
    assert not answer or answer.split()[1] in (b"400", b"403", b"404", b"413"), answer
    alive(server)


def test_only_localhost_and_its_own_pages_may_call(server: Running) -> None:
    body = json.dumps({"input": "Hi."}).encode()
    with raw(server, head(body, host="evil.example")) as connection:
        assert b" 403 " in connection.recv(100)
    with raw(server, head(body, extra="Origin: https://evil.example\r\n")) as connection:
        assert b" 403 " in connection.recv(100)
    answer = post(
        f"{server.base_url}/audio/speech",
        json={"input": "Hi."},
        headers={"origin": server.base_url.removesuffix("/v1")},
    )
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


def wait_until_idle(server: Running, seconds: float) -> float:
    """How long the server takes until no job runs or waits."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        health = get(server.base_url.removesuffix("v1") + "health").json()
        if not health["busy"] and not health["waiting"]:
            return time.monotonic() - began
        time.sleep(0.05)
    raise AssertionError(f"still at work after {seconds} s")


@pytest.mark.parametrize("audio_format", ["wav", "pcm"])
def test_work_for_a_client_who_has_gone_is_dropped(server: Running, audio_format: str) -> None:
    body = json.dumps({"input": LONG, "response_format": audio_format}).encode()
    began = time.monotonic()
    post(
        f"{server.base_url}/audio/speech",
        content=body,
        headers={"content-type": "application/json"},
    )
    whole = time.monotonic() - began
    for _ in range(4):
        connection = raw(server, head(body))
        time.sleep(0.1)
        connection.close()
    assert wait_until_idle(server, 300) < 2 * whole
    alive(server)


@pytest.mark.slow
def test_what_does_not_fit_in_line_is_told_when_to_come_back(model: Path) -> None:
    running = start("--model", model, "--max-waiting", "2")
    try:
        url = f"{running.base_url}/audio/speech"
        body = {"input": LONG, "response_format": "wav"}
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda _: post(url, json=body), range(12)))
        codes = {answer.status_code for answer in answers}
        assert codes == {200, 503}
        for answer in answers:
            if answer.status_code == 503:
                assert 1 <= int(answer.headers["retry-after"]) <= 60
                assert answer.json()["error"]["code"] == "busy"
        alive(running)
    finally:
        assert running.end() == 0


def test_sigterm_finishes_what_runs_and_refuses_the_rest(model: Path) -> None:
    running = start("--model", model, "--grace", "300")
    url = f"{running.base_url}/audio/speech"
    got: list[httpx.Response] = []
    body = {"input": LONG[:400], "response_format": "wav"}
    thread = threading.Thread(target=lambda: got.append(post(url, json=body)))
    thread.start()
    while not get(running.base_url.removesuffix("v1") + "health").json()["busy"]:
        time.sleep(0.02)
    assert running.end(300) == 0
    thread.join()
    assert got[0].status_code == 200, got[0].text
    assert soundfile.info(io.BytesIO(got[0].content)).frames > 0
    with pytest.raises(httpx.ConnectError):
        post(url, json=body)


def test_a_key_is_asked_for_where_there_is_one(model: Path, tmp_path: Path) -> None:
    running = start("--model", model, "--voices", tmp_path, key="s3cret")
    try:
        url = f"{running.base_url}/audio/speech"
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "s3cret"}):
            refused(post(url, json={"input": "Hi."}, headers=headers), 401)
        right = {"authorization": "Bearer s3cret"}
        assert post(url, json={"input": "Hi."}, headers=right).status_code == 200
        assert get(running.base_url.removesuffix("v1") + "health").status_code == 200
        assert get(running.base_url.removesuffix("v1") + "openapi.json").status_code == 401
    finally:
        assert running.end() == 0


def test_uploaded_voices_are_kept_in_their_folder(
    model: Path, tmp_path: Path, recording: bytes
) -> None:
    def running() -> Running:
        return start("--model", model, "--voices", tmp_path)

    first = running()
    try:
        form = {"name": "mine", "consent": "yes"}
        url = f"{first.base_url}/audio/voices"
        assert post(url, data=form, files={"audio_sample": recording}).status_code == 200
    finally:
        first.end()
    assert [path.name for path in tmp_path.iterdir()] == ["mine.safetensors"]
    second = running()
    try:
        url = f"{second.base_url}/audio"
        assert post(f"{url}/speech", json={"input": "a", "voice": "mine"}).status_code == 200
        assert delete(f"{url}/voices/mine").status_code == 200
    finally:
        second.end()
    assert not list(tmp_path.iterdir())


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    [
        *("model", "voice", "response_format", "speed", "stream_format", "instructions", "seed"),
        *("steps", "timestamps", "other"),
    ]
)
VALUES = JSON | st.sampled_from(["tts-1", "alloy", "wav", "sse", "audio", 1, 2.0, True, "<speak>"])
TEXT = st.text(max_size=20) | st.sampled_from(["Hi.", "<speak>Hi.</speak>", "Hi [pause 0.1s]."])


@given(st.dictionaries(FIELDS, VALUES, max_size=4), TEXT | JSON)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_json_is_answered(client: httpx.Client, fields: dict[str, Any], text: Any) -> None:
    try:
        content = json.dumps({"input": text, **fields}).encode()
    except (UnicodeEncodeError, ValueError):
        return
    headers = {"content-type": "application/json"}
    answer = client.post("/audio/speech", content=content, headers=headers)
    if answer.status_code != 200:
        refused(answer, 400, 404)


@given(
    st.binary(max_size=400), st.sampled_from([b"", b"RIFF", b"fLaC", b"OggS", b"ID3", b"\xff\xfb"])
)
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_bytes_as_a_recording_are_refused(
    client: httpx.Client, data: bytes, magic: bytes
) -> None:
    form = {"name": "fuzz", "consent": "yes"}
    refused(client.post("/audio/voices", data=form, files={"audio_sample": magic + data}))
