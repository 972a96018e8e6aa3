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
    demo.clear("prompt")
    demo.upload("prompt", examples / "synthetic_af_heart.flac")
    demo.open_settings("settings")
    demo.page.locator("#trim-note").filter(has_text="Kept:").wait_for()
    demo.write("text", TEXT)
    demo.start("go")
    assert_speaks(demo, TEXT, whisper)
    demo.page.locator("#picture img").wait_for()
    demo.shoot("speak")


def test_microphone(demo: Demo, whisper: WhisperWords | None) -> None:
    demo.open("Speak")
    demo.clear("prompt")
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
    demo.start("go")
    assert_speaks(demo, TEXT, whisper)
    demo.shoot("microphone")


def test_example_fills_the_prompt(demo: Demo) -> None:
    demo.open("Speak")
    demo.page.locator("#tab-speak").get_by_role("button", name="Fenrir, US man").click()
    demo.page.locator("#prompt a[href*=fenrir]").wait_for(state="attached")
    assert demo.heard("prompt").seconds == pytest.approx(4.92, abs=0.1)


def test_text_file(demo: Demo, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("Zoë reads “Moby-Dick”.\n", encoding="utf-8")
    demo.open("Speak")
    demo.open_settings("settings")
    demo.upload("text-file", path)
    demo.page.wait_for_function(
        "document.querySelector('#text textarea').value.includes('Zoë reads “Moby-Dick”.')"
    )


def test_cancel_and_go_again(demo: Demo, examples: Path) -> None:
    demo.open("Speak")
    demo.heard("speech")
    demo.clear("prompt")
    demo.upload("prompt", examples / "synthetic_am_michael.flac")
    demo.write("text", LONG_TEXT[:1900])
    demo.start("go")
    report = demo.page.locator("#report")
    report.get_by_text("part 1 of").first.wait_for()
    demo.click("cancel")
    report.get_by_text("Cancelled").wait_for()
    assert not demo.page.locator('#speech a[href*="file="]').count()
    demo.shoot("cancelled")
    # The worker is free again, and the page as well.
    demo.write("text", "All is quiet.")
    demo.click("go")
    assert demo.heard("speech").seconds < 6


def test_the_result_is_where_the_eye_is(demo: Demo) -> None:
    # "All is quiet." may be too short for a watermark, which Detect is asked for in the end.
    text = "All is quiet, and the harbour lights are burning low."
    for width, height in ((1280, 800), (390, 844)):
        demo.page.set_viewport_size({"width": width, "height": height})
        demo.open("Speak")
        demo.heard("speech")
        demo.write("text", text)
        demo.page.locator("#text textarea").press("Control+Enter")
        progress = demo.page.locator("#report progress")
        progress.wait_for()
        demo.page.wait_for_timeout(400)
        assert 0 <= demo.top("report") < height, "progress is out of sight"
        demo.heard("speech")
        assert 0 <= demo.top("speech") < height, "the result is out of sight"
        button = demo.page.locator("#go").bounding_box()
        assert button is not None
        if width < 500:
            assert 0 < demo.top("speech") - button["y"] < 200
    # From there it goes on as a voice, to Convert and to Detect.
    demo.click("speech-to-detect")
    demo.page.locator("#detect-recording a[href*=audio]").wait_for(state="attached")
    demo.click("detect-go")
    demo.page.locator("#detect-report").get_by_text("Watermarked: synthetic speech").wait_for()


def test_empty_text_and_no_prompt(demo: Demo) -> None:
    demo.open("Speak")
    demo.heard("speech")
    demo.clear("prompt")
    demo.write("text", "  ")
    demo.click("go")
    assert "text is empty" in demo.told()
    demo.dismiss()
    demo.write("text", TEXT)
    demo.click("go")
    assert "The voice is missing" in demo.told()


def test_bad_file(demo: Demo, tmp_path: Path) -> None:
    path = tmp_path / "speech.wav"
    path.write_text("This is a letter and not a recording. " * 100)
    demo.open("Speak")
    demo.heard("speech")
    demo.clear("prompt")
    demo.upload("prompt", path)
    assert "is not an audio file" in demo.told()
    demo.shoot("bad_file")
    demo.dismiss()
    # The box is empty again.
    demo.click("go")
    assert "The voice is missing" in demo.told()


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
    demo.clear("prompt")
    demo.page.locator("#prompt input[type=file]").set_input_files(path)
    assert words in demo.told()
    demo.shoot(f"oversize_{seconds * rate_hz}")
