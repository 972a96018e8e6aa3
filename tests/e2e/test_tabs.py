"""Every tab with its results: what it offers to hear, and how it looks on screens of any kind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from speechkit.core.audio import read_audio, write_audio
from speechkit.watermark import embed
from tests.e2e.pages import Demo

if TYPE_CHECKING:
    from speechkit.evaluate.asr import WhisperWords

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TEXT = "The ferry leaves the harbour at seven, and the next one is not before noon."
SAID = "If you leave before sunrise, the road over the mountain is usually empty."
MAX_WER = 0.45
TABS = ("Speak", "Factor swap", "Dialogue, long text", "Convert", "Codec", "Detect")
WIDE, NARROW = (1280, 800), (390, 844)
RESULTS = {
    "Speak": "speech",
    "Factor swap": "swap-after",
    "Dialogue, long text": "script-result",
    "Convert": "convert-result",
    "Codec": "codec-result",
}
FAINT = Path(__file__).with_name("contrast.js").read_text(encoding="utf-8")
"""Texts that are seen with a contrast below 4.5, by WCAG 2."""


def test_swap_with_three_prompts(demo: Demo, examples: Path, whisper: WhisperWords | None) -> None:
    demo.open("Factor swap")
    demo.heard("swap-after")
    demo.page.locator("#swap-mode").get_by_label("A text").check()
    demo.write("swap-text", TEXT)
    demo.replace("swap-base", examples / "synthetic_af_heart.flac")
    demo.open_settings("swap-voices")
    demo.upload("swap-timbre", examples / "synthetic_am_michael.flac")
    demo.upload("swap-duration", examples / "synthetic_bf_emma.flac")
    demo.start("swap-go")
    after = demo.heard("swap-after")
    before = demo.heard("swap-before")
    for heard in (before, after):
        assert 2 < heard.seconds < 12
        assert heard.level > 0.005
    # Another rhythm lasts another time, another timbre is another sound.
    assert len(before.wave_T) != len(after.wave_T)
    assert not np.array_equal(before.wave_T[:8000], after.wave_T[:8000])
    if whisper is not None:
        assert before.wer(TEXT, whisper) <= MAX_WER
        assert after.wer(TEXT, whisper) <= MAX_WER
    for name in ("swap-picture", "swap-durations"):
        demo.page.locator(f"#{name} img").wait_for()
    told = demo.text("swap-report")
    assert "timbre from Michael, US man; duration from Emma, UK woman" in told
    assert "everything else stays Heart, US woman" in told
    demo.shoot("swap")


def test_swap_of_a_recording(demo: Demo, examples: Path) -> None:
    demo.open("Factor swap")
    demo.heard("swap-after")
    demo.replace("swap-base", examples / "synthetic_af_bella.flac")
    demo.replace("swap-other", examples / "synthetic_am_fenrir.flac")
    demo.start("swap-go")
    after = demo.heard("swap-after")
    assert after.seconds == pytest.approx(demo.heard("swap-before").seconds, abs=0.03)
    assert after.level > 0.005
    demo.shoot("swap_recording")


def test_a_dialogue_and_a_long_text(demo: Demo, examples: Path, tmp_path: Path) -> None:
    demo.open("Dialogue, long text")
    demo.heard("script-result")
    assert demo.page.locator("#script-files a[download]").count() == 2
    demo.open_settings("script-voices")
    demo.write("script-name-1", "Zoë")
    demo.upload("script-own-1", examples / "synthetic_af_bella.flac")
    demo.write("script-text", "Zoë: Good morning.\nGeorge: Good morning. [pause 2s] Did you sleep?")
    demo.start("script-go")
    heard = demo.heard("script-result")
    assert 4 < heard.seconds < 12
    assert "2 turns" in demo.text("script-report")
    assert "Did you sleep?" in demo.text("script-table")
    demo.shoot("dialogue")

    path = tmp_path / "long.txt"
    path.write_text("The ferry leaves at seven.\n\n[pause 1s] The next one is at noon.\n")
    demo.page.locator("#script-mode").get_by_label("A long text").check()
    demo.page.locator("#script-single").wait_for()
    demo.upload("script-voice", examples / "synthetic_am_fenrir.flac")
    demo.open_settings("script-settings")
    demo.upload("script-file", path)
    demo.page.wait_for_function(
        "document.querySelector('#script-text textarea').value.startsWith('The ferry')"
    )
    demo.start("script-go")
    assert 2 < demo.heard("script-result").seconds < 12
    demo.click("script-result-to-detect")
    demo.page.locator("#detect-recording a[href*=audio]").wait_for(state="attached")
    demo.shoot("long_text")


def test_convert(demo: Demo, examples: Path, whisper: WhisperWords | None) -> None:
    demo.open("Convert")
    demo.heard("convert-result")
    demo.replace("convert-source", examples / "synthetic_af_bella.flac")
    demo.replace("convert-target", examples / "synthetic_am_fenrir.flac")
    demo.start("convert-go")
    heard = demo.heard("convert-result")
    assert heard.seconds == pytest.approx(5.4, abs=0.1)
    if whisper is not None:
        assert heard.wer(SAID, whisper) <= MAX_WER
    demo.page.locator("#convert-picture img").wait_for()
    demo.shoot("convert")


def test_codec_and_a_dropped_stream(demo: Demo, examples: Path) -> None:
    demo.open("Codec")
    demo.heard("codec-result")
    demo.replace("codec-recording", examples / "synthetic_bm_george.flac")
    demo.start("codec-go")
    whole = demo.heard("codec-result")
    demo.page.locator("#codec-picture img").wait_for()
    demo.page.locator("#codec-stream").get_by_label("content").check()
    demo.click("codec-drop")
    dropped = demo.heard("codec-dropped")
    assert len(whole.wave_T) == len(dropped.wave_T)
    assert not np.allclose(whole.wave_T, dropped.wave_T, atol=0.01)
    demo.shoot("codec")


def test_detect(demo: Demo, examples: Path, tmp_path: Path) -> None:
    report = demo.page.locator("#detect-report")
    demo.open("Detect")
    report.get_by_text("Watermarked: synthetic speech").wait_for()
    demo.replace("detect-recording", examples / "synthetic_bf_emma.flac")
    demo.click("detect-go")
    report.get_by_text("No watermark found").wait_for()
    wave_T = read_audio(examples / "synthetic_bf_emma.flac")
    write_audio(tmp_path / "marked.flac", embed(wave_T, 16_000), 16_000)
    demo.replace("detect-recording", tmp_path / "marked.flac")
    demo.click("detect-go")
    report.get_by_text("Watermarked: synthetic speech").wait_for()
    demo.shoot("detect")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_nothing_sticks_out(demo: Demo, theme: str, size: tuple[int, int]) -> None:
    demo.page.set_viewport_size({"width": size[0], "height": size[1]})
    demo.open(theme=theme)
    for tab in TABS:
        demo.open_tab(tab)
        # Each tab opens with a finished example.
        if tab in RESULTS:
            demo.heard(RESULTS[tab])
        else:
            demo.page.get_by_text("Watermarked: synthetic speech").wait_for()
        faint = demo.page.evaluate(FAINT)
        assert not faint, f"hard to read in {tab}: {faint}"
        width = demo.page.evaluate("document.documentElement.scrollWidth")
        demo.shoot(f"{tab.split()[-1].lower()}_{theme}_{size[0]}")
        assert width <= size[0], f"{tab} has to be scrolled sideways"
        assert "consent" in demo.text("consent")
