"""The page: built without network, with the ids and calls it promises, and used by a client."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speechkit.cli import main
from speechkit.demo.jobs import Models
from speechkit.demo.limits import Limits
from speechkit.demo.widgets import voice_name
from tests.demo.conftest import EXAMPLES

CLIP = EXAMPLES / "synthetic_af_heart.flac"
SOON_SECONDS = 30.0


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put back what starting a page sets in the environment."""
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, os.environ.get(name, ""))


@pytest.mark.usefixtures("quiet")
def test_the_page_is_built_without_network_and_keeps_its_promises(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from speechkit.demo.page import CALLS
    from speechkit.demo.serve import make_page

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("network touched while building the page")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    page = make_page(models, Limits(), tmp_path)
    named = [block.elem_id for block in page.blocks.values() if block.elem_id]
    assert len(named) == len(set(named))
    assert {"prompt", "text", "go", "speech", "swap-factors", "detect-report"} <= set(named)
    public = {
        function.api_name for function in page.fns.values() if function.api_visibility == "public"
    }
    assert public == set(CALLS)
    assert not page.api_open
    # One job at a time, whatever tab it comes from.
    jobs = [function for function in page.fns.values() if function.concurrency_id == "jobs"]
    assert {f.api_name for f in jobs} >= {"speak", "swap", "convert", "codec", "drop", "detect"}
    assert {function.concurrency_limit for function in jobs} == {1}


def test_voices_have_names_that_people_understand() -> None:
    assert voice_name(CLIP) == "Heart, US woman"
    assert voice_name("synthetic_bm_george.flac") == "George, UK man"
    assert voice_name("other/my_voice.wav") == "my_voice"


def test_the_bundled_clips_are_served() -> None:
    from speechkit.demo import serve

    assert CLIP in serve.example_clips()
    assert all(path.parent == EXAMPLES for path in serve.example_clips())


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
def client(
    models: Models, tmp_path: Path, quiet: None, local: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """A client of a page that is served here, with tiny weights and without network."""
    from gradio_client import Client

    from speechkit.demo.serve import ServeOptions, launch, make_page

    uploads = tmp_path / "uploads"
    uploads.mkdir()
    options = ServeOptions(limits=Limits(max_text_characters=100, max_file_mb=1))
    page = make_page(models, options.limits, uploads)
    # As on a machine that is too busy to answer within 3 s.
    monkeypatch.setattr("gradio.networking.url_ok", lambda url: False)
    address = launch(page, options)
    assert address.startswith("http://127.0.0.1:")
    made = Client(address, verbose=False, download_files=tmp_path)
    yield made
    made.close()
    page.close()


@pytest.mark.slow
def test_a_client_can_do_everything(
    client: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from gradio_client import handle_file
    from gradio_client.exceptions import AppError

    clip = handle_file(CLIP)

    def speak(text: str, prompt: Any = clip, speed: float = 1, seed: float = 0) -> Any:
        return client.predict(prompt, text, None, 3, speed, 1, seed, False, api_name="/speak")

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
        ("Hello.", None, "The voice is missing"),
        ("Hello.", handle_file(junk), "not an audio file"),
    ):
        with pytest.raises(AppError, match=said) as caught:
            speak(text, prompt)
        assert str(tmp_path) not in str(caught.value)
    # The next job works, and the same seed says the same.
    again, _ = soundfile.read(speak("Good morning.")[0])
    assert np.array_equal(again, wave)

    for settings, said in (
        ({"speed": 99}, "The speed must be a number from 0.25 to 4"),
        ({"seed": -1}, "The seed must be"),
        ({"seed": 0.5}, "The seed must be"),
    ):
        with pytest.raises(AppError, match=said):
            speak("Hello.", **settings)

    assert "Kept" in client.predict(clip, 2, api_name="/trim")[1]
    rest = (1, 1, 0)
    spoken = ("Text", "Hello.", clip, clip, ["prosody"], *[None] * 5, *rest)
    assert "prosody" in client.predict(*spoken, api_name="/swap")[2]
    own = ("Recording", "", clip, None, [], clip, *[None] * 4, *rest)
    assert "timbre" in client.predict(*own, api_name="/swap")[2]
    for mode, factors, said in (
        ("Song", ["prosody"], "The mode must be"),
        ("Text", ["volume"], "no such factor"),
        ("Text", [], "nothing to swap"),
        ("Recording", ["timbre"], "The voice for timbre is missing"),
    ):
        other = None if mode == "Recording" else clip
        with pytest.raises(AppError, match=said):
            client.predict(
                *(mode, "Hello.", clip, other, factors, *[None] * 5, *rest), api_name="/swap"
            )
    assert "semitones" not in client.predict(clip, clip, 2, True, 0, api_name="/convert")[1]
    assert "kb/s" in client.predict(clip, api_name="/codec")[1]
    assert "content" in client.predict(clip, "content", api_name="/drop")[1]
    with pytest.raises(AppError, match="no such stream"):
        client.predict(clip, "content 9", api_name="/drop")
    assert "No watermark found" in client.predict(clip, api_name="/detect")
    log = capfd.readouterr()
    assert "Traceback" not in log.out + log.err
    assert "Warning" not in log.out + log.err


@pytest.mark.slow
def test_a_client_can_have_a_dialogue_spoken(client: Any) -> None:
    from gradio_client import handle_file
    from gradio_client.exceptions import AppError

    clip, rest = handle_file(CLIP), (1, 1, 0)
    lines = "Emma: Hello. [pause 0.5s] Hm.\nANNA: Good."
    told = ("Dialogue", lines, None, "Anna", clip, "", None, *rest)
    sound, report, table, files = client.predict(*told, api_name="/narrate")
    assert soundfile.info(sound).duration > 0.5
    assert "2 turns" in report
    assert [row[2] for row in table["data"]] == ["Hello.", "Hm.", "Good."]
    assert {Path(path).suffix for path in files} == {".srt", ".vtt"}
    for mode, text, voice, name, said in (
        ("Song", "Hello.", clip, "Anna", "The mode must be"),
        ("Text", "Hello.", None, "", "The voice is missing"),
        ("Dialogue", "ANNA: Hello.", None, "", "There is no voice"),
        ("Dialogue", "Hello.", None, "", "Line 1 has no speaker"),
        ("Dialogue", "Emma: Hello.", clip, "1:", "Give your voice a name"),
    ):
        own = (name, voice) if name else ("", None)
        with pytest.raises(AppError, match=said):
            client.predict(mode, text, voice, *own, "", None, *rest, api_name="/narrate")
    ssml = "<speak>One.<break time='1s'/><voice name='emma'>Two.</voice></speak>"
    spoken = client.predict("Text", ssml, clip, *["", None] * 2, *rest, api_name="/narrate")
    assert soundfile.info(spoken[0]).duration > 1


@pytest.mark.slow
def test_a_cancelled_and_an_abandoned_job_stop(
    models: Models, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpx
    from gradio_client import handle_file

    begun, ended = threading.Event(), threading.Event()

    def endless(*_: Any, report: Any, **__: Any) -> Any:
        begun.set()
        try:
            for number in range(1000):
                time.sleep(0.1)
                report(0.5, f"stage {number}")
        finally:
            ended.set()

    monkeypatch.setattr("speechkit.demo.jobs.code", endless)
    job = client.submit(handle_file(CLIP), api_name="/codec")
    assert begun.wait(SOON_SECONDS)
    job.cancel()
    assert ended.wait(SOON_SECONDS)

    begun.clear()
    ended.clear()
    api = f"{client.src}gradio_api"
    (codec,) = [d["id"] for d in client.config["dependencies"] if d["api_name"] == "codec"]
    with CLIP.open("rb") as file:
        (path,) = httpx.post(f"{api}/upload", files={"files": file}).json()
    sent = {"path": path, "meta": {"_type": "gradio.FileData"}}
    call = {"data": [sent], "fn_index": codec, "session_hash": "stranger"}
    assert httpx.post(f"{api}/queue/join", json=call).is_success
    with httpx.stream("GET", f"{api}/queue/data", params={"session_hash": "stranger"}) as page:
        assert next(page.iter_lines())
        assert begun.wait(SOON_SECONDS)
    # The tab is closed: nobody listens any more.
    assert ended.wait(SOON_SECONDS)
    assert "No watermark found" in client.predict(handle_file(CLIP), api_name="/detect")


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
