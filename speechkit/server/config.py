"""What a server is started with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Where and how the server answers, and what it accepts."""

    host: str = "127.0.0.1"
    """Address to bind; the default is reached from this machine alone."""

    port: int = 8000
    """Port; 0 takes a free one."""

    model: Path | None = None
    """Folder with codec/ and generator/; None takes the bundled weights."""

    device: str = "cpu"
    """Where the models compute: auto, cpu, cuda, mps."""

    dtype: str = "auto"
    """What the generator computes in: auto, float32, bfloat16, float16."""

    voices: Path | None = None
    """Folder of saved voices, where uploaded ones are kept too; None forgets them at the end."""

    api_key: str = ""
    """What clients must send as a bearer token; empty lets everybody in."""

    cors_origins: tuple[str, ...] = ()
    """Origins of web pages that may call the server; none by default."""

    max_text_characters: int = 4096
    """Longest text, as at OpenAI."""

    max_json_bytes: int = 64 << 10
    """Largest request without a recording."""

    max_upload_bytes: int = 10 << 20
    """Largest request with a recording, as at OpenAI."""

    max_upload_seconds: float = 120.0
    """Longest recording that a voice is taken from."""

    max_voices: int = 100
    """Voices that may be uploaded."""

    max_waiting: int = 16
    """Requests that may wait for the model; further ones are turned away."""

    max_wait_seconds: float = 120.0
    """Longest wait for the model."""

    max_connections: int = 128
    """Open connections."""

    body_seconds: float = 30.0
    """Time a client has to send its request."""

    grace_seconds: float = 20.0
    """Time that answers have to finish when the server is told to end."""
