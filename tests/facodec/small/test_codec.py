"""The codec: lengths, determinism, what each part may depend on, and its files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from speechkit.core.checkpoint import save_checkpoint
from speechkit.core.config import to_dict
from speechkit.core.errors import CheckpointError, ConfigError
from speechkit.core.results import Codes
from speechkit.core.rng import generator
from speechkit.facodec.codec import FACTORS
from speechkit.facodec.small.codec import Analysis, FACodec, build_codec, load_codec
from speechkit.facodec.small.config import FACodecConfig, VocoderConfig
from tests.facodec.builders import vowel
from tests.tiny import CODEBOOK_SIZE, TINY_CODEC

INVERSE_STFT = replace(
    TINY_CODEC, vocoder=VocoderConfig(kind="inverse_stft", channels=16, blocks=1)
)


def fresh(config: FACodecConfig = TINY_CODEC, seed: int = 0) -> FACodec:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_codec(config).eval()


@pytest.fixture(scope="module")
def codec() -> FACodec:
    return fresh()


@pytest.fixture(scope="module")
def wave() -> Tensor:
    return torch.from_numpy(vowel(1.0, 120.0))


def flat_pitch(samples: int, f0_hz: float = 120.0) -> Tensor:
    return torch.full((-(-samples // 160),), f0_hz)


def random_codes(frames: int, seed: int = 0) -> Codes:
    codebooks = torch.randint(CODEBOOK_SIZE, (6, frames), generator=generator(seed))
    return Codes(prosody_KF=codebooks[:1], content_KF=codebooks[1:3], detail_KF=codebooks[3:])


def random_timbre(seed: int = 0) -> Tensor:
    return torch.randn(TINY_CODEC.timbre_channels, generator=generator(seed))


@pytest.mark.parametrize("samples", [1, 319, 320, 321, 4000])
def test_encode_pads_to_whole_frames(codec: FACodec, wave: Tensor, samples: int) -> None:
    codes, timbre_D = codec.encode(wave[:samples], f0_G=flat_pitch(samples))
    frames = -(-samples // 320)
    stacked = codes.stacked()
    assert codes.frames == frames
    assert stacked.shape == (6, frames)
    assert stacked.dtype == torch.int64
    assert 0 <= int(stacked.min()) <= int(stacked.max()) < CODEBOOK_SIZE
    assert timbre_D.shape == (codec.voice_channels,)
    assert bool(torch.isfinite(timbre_D).all())


def test_encode_extracts_pitch_where_none_is_given(codec: FACodec, wave: Tensor) -> None:
    _, found_D = codec.encode(wave)
    _, known_D = codec.encode(wave, f0_G=flat_pitch(len(wave)))
    assert float(found_D[-1]) == pytest.approx(float(known_D[-1]), abs=0.05)


def test_encode_ignores_the_level(codec: FACodec, wave: Tensor) -> None:
    # A power of two, so that the gain undoes it without rounding.
    pitch_G = flat_pitch(len(wave))
    (loud, loud_D), (soft, soft_D) = (codec.encode(w, pitch_G) for w in (wave, wave / 8))
    assert torch.equal(loud.stacked(), soft.stacked())
    assert torch.equal(loud_D, soft_D)


@pytest.mark.parametrize("config", [TINY_CODEC, INVERSE_STFT])
@pytest.mark.parametrize("frames", [1, 7])
def test_decode_gives_320_samples_a_frame(config: FACodecConfig, frames: int) -> None:
    wave_T = fresh(config).decode(random_codes(frames), random_timbre(), generator(0))
    assert wave_T.shape == (320 * frames,)
    assert float(wave_T.abs().max()) <= 1.0


def test_decode_follows_seed_timbre_and_each_factor(codec: FACodec) -> None:
    codes, timbre_D = random_codes(20), random_timbre()

    def say(
        codes: Codes = codes, timbre_D: Tensor = timbre_D, seed: int = 0, **options: Any
    ) -> Tensor:
        return codec.decode(codes, timbre_D, generator(seed), **options)

    plain = say()
    assert torch.equal(say(), plain)
    others = [
        say(seed=1),
        *(say(without=(factor,)) for factor in FACTORS),
        say(timbre_D=random_timbre(1)),
        say(replace(codes, detail_KF=random_codes(20, 1).detail_KF)),
    ]
    assert not any(torch.equal(other, plain) for other in others)
    for factor in FACTORS:
        key = f"{factor}_KF"
        other = replace(codes, **{key: getattr(random_codes(20, 1), key)})
        assert torch.equal(say(other, without={factor}), say(without=(factor,)))
    with pytest.raises(ConfigError, match="any of prosody, content, detail"):
        say(without=("timbre",))


def analysis(frames: int = 30, seed: int = 0) -> Analysis:
    rng = generator(seed)
    return Analysis(
        mel_BMG=torch.randn(2, 80, 2 * frames, generator=rng) - 5,
        contour_BG=torch.randn(2, 2 * frames, generator=rng),
        voiced_BG=(torch.rand(2, 2 * frames, generator=rng) < 0.5).float(),
        median_B=torch.randn(2, generator=rng),
    )


def test_pitch_reaches_prosody_only(codec: FACodec) -> None:
    one = analysis()
    other = replace(one, contour_BG=-one.contour_BG)
    first, second = codec.quantize(one), codec.quantize(other)
    assert not torch.equal(first.prosody.codes_BKF, second.prosody.codes_BKF)
    assert torch.equal(first.content.codes_BKF, second.content.codes_BKF)
    assert torch.equal(codec.timbre(one), codec.timbre(other))


def test_the_mean_log_mel_of_a_recording_reaches_timbre_only(codec: FACodec) -> None:
    one = analysis()
    other = replace(one, mel_BMG=one.mel_BMG + torch.randn(80, 1, generator=generator(9)))
    first, second = codec.quantize(one), codec.quantize(other)
    for name in ("prosody", "content", "detail"):
        codes, changed = getattr(first, name).codes_BKF, getattr(second, name).codes_BKF
        # A tie may fall the other way by rounding.
        assert float((codes == changed).float().mean()) > 0.97
    assert not torch.allclose(codec.timbre(one), codec.timbre(other), atol=0.05)


def test_timbre_ends_with_the_median_pitch(codec: FACodec) -> None:
    one = analysis()
    torch.testing.assert_close(codec.timbre(one)[:, -1] * 0.35, one.median_B)


def test_phone_logits_read_content_codes_frame_by_frame(codec: FACodec) -> None:
    codes_BKF = random_codes(11).content_KF[None]
    assert codec.phone_logits(codes_BKF).shape == (1, 11, len(TINY_CODEC.phone_symbols))


def save(codec: FACodec, folder: Path) -> Path:
    save_checkpoint(folder, codec.state_dict(), {"codec": to_dict(codec.config)})
    return folder


@pytest.mark.parametrize("config", [TINY_CODEC, INVERSE_STFT])
def test_saved_codec_is_the_same_bit_for_bit(
    config: FACodecConfig, wave: Tensor, tmp_path: Path
) -> None:
    made = fresh(config)
    loaded = load_codec(save(made, tmp_path))
    assert loaded.config == config
    assert not loaded.training
    (one, one_D), (other, other_D) = (c.encode(wave, flat_pitch(len(wave))) for c in (made, loaded))
    assert torch.equal(one.stacked(), other.stacked())
    assert torch.equal(one_D, other_D)
    waves = [c.decode(one, one_D, generator(3)) for c in (made, loaded)]
    assert torch.equal(*waves)


def edited(folder: Path, **changes: Any) -> Path:
    config = json.loads((folder / "config.json").read_text())
    config["codec"].update(changes)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_config_that_does_not_fit_the_weights_is_refused(codec: FACodec, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="wrong shape"):
        load_codec(edited(save(codec, tmp_path), channels=24))


def test_an_unknown_config_key_is_named(codec: FACodec, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="chanels.*channels"):
        load_codec(edited(save(codec, tmp_path), chanels=24))


@pytest.mark.parametrize("config", [{}, {"generator": {}}, {"model_type": "vits"}, {"codec": 3}])
def test_a_foreign_model_is_refused(codec: FACodec, tmp_path: Path, config: dict[str, Any]) -> None:
    save(codec, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError):
        load_codec(tmp_path)


def test_the_decoder_listens_to_the_phones_it_is_told() -> None:
    codec = fresh(seed=2)
    assert codec.told_phones is not None
    torch.nn.init.normal_(codec.told_phones.of_class.weight, generator=generator(1))
    codes, timbre_D = random_codes(30), random_timbre()
    plain = codec.acoustics(codes, timbre_D)
    phone_F = torch.zeros(codes.frames, dtype=torch.long)
    told = codec.acoustics(replace(codes, phone_F=phone_F), timbre_D)
    assert (plain.mel_BMG - told.mel_BMG).abs().max() > 1e-2
    assert torch.equal(plain.f0_BG, told.f0_BG)
    # Nothing is told where a phone is not known, nor where content is left out.
    nothing = replace(codes, phone_F=torch.full_like(phone_F, -1))
    assert torch.equal(codec.acoustics(nothing, timbre_D).mel_BMG, plain.mel_BMG)
    without = [
        codec.acoustics(item, timbre_D, without=("content",)).mel_BMG
        for item in (codes, replace(codes, phone_F=phone_F))
    ]
    assert torch.equal(*without)
