"""What the decoder misses of a voice is measured on its recording and put back when it decodes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from speechkit.core.rng import generator
from speechkit.facodec.pretrained import load_pretrained
from speechkit.facodec.small.codec import FACodec
from speechkit.facodec.small.features import TIMBRE_PITCH_SCALE
from speechkit.facodec.small.spectrum import (
    CLASSES,
    MOST_SHAPES,
    PRIOR_FRAMES,
    PRIOR_SHAPES,
    QUIETER,
    SMOOTH,
    equalise,
    membership,
    missed,
    regressors,
    sharpen,
    spectrum_channels,
)
from speechkit.facodec.small.stream import encode_spans
from tests.facodec.test_stream import built, speech
from tests.tiny import TINY_CODEC


@pytest.fixture(scope="module", params=[0, 3], ids=["offsets", "shapes"])
def codec(request: pytest.FixtureRequest) -> FACodec:
    return built(replace(TINY_CODEC, voice_spectrum=True, voice_shapes=request.param))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed))


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.floats(-14, 2))
def test_every_frame_belongs_to_the_classes_as_a_whole(frames: int, level: float) -> None:
    voiced_BG = (noise(2, frames) > 0).float()
    share_BCG = membership(noise(2, 80, frames, seed=1) + level, voiced_BG)
    assert share_BCG.shape == (2, CLASSES, frames)
    torch.testing.assert_close(share_BCG.sum(1), torch.ones(2, frames))
    loud = float(share_BCG[:, 1:].sum(1).mean())
    if level < -10:
        assert loud < 0.05
    if level > -6:
        assert loud > 0.95


def test_an_offset_of_each_class_is_found_and_put_back() -> None:
    frames = 3000
    voiced_BG = torch.zeros(1, frames)
    voiced_BG[:, 2000:] = 1
    recorded_BMG = noise(1, 80, frames) - 5
    recorded_BMG[..., :1000] -= 9
    offsets_CM = noise(CLASSES, 80, seed=3)
    decoded_BMG = recorded_BMG - offsets_CM.repeat_interleave(1000, 0).T
    found = missed(recorded_BMG, decoded_BMG, voiced_BG)
    drawn_in = 1000 / (1000 + PRIOR_FRAMES)
    torch.testing.assert_close(
        found.spectrum().reshape(CLASSES, 80), offsets_CM * drawn_in, atol=2e-2, rtol=0
    )
    back_BMG = equalise(decoded_BMG, voiced_BG, found.spectrum())
    assert float((back_BMG - recorded_BMG).abs().mean()) < 0.05 * float(offsets_CM.abs().mean())
    # In two parts as in one.
    parts = [
        missed(recorded_BMG[..., span], decoded_BMG[..., span], voiced_BG[:, span])
        for span in (slice(0, 700), slice(700, None))
    ]
    torch.testing.assert_close((parts[0] + parts[1]).spectrum(), found.spectrum())


@pytest.mark.parametrize("shapes", [1, 4, MOST_SHAPES])
def test_what_is_missed_by_shape_is_found_and_put_back(shapes: int) -> None:
    """Against ridge regression by scikit-learn, class by class."""
    frames = 900
    decoded_BMG = 2 * noise(1, 80, frames) - 5
    decoded_BMG[..., :300] -= 12
    voiced_BG = torch.zeros(1, frames)
    voiced_BG[:, 600:] = 1
    told_XG = regressors(decoded_BMG, shapes)[0]
    spans = {0: slice(0, 300), 1: slice(300, 600), 2: slice(600, 900)}
    maps_CXM = noise(CLASSES, 1 + shapes, 80, seed=1)
    maps_CXM[:, 1:] = nn.functional.avg_pool1d(maps_CXM[:, 1:].flatten(0, 1), 9, 1, 4).reshape(
        CLASSES, shapes, 80
    )
    maps_CXM[0, 1:] = 0
    recorded_BMG = decoded_BMG + 0.1 * noise(1, 80, frames, seed=2)
    for one, span in spans.items():
        recorded_BMG[..., span] += maps_CXM[one].T @ told_XG[:, span]
    # Of what is silent the recording tells.
    recorded_BMG[..., :300] = recorded_BMG[..., :300].clamp_max(-12)
    found = missed(recorded_BMG, decoded_BMG, voiced_BG, shapes=shapes)
    spectrum_BS = found.spectrum()
    assert spectrum_BS.shape == (1, spectrum_channels(80, shapes))
    maps, offsets_CM = torch.split(spectrum_BS[0], [2 * shapes * SMOOTH, CLASSES * 80])
    smooth_MO = torch.from_numpy(scipy.fft.dct(np.eye(80), norm="ortho")[:, :SMOOTH]).float()
    weight_G = membership(recorded_BMG, voiced_BG)[0]
    for one in (1, 2):
        from sklearn.linear_model import Ridge

        # An offset with a prior of its own: a column of sqrt(prior of shapes / prior of frames).
        lift = (PRIOR_SHAPES / PRIOR_FRAMES) ** 0.5
        inputs = torch.cat([lift * told_XG[:1], told_XG[1:]]).T.double().numpy()
        wanted = (recorded_BMG - decoded_BMG)[0].T.double().numpy()
        fitted = Ridge(alpha=PRIOR_SHAPES, fit_intercept=False).fit(
            inputs, wanted, sample_weight=weight_G[one].double().numpy()
        )
        expected = torch.tensor(fitted.coef_.T, dtype=torch.float32)
        ours = maps.reshape(2, shapes, SMOOTH)[one - 1]
        torch.testing.assert_close(ours, expected[1:] @ smooth_MO, atol=2e-3, rtol=1e-3)
        torch.testing.assert_close(
            offsets_CM.reshape(CLASSES, 80)[one], lift * expected[0], atol=2e-3, rtol=1e-3
        )
    back_BMG = equalise(decoded_BMG, voiced_BG, spectrum_BS)
    for span in (spans[1], spans[2]):
        left, before = (
            float((some_BMG - recorded_BMG)[..., span].abs().mean())
            for some_BMG in (back_BMG, decoded_BMG)
        )
        assert left < 0.5 * before
    parts = [
        missed(recorded_BMG[..., s], decoded_BMG[..., s], voiced_BG[:, s], shapes=shapes)
        for s in (slice(0, 411), slice(411, None))
    ]
    torch.testing.assert_close((parts[0] + parts[1]).spectrum(), spectrum_BS, atol=1e-4, rtol=1e-3)


def test_sharpening_raises_contrast_of_the_upper_bands_where_something_sounds() -> None:
    mel_BMG = noise(1, 80, 600) - 5
    mel_BMG[..., :200] -= 12
    voiced_BG = torch.zeros(1, 600)
    voiced_BG[:, 400:] = 1
    sharp_BMG = sharpen(mel_BMG, voiced_BG, 0.6)
    # Silence and the lower bands stay.
    torch.testing.assert_close(sharp_BMG[..., :200], mel_BMG[..., :200], atol=1e-3, rtol=0)
    assert torch.equal(sharp_BMG[:, :48], mel_BMG[:, :48])
    upper, before = sharp_BMG[:, 48:78, 210:], mel_BMG[:, 48:78, 210:]
    fine = before - nn.functional.avg_pool2d(mel_BMG, (5, 1), 1)[:, 46:76, 210:]
    torch.testing.assert_close(upper - before, 0.6 * fine, atol=2e-3, rtol=1e-2)
    # Nothing to sharpen where neighbouring bands are alike, and no strength changes nothing.
    flat_BMG = torch.linspace(-4, -3, 600)[None, None].expand(1, 80, 600)
    torch.testing.assert_close(sharpen(flat_BMG, voiced_BG, 3.0), flat_BMG)
    torch.testing.assert_close(sharpen(mel_BMG, voiced_BG, 0.0), mel_BMG)


def test_a_codec_is_as_sharp_as_its_configuration_says(codec: FACodec) -> None:
    blurred, sharp = (FACodec(replace(codec.config, sharpness=s)).eval() for s in (0.0, 0.8))
    for one in (blurred, sharp):
        one.load_state_dict(codec.state_dict())
    wave_T = speech(1.5)
    (codes, voice_D), (same, same_D) = blurred.encode(wave_T), sharp.encode(wave_T)
    # Codes and voices do not know of it.
    assert torch.equal(codes.stacked(), same.stacked())
    assert torch.equal(voice_D, same_D)
    plain, heard = blurred.acoustics(codes, voice_D), sharp.acoustics(codes, voice_D)
    torch.testing.assert_close(
        heard.mel_BMG, sharpen(plain.mel_BMG, plain.voiced_BG, 0.8), atol=1e-5, rtol=0
    )
    assert not torch.equal(plain.mel_BMG, heard.mel_BMG)


def test_a_voice_carries_its_spectrum_before_its_timbre(codec: FACodec) -> None:
    wave_T = speech(1.5)
    codes, voice_D = codec.encode(wave_T)
    assert voice_D.shape == (codec.voice_channels,)
    shapes = codec.config.voice_shapes
    assert codec.voice_channels == spectrum_channels(80, shapes) + codec.timbre_channels
    assert codec.voice_widths[:2] == (12, 12 + CLASSES * 80)
    ((_, timbre_D),) = codec.encode_batch([wave_T], whole=False)
    assert torch.equal(timbre_D, voice_D[-codec.timbre_channels :])
    analysis = codec.analyse([wave_T])
    plain, whole = (
        codec.acoustics(codes, one_D).mel_BMG - analysis.mel_BMG for one_D in (timbre_D, voice_D)
    )
    assert float(whole.mean(-1).abs().mean()) < 0.9 * float(plain.mean(-1).abs().mean())


def test_recordings_of_a_batch_and_long_ones_have_the_spectrum_of_single_ones(
    codec: FACodec,
) -> None:
    wave_T = speech(2.0)
    waves = [wave_T, wave_T[:7_000], wave_T[3_000:20_111]]
    for alone_T, (_, voice_D) in zip(waves, codec.encode_batch(waves), strict=True):
        torch.testing.assert_close(voice_D, codec.encode(alone_T)[1], atol=1e-5, rtol=0)
    codes, voice_D = codec.encode(wave_T)
    spanned, spanned_D = encode_spans(codec, wave_T, block_frames=37)
    assert float((spanned.stacked() == codes.stacked()).float().mean()) > 0.97
    torch.testing.assert_close(spanned_D, voice_D, atol=0.03, rtol=0)


def test_a_voice_that_speaks_is_quiet_in_its_pauses(codec: FACodec) -> None:
    wave_T = torch.cat([speech(1.0), 1e-4 * noise(12_000)])
    codes, voice_D = codec.encode(wave_T)
    quiet_D = codec.quiet(voice_D)
    plain, quiet = codec.acoustics(codes, voice_D), codec.acoustics(codes, quiet_D)
    silent_BG = membership(plain.mel_BMG, plain.voiced_BG)[:, 0]
    lower_BG = (plain.mel_BMG - quiet.mel_BMG).mean(1)
    torch.testing.assert_close(lower_BG, QUIETER * silent_BG, atol=0.1, rtol=0)
    # Only what the decoder adds to a voice is moved, never what a generator is told.
    timbre_D = voice_D[-codec.timbre_channels :]
    assert torch.equal(quiet_D[-codec.timbre_channels :], timbre_D)
    assert torch.equal(codec.quiet(timbre_D), timbre_D)


def test_a_voice_without_a_spectrum_is_decoded_too(codec: FACodec) -> None:
    codes, voice_D = codec.encode(speech(0.5))
    timbre_D = voice_D[-codec.timbre_channels :]
    made = [codec.decode(codes, timbre_D, generator(0))]
    for width in codec.voice_widths[1:]:
        silent_D = nn.functional.pad(timbre_D, (width - len(timbre_D), 0))
        made.append(codec.decode(codes, silent_D, generator(0)))
        torch.testing.assert_close(made[-1], made[0])
    assert float((codec.decode(codes, voice_D, generator(0)) - made[0]).abs().max()) > 1e-3
    assert float(timbre_D[-1]) * TIMBRE_PITCH_SCALE == pytest.approx(
        float(codec.analyse([speech(0.5)]).median_B), abs=1e-5
    )


@pytest.mark.slow
def test_the_shipped_codec_sounds_more_like_what_it_was_given(examples: Path) -> None:
    from speechkit.core.audio import read_audio

    codec = load_pretrained().codec
    assert isinstance(codec, FACodec)
    for path in sorted(examples.glob("synthetic_*.flac"))[:4]:
        wave_T = read_audio(path, 16_000)
        codes, voice_D = codec.encode(wave_T)
        mel_BMG = codec.analyse([wave_T]).mel_BMG
        plain, whole = (
            (codec.acoustics(codes, one_D).mel_BMG - mel_BMG).mean(-1).abs().mean()
            for one_D in (voice_D[-codec.timbre_channels :], voice_D)
        )
        assert float(whole) < 0.5 * float(plain)
