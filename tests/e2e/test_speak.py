"""A visitor speaks: from an upload and from the microphone, cancels, and brings bad files."""

from __future__ import annotations

import re
import wave
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.e2e.pages import Demo

if TYPE_CHECKING:
    from speechkit.evaluate.asr import WhisperWords

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TEXT = "The ferry leaves the harbour at seven, and the next one is not before noon."
LONG_TEXT = " ".join([TEXT] * 20)
MAX_WER = 0.35
RECORDED_SECONDS = 4


def assert_speaks(demo: Demo, text: str, whisper: WhisperWords | None) -> None:
    """The result is a plausible recording of the text, and the page says how it came about."""
    heard = demo.heard("speech")
    assert heard.rate_hz == 16_000
    assert 2 < heard.seconds < 12
    assert heard.level > 0.005
    told = re.search(r"([\d.]+) s of speech", demo.text("report"))
    assert told is not None
    assert float(told[1]) == pytest.approx(heard.seconds, abs=0.01)
    if whisper is not None:
        assert heard.wer(text, whisper) <= MAX_WER


def test_upload_click_and_listen(demo: Demo, examples: Path, whisper: WhisperWords | None) -> None:
    demo.open("Speak")
    demo.upload("prompt", examples / "synthetic_af_heart.flac")
    demo.page.locator("#kept-note").filter(has_text="Kept:").wait_for()
    demo.write("text", TEXT)
    demo.click("go")
    assert_speaks(demo, TEXT, whisper)
    demo.page.locator("#picture img").wait_for()
    demo.shoot("speak")


def test_microphone(demo: Demo, whisper: WhisperWords | None) -> None:
    demo.open("Speak")
    prompt = demo.page.locator("#prompt")
    prompt.get_by_label("Record audio").click()
    prompt.locator("button.record-button").click()
    prompt.locator("time.duration", has_text=f"0:0{RECORDED_SECONDS}").wait_for()
    prompt.locator("button.stop-button").click()
    recorded = demo.heard("prompt")
    assert recorded.seconds > RECORDED_SECONDS - 1
    # The fake microphone plays a clip that says this.
    if whisper is not None:
        said = "she put the kettle on sat down by the window and waited for the rain to pass"
        missed = recorded.wer(said, whisper)
        assert missed < 0.8, "hardly a word of what the microphone heard was recorded"
    demo.write("text", TEXT)
    demo.click("go")
    assert_speaks(demo, TEXT, whisper)
    demo.shoot("microphone")


def test_example_fills_the_prompt(demo: Demo) -> None:
    demo.open("Speak")
    demo.page.locator("#tab-speak").get_by_role("button", name="bm_george").click()
    example = demo.heard("prompt")
    assert example.seconds == pytest.approx(5.4, abs=0.1)


def test_text_file(demo: Demo, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("Zoë reads “Moby-Dick”.\n", encoding="utf-8")
    demo.open("Speak")
    demo.upload("text-file", path)
    demo.page.wait_for_function(
        "document.querySelector('#text textarea').value.includes('Zoë reads “Moby-Dick”.')"
    )


def test_cancel_and_go_again(demo: Demo, examples: Path) -> None:
    demo.open("Speak")
    demo.upload("prompt", examples / "synthetic_am_michael.flac")
    demo.write("text", LONG_TEXT[:1900])
    demo.click("go")
    demo.page.locator("#speech").get_by_text("part 1 of").first.wait_for()
    demo.click("cancel")
    demo.page.locator("#speech .progress-text, #speech .progress-bar").first.wait_for(
        state="hidden"
    )
    assert not demo.page.locator('#speech a[href*="file="]').count()
    demo.shoot("cancelled")
    # The place at the desk is free again, and the page as well.
    demo.write("text", "All is quiet.")
    demo.click("go")
    assert demo.heard("speech").seconds < 6


def test_empty_text_and_no_prompt(demo: Demo) -> None:
    demo.open("Speak")
    demo.write("text", "  ")
    demo.click("go")
    assert "text is empty" in demo.told()
    demo.dismiss()
    demo.write("text", TEXT)
    demo.click("go")
    assert "The prompt is missing" in demo.told()


def test_bad_file(demo: Demo, tmp_path: Path) -> None:
    path = tmp_path / "speech.wav"
    path.write_text("This is a letter and not a recording. " * 100)
    demo.open("Speak")
    demo.upload("prompt", path)
    assert "is not an audio file" in demo.told()
    demo.shoot("bad_file")
    demo.dismiss()
    demo.click("go")
    assert "is not an audio file" in demo.told()
    assert not demo.page.locator('#speech a[href*="file="]').count()


@pytest.mark.parametrize(
    ("seconds", "rate_hz", "words"),
    [(200, 96_000, "maximum"), (200, 8_000, "200 s long")],
    ids=["too many bytes", "too long"],
)
def test_oversize_file(demo: Demo, tmp_path: Path, seconds: int, rate_hz: int, words: str) -> None:
    path = tmp_path / "long.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(np.zeros(seconds * rate_hz, np.int16).tobytes())
    demo.open("Speak")
    demo.page.locator("#prompt input[type=file]").set_input_files(path)
    assert words in demo.told()
    demo.shoot(f"oversize_{seconds * rate_hz}")
