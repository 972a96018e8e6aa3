"""Finding the watermark: after every attack, in a part of a recording, and not where there is
none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from speechkit.core.audio import read_audio
from speechkit.core.errors import AudioError
from speechkit.core.rng import generator
from speechkit.evaluate.attacks import ATTACKS, crop
from speechkit.evaluate.watermark import FalseAlarms, HostClip, run_watermark_suite
from speechkit.watermark import detect, embed
from speechkit.watermark.detection import MAX_P_VALUE, MIN_SECONDS, p_value

EXAMPLES = Path(__file__).parents[2] / "speechkit" / "voices"
CLIPS = sorted(EXAMPLES.glob("*.flac"))
PAYLOAD = 0xBEEF


@pytest.fixture(scope="module")
def speech() -> Tensor:
    return read_audio(CLIPS[0])


@pytest.fixture(scope="module")
def watermarked(speech: Tensor) -> Tensor:
    return embed(speech, 16_000, PAYLOAD)


@pytest.mark.parametrize("name", ATTACKS)
def test_the_watermark_outlives(name: str, watermarked: Tensor) -> None:
    found = detect(ATTACKS[name](watermarked, generator(1)), 16_000)
    assert found.present
    assert found.payload == PAYLOAD
    assert found.p_value <= MAX_P_VALUE
    assert found.watermarked_seconds == pytest.approx(found.seconds)


@pytest.mark.parametrize("seed", range(4))
def test_two_seconds_from_anywhere_are_enough(seed: int, watermarked: Tensor) -> None:
    found = detect(crop(watermarked, generator(seed)), 16_000)
    assert found.payload == PAYLOAD
    assert found.seconds == 2.0


@pytest.mark.parametrize("clip", CLIPS, ids=lambda path: path.stem)
def test_unwatermarked_speech_is_not_called_watermarked(clip: Path) -> None:
    found = detect(read_audio(clip), 16_000)
    assert not found.present
    assert found.payload is None
    assert found.p_value > MAX_P_VALUE
    assert found.watermarked_seconds == 0


def test_a_watermarked_part_of_a_longer_recording_is_found(
    speech: Tensor, watermarked: Tensor
) -> None:
    found = detect(torch.cat([speech, speech, speech, watermarked, speech]), 16_000)
    assert found.payload == PAYLOAD
    assert 4 < found.watermarked_seconds < 0.7 * found.seconds


@pytest.mark.parametrize(
    ("wave_T", "why"),
    [
        (torch.zeros(40_000), "silent"),
        (torch.full((40_000,), 1e-6), "silent"),
        (torch.ones(round(MIN_SECONDS * 16_000) - 1), "too short"),
    ],
)
def test_where_nothing_can_be_said_it_says_so(wave_T: Tensor, why: str) -> None:
    found = detect(wave_T, 16_000)
    assert not found.present
    assert found.p_value == 1
    assert why in found.note


@pytest.mark.parametrize("kind", ["noise", "tone", "clicks", "constant"])
def test_other_sounds_are_not_watermarked(kind: str) -> None:
    time_T = torch.arange(48_000) / 16_000
    sounds = {
        "noise": 0.1 * torch.randn(48_000, generator=generator(3)),
        "tone": 0.5 * torch.sin(6.2832 * 1000 * time_T),
        "clicks": (torch.arange(48_000) % 16_384 == 0).float(),
        "constant": torch.full((48_000,), 0.5),
    }
    assert not detect(sounds[kind], 16_000).present


def test_no_sound_is_refused() -> None:
    with pytest.raises(AudioError, match="no sound"):
        detect(torch.zeros(0), 16_000)


def test_p_values_bound_the_search() -> None:
    assert p_value(0) == p_value(-3) == 1
    assert p_value(5.0) == 1
    assert 1e-6 < p_value(7.0) < 1.2e-5
    assert p_value(7.7) < MAX_P_VALUE < p_value(7.5)
    assert p_value(8.0) < p_value(7.5) < p_value(7.0)


def test_bounds_of_rates_follow_the_rule_of_three() -> None:
    none = FalseAlarms(tried=30_000, found=0, smallest_p_value=0.1)
    assert none.bound == pytest.approx(1e-4, rel=0.01)
    one = FalseAlarms(tried=30_000, found=1, smallest_p_value=0.1)
    assert one.bound == pytest.approx(4.744 / 30_000, rel=0.01)


def test_the_suite_counts_what_it_finds(speech: Tensor) -> None:
    host = HostClip(id="one", wave=lambda: speech)
    report = run_watermark_suite({"clip": [host]}, [host], synthesis_real_time_factor=1.0)
    rows = report.survival["clip"]
    assert set(rows) == set(ATTACKS)
    assert all(row.found == row.right == 1 for row in rows.values())
    assert report.false_alarms["whole clips"].found == 0
    assert report.false_alarms["pieces of 2 s"].tried == 2
    assert report.share_of_synthesis == report.embed_real_time_factor
    assert all(name in report.text() for name in ATTACKS)
