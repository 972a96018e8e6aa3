"""Voice conversion: codes of one recording, timbre of another, nothing else mixed up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

import speechkit
from speechkit.conversion import VoiceConverter
from speechkit.core.errors import AudioError, CheckpointError, ConfigError, PromptError
from speechkit.core.f0 import extract_f0
from speechkit.core.rng import derive, generator
from speechkit.facodec.small.codec import build_codec
from speechkit.watermark import DEFAULT_PAYLOAD, Watermark, embed
from tests.facodec.builders import babble
from tests.facodec.paper import builders as paper
from tests.tiny import TINY_CODEC, tiny_model

EXAMPLES = Path(__file__).parent.parent / "speechkit" / "voices"
WOMAN, MAN = EXAMPLES / "synthetic_af_heart.flac", EXAMPLES / "synthetic_am_michael.flac"


@pytest.fixture(scope="module")
def tiny() -> VoiceConverter:
    """Random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        codec = build_codec(TINY_CODEC).eval()
        for name, parameter in codec.named_parameters():
            # Wake the gates, which start at 0, so that timbre matters.
            if "modulation" in name:
                parameter.data.add_(0.1 * torch.randn_like(parameter))
    return VoiceConverter(codec)


def wave(seconds: float = 1.2, f0_hz: float = 120.0, kind: int = 0) -> Tensor:
    return torch.from_numpy(babble(seconds, f0_hz, kind))


def test_codes_come_from_the_source_and_timbre_from_the_target(tiny: VoiceConverter) -> None:
    source_T, target_T = wave(1.23, 110.0), 0.2 * wave(1.5, 210.0, kind=1)
    made = tiny.convert(source_T, target_T, seed=3, detail=True, watermark=None)
    codes, _ = tiny.codec.encode(source_T)
    target = tiny.target(target_T)
    timbre_D, notes = target.timbre_D, target.notes
    expected_T = tiny.codec.decode(codes, timbre_D, generator(derive(3, "noise")))
    assert len(made.wave_T) == len(source_T)
    assert (made.seed, made.notes) == (3, notes)
    assert made.seconds == pytest.approx(1.23, abs=1e-3)
    # The codec speaks at a level of its own; what is handed back has the source's.
    gain = float(made.wave_T.norm() / expected_T[: len(source_T)].norm())
    torch.testing.assert_close(made.wave_T, expected_T[: len(source_T)] * gain)
    quiet = tiny.convert(source_T / 8, target_T, seed=3, detail=True, watermark=None)
    torch.testing.assert_close(quiet.wave_T, made.wave_T / 8)


def test_seed_detail_and_targets_are_heeded(tiny: VoiceConverter) -> None:
    source_T, target_T = wave(), wave(1.5, 210.0, kind=1)

    def made(target: Any = target_T, **options: Any) -> Tensor:
        return tiny.convert(source_T, target, **options).wave_T

    plain_T = made()
    assert torch.equal(made(), plain_T)
    for other_T in (made(seed=1), made(wave(1.5, 90.0, kind=2)), made(pitch_shift_semitones=1)):
        assert not torch.allclose(other_T, plain_T, atol=1e-4)
    assert not torch.equal(made(detail=True), made(detail=False))
    assert torch.equal(made([target_T, target_T]), plain_T)
    both = tiny.target([target_T, wave(2.0, 90.0)]).timbre_D
    one, other = tiny.target(target_T).timbre_D, tiny.target(wave(2.0, 90.0)).timbre_D
    torch.testing.assert_close(both, (one + other) / 2)


def test_long_sources_come_in_pieces(tiny: VoiceConverter) -> None:
    source_T = wave(1.0).repeat(32)[: 31 * 16_000 + 7]
    target = tiny.target(wave(1.5, 200.0))
    pieces = list(tiny.convert_stream(source_T, target, watermark=None))
    assert [len(piece) for piece in pieces] == [320_000, 176_007]
    # The watermark runs on over the cut, and lags by less than two of its slots.
    watermarked = list(tiny.convert_stream(source_T, target))
    assert 320_000 - 512 < len(watermarked[0]) <= 320_000
    whole_T = embed(torch.cat(pieces), 16_000)
    torch.testing.assert_close(torch.cat(watermarked), whole_T, atol=1e-6, rtol=0)


def test_the_watermark_is_told_and_can_be_left_out(tiny: VoiceConverter) -> None:
    source_T, target = wave(), tiny.target(wave(1.5, 200.0))
    made = tiny.convert(source_T, target)
    plain = tiny.convert(source_T, target, watermark=None)
    other = tiny.convert(source_T, target, watermark=Watermark(payload=7))
    assert (made.watermark, plain.watermark, other.watermark) == (DEFAULT_PAYLOAD, None, 7)
    assert torch.equal(made.wave_T, embed(plain.wave_T, 16_000))
    assert not torch.equal(made.wave_T, other.wave_T)


@pytest.mark.parametrize(
    ("source", "target", "options", "error", "words"),
    [
        (wave()[:319], wave(), {}, AudioError, "less than one frame"),
        (wave()[:0], wave(), {}, AudioError, "mono"),
        (torch.stack([wave(), wave()]), wave(), {}, AudioError, "mono"),
        (wave() / 0, wave(), {}, AudioError, "not finite"),
        (wave(), torch.zeros(32_000), {}, PromptError, "target: The prompt is silent"),
        (wave(), wave()[:15_000], {}, PromptError, "at least 1 s"),
        (wave(), [], {}, PromptError, "at least one"),
        (wave(), [wave(), wave()[:9]], {}, PromptError, "at least 1 s"),
        (wave(), wave(), {"pitch_shift_semitones": 24.5}, ConfigError, "24.5"),
        (wave(), wave(), {"pitch_shift_semitones": float("nan")}, ConfigError, "nan"),
        (Path("none.wav"), wave(), {}, AudioError, "none.wav"),
        (wave(), Path("none.wav"), {}, AudioError, "none.wav"),
    ],
)
def test_bad_input_is_refused_before_the_first_piece(
    tiny: VoiceConverter,
    source: Any,
    target: Any,
    options: dict[str, Any],
    error: type[Exception],
    words: str,
) -> None:
    with pytest.raises(error, match=words):
        tiny.convert_stream(source, target, **options)


def test_silence_stays_silence(tiny: VoiceConverter) -> None:
    made = tiny.convert(torch.zeros(16_000), wave())
    assert float(made.wave_T.abs().max()) < 1e-3


def test_the_paper_codec_converts_at_its_own_level() -> None:
    converter = VoiceConverter(paper.codec(replace(paper.TINY, version="v2")))
    made = converter.convert(wave(0.31), wave(1.1, 200.0), detail=False, watermark=None)
    codes, _ = converter.codec.encode(wave(0.31))
    timbre_D = converter.target(wave(1.1, 200.0)).timbre_D
    expected_T = converter.codec.decode(codes, timbre_D, generator(0), without=("detail",))
    assert torch.equal(made.wave_T, expected_T[: len(made.wave_T)])
    with pytest.raises(ConfigError, match="cannot shift pitch"):
        converter.convert(wave(), wave(), pitch_shift_semitones=1)


def test_folders_and_files(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path) / "codec"
    converter = speechkit.VoiceConverter.from_pretrained(folder)
    assert not converter.trained
    assert converter.weights.startswith("codec ")
    for rate_hz, name in ((16_000, "a.wav"), (44_100, "b.flac")):
        sound = babble(1.5) if rate_hz == 16_000 else np.stack([np.tile(babble(1.5), 3)] * 2, 1)
        soundfile.write(tmp_path / name, sound, rate_hz)
    made = converter.convert(tmp_path / "a.wav", str(tmp_path / "b.flac"))
    assert len(made.wave_T) == 24_000
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError):
        VoiceConverter.from_pretrained(tmp_path / "empty")


@pytest.fixture(scope="module")
def bundled() -> VoiceConverter:
    """The shipped weights."""
    return VoiceConverter.from_pretrained()


def median_hz(wave_T: Tensor) -> float:
    f0 = extract_f0(wave_T.numpy())
    return float(np.median(f0[f0 > 0]))


def test_the_shipped_codec_moves_pitch_and_voice_to_the_target(bundled: VoiceConverter) -> None:
    assert bundled.trained
    target = bundled.target(MAN)
    made = bundled.convert(WOMAN, target)
    _, woman_D = bundled.codec.encode(bundled._wave(WOMAN))
    _, made_D = bundled.codec.encode(made.wave_T)

    def similarity(timbre_D: Tensor) -> float:
        return float(torch.cosine_similarity(made_D[:-1], timbre_D[:-1], dim=0))

    assert similarity(target.timbre_D) > similarity(woman_D) + 0.1
    man_hz, made_hz = median_hz(bundled._wave(MAN)), median_hz(made.wave_T)
    assert abs(np.log2(made_hz / man_hz)) < 1.5 / 12
    higher = bundled.convert(WOMAN, target, pitch_shift_semitones=5)
    assert 12 * np.log2(median_hz(higher.wave_T) / made_hz) == pytest.approx(5, abs=0.7)


def test_the_shipped_codec_keeps_the_f0_contour(bundled: VoiceConverter) -> None:
    source, made = (
        extract_f0(wave_T.numpy())
        for wave_T in (bundled._wave(WOMAN), bundled.convert(WOMAN, MAN).wave_T)
    )
    both = (source > 0) & (made > 0)
    assert both.mean() > 0.25
    shift = np.log2(made[both] / source[both])
    assert np.mean(np.abs(shift - np.median(shift)) < 1 / 12) > 0.7
