"""The verb `watermark`, and the flags of the verbs that speak."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile

from .conftest import RATE_HZ, Run, buzz

CLIP = Path(__file__).parents[2] / "speechkit" / "voices" / "synthetic_af_bella.flac"


def test_what_is_embedded_is_detected(run: Run, out: Path) -> None:
    done = run("watermark", "embed", CLIP, "-o", out, "--payload", 513, "--json")
    assert json.loads(done.out)["watermark"] == 513
    found = json.loads(run("watermark", "detect", out, CLIP, "--json").out)["files"]
    assert [row["payload"] for row in found] == [513, None]
    assert [row["present"] for row in found] == [True, False]
    told = run("watermark", "detect", out, CLIP).out.splitlines()
    assert "watermarked, payload 513 (0x0201)" in told[0]
    assert "no watermark" in told[1]


def test_what_is_too_short_is_not_said_to_be_watermarked(
    run: Run, tmp_path: Path, out: Path
) -> None:
    short = tmp_path / "short.wav"
    soundfile.write(short, buzz(0.2), RATE_HZ)
    done = run("watermark", "embed", short, "-o", out)
    assert "note: Too short to carry a watermark" in done.err
    assert "watermark  none" in done.out
    facts = json.loads(run("watermark", "embed", short, "-o", out, "--json").out)
    assert facts["watermark"] is None
    assert "Too short" in facts["notes"][0]


def test_files_that_are_no_sound_do_not_stop_the_others(
    run: Run, tmp_path: Path, out: Path
) -> None:
    text = tmp_path / "text.wav"
    text.write_text("not audio")
    assert "text.wav" in run("watermark", "detect", text).error
    short = tmp_path / "short.wav"
    soundfile.write(short, buzz(0.4), RATE_HZ)
    both = run("watermark", "detect", text, short, "--json")
    assert both.code == 2
    rows = json.loads(both.out)["files"]
    assert "text.wav" in rows[0]["error"]
    assert "too short" in rows[1]["note"]
    assert "no folder" in run("watermark", "embed", short, "-o", tmp_path / "a" / "b.wav").error
    assert "also an input" in run("watermark", "embed", short, "-o", short).error


@pytest.mark.parametrize(
    ("flags", "payload"), [((), 0x5301), (("--payload", "9"), 9), (("--no-watermark",), None)]
)
def test_say_watermarks_unless_told_otherwise(
    run: Run, model: Path, prompt: Path, out: Path, flags: tuple[str, ...], payload: int | None
) -> None:
    said = run(
        *("say", "--model", model, "--prompt", prompt, "--text", "Hello there, world."),
        *("-o", out, "--steps", "1", "--json", *flags),
    )
    assert said.code == 0, said.err
    assert json.loads(said.out)["watermark"] == payload


def test_payload_and_no_watermark_exclude_each_other(run: Run, prompt: Path, out: Path) -> None:
    common = ("--prompt", prompt, "--text", "Hi.", "-o", out)
    assert "not allowed with" in run("say", *common, "--payload", "1", "--no-watermark").error
    assert "65535" in run("say", *common, "--payload", "65536").error


@pytest.mark.parametrize("flags", [(), ("--no-watermark",)])
def test_convert_watermarks_unless_told_otherwise(
    run: Run, prompt: Path, out: Path, flags: tuple[str, ...]
) -> None:
    made = run("convert", "--source", CLIP, "--target", prompt, "-o", out, "--json", *flags)
    assert made.code == 0, made.err
    watermarked = not flags
    assert json.loads(made.out)["watermark"] == (0x5301 if watermarked else None)
    (found,) = json.loads(run("watermark", "detect", out, "--json").out)["files"]
    assert found["present"] == watermarked
