"""The page: built without network, with the ids and calls it promises, and used by a client."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speechkit.cli import main
from speechkit.demo import ids
from speechkit.demo.jobs import Models
from speechkit.demo.limits import Limits
from tests.demo.conftest import EXAMPLES

CLIP = EXAMPLES / "synthetic_af_heart.flac"


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put back what starting a page sets in the environment."""
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, os.environ.get(name, ""))


@pytest.mark.usefixtures("quiet")
def test_the_page_is_built_without_network_and_keeps_its_promises(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from speechkit.demo.serve import make_page

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("network touched while building the page")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    page = make_page(models, Limits(), tmp_path)
    found = {block.elem_id for block in page.blocks.values()} - {None}
    promised = {name for names in ids.COMPONENTS.values() for name in names}
    assert found == promised
    public = {
        function.api_name for function in page.fns.values() if function.api_visibility == "public"
    }
    assert public == set(ids.CALLS)
    assert not page.api_open


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse connections to anywhere but this machine."""
    connect = socket.socket.connect

    def only_here(self: socket.socket, address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else "a path"
        assert host in ("127.0.0.1", "::1", "localhost", "a path"), f"network touched: {host}"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", only_here)


@pytest.fixture
def client(models: Models, tmp_path: Path, quiet: None, local: None) -> Iterator[Any]:
    """A client of a page that is served here, with tiny weights and without network."""
    from gradio_client import Client

    from speechkit.demo.serve import ServeOptions, launch, make_page

    uploads = tmp_path / "uploads"
    uploads.mkdir()
    options = ServeOptions(limits=Limits(max_text_characters=100, max_file_mb=1))
    page = make_page(models, options.limits, uploads)
    address = launch(page, options)
    assert address.startswith("http://127.0.0.1:")
    made = Client(address, verbose=False, download_files=tmp_path)
    yield made
    made.close()
    page.close()


@pytest.mark.slow
def test_a_client_can_do_everything(client: Any, tmp_path: Path) -> None:
    from gradio_client import handle_file
    from gradio_client.exceptions import AppError

    clip = handle_file(CLIP)

    def speak(text: str, prompt: Any = clip) -> Any:
        return client.predict(prompt, text, None, 3, 1, 1, 0, False, api_name="/speak")

    speech, report, picture, table = speak("Good morning.")
    wave, rate_hz = soundfile.read(speech)
    assert rate_hz == 16_000
    assert len(wave) > 0
    assert "real-time factor" in report
    assert picture["plot"].startswith("data:image/")
    assert table["headers"] == ["phone", "start, s", "end, s"]

    junk = tmp_path / "junk.wav"
    junk.write_text("not audio")
    for text, prompt, said in (
        ("", clip, "The text is empty"),
        ("x" * 100_000, clip, "100000 characters"),
        ("Hello.", None, "The prompt is missing"),
        ("Hello.", handle_file(junk), "not an audio file"),
    ):
        with pytest.raises(AppError, match=said) as caught:
            speak(text, prompt)
        assert str(tmp_path) not in str(caught.value)
    # The next job works, and the same seed says the same.
    again, _ = soundfile.read(speak("Good morning.")[0])
    assert np.array_equal(again, wave)

    assert "Kept" in client.predict(clip, 2, api_name="/trim")[1]
    spoken = ("Text", "Hello.", None, clip, None, clip, None, None, None, 1, 1, 0)
    assert "prosody" in client.predict(*spoken, api_name="/swap")[2]
    recording = ("Recording", "", clip, None, clip, None, None, None, None, 1, 1, 0)
    assert "timbre" in client.predict(*recording, api_name="/swap")[2]
    assert "semitones" not in client.predict(clip, clip, 2, True, 0, api_name="/convert")[1]
    assert "kb/s" in client.predict(clip, api_name="/codec")[1]
    assert "content 2" in client.predict(clip, "content 2", api_name="/drop")[1]
    assert "No watermark found" in client.predict(clip, api_name="/detect")


@pytest.mark.slow
def test_files_outside_are_neither_read_nor_served(client: Any, tmp_path: Path) -> None:
    import httpx

    secret = tmp_path / "secret.wav"
    secret.write_bytes(CLIP.read_bytes())
    sent = {"path": str(secret), "meta": {"_type": "gradio.FileData"}}
    call = f"{client.src}gradio_api/call/trim"
    event = httpx.post(call, json={"data": [sent, 3]}).json()["event_id"]
    answer = httpx.get(f"{call}/{event}", timeout=60).text
    assert "event: error" in answer
    assert str(tmp_path) not in answer
    for path in (secret, Path("/etc/hostname"), Path(__file__)):
        served = httpx.get(f"{client.src}gradio_api/file={path}")
        assert served.status_code == 403
    big = httpx.post(
        f"{client.src}gradio_api/upload", files={"files": ("a.wav", bytes(2 * 1024**2))}
    )
    assert big.status_code == 413


def test_help_needs_no_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--help"]) == 0
    printed = capsys.readouterr().out
    for flag in ("--host", "--port", "--share", "--max-file-mb", "--model", "--threads"):
        assert flag in printed
    assert "127.0.0.1" in printed
