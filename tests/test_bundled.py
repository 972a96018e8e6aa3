"""The shipped weights do what the README says: speak, repeat themselves, and swap factors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from speechkit.core.f0 import extract_f0
from speechkit.core.results import Speech, Voice
from speechkit.text.frames import FrameClasses
from speechkit.tts import ZeroShotTTS

EXAMPLES = Path(__file__).parent.parent / "speechkit" / "voices"
TEXT = "The road over the mountain is usually empty."


@pytest.fixture(scope="module")
def tts() -> ZeroShotTTS:
    """The bundled model."""
    return ZeroShotTTS.from_pretrained()


@pytest.fixture(scope="module")
def woman(tts: ZeroShotTTS) -> Voice:
    """A high voice."""
    return tts.voice(EXAMPLES / "synthetic_af_heart.flac")


@pytest.fixture(scope="module")
def man(tts: ZeroShotTTS) -> Voice:
    """A low voice."""
    return tts.voice(EXAMPLES / "synthetic_am_michael.flac")


@pytest.fixture(scope="module")
def plain(tts: ZeroShotTTS, woman: Voice) -> Speech:
    """The sentence in the high voice."""
    return tts.synthesize(TEXT, woman, seed=1, candidates=1)


def pitch(speech: Speech) -> np.ndarray:
    """Log F0 of the voiced frames, NaN elsewhere."""
    f0 = extract_f0(speech.wave_T.numpy())
    return np.where(f0 > 0, np.log(np.maximum(f0, 1)), np.nan)


def similarity(tts: ZeroShotTTS, speech: Speech, voice: Voice) -> float:
    """Cosine between learnt timbre vectors of a synthesis and of a voice."""
    _, timbre_D = tts.codec.encode(speech.wave_T)
    own = slice(-tts.codec.timbre_channels, -1)
    return float(torch.cosine_similarity(timbre_D[own], voice.timbre_D[own], dim=0))


def slowed(voice: Voice, factor: int) -> Voice:
    """The voice with the rhythm of a speaker who takes `factor` times as long."""
    rhythm = replace(voice.duration, frames_P=voice.duration.frames_P * factor)
    return replace(voice, duration=rhythm)


def test_weights_are_trained_and_small(tts: ZeroShotTTS) -> None:
    assert tts.trained
    folder = Path(__file__).parent.parent / "speechkit" / "weights"
    size = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    assert size <= 64e6
    for part in ("codec", "generator"):
        assert (folder / part / "MODEL_CARD.md").is_file()


def test_speaks_at_a_human_pace(plain: Speech) -> None:
    assert sum(plain.frames) * 320 == len(plain.wave_T)
    assert 1.5 < plain.seconds < 6.0
    assert float(plain.wave_T.pow(2).mean().sqrt()) > 0.005
    assert bool(torch.isfinite(plain.wave_T).all())


def test_same_seed_same_samples(tts: ZeroShotTTS, woman: Voice, plain: Speech) -> None:
    again = tts.synthesize(TEXT, woman, seed=1, candidates=1)
    assert torch.equal(plain.wave_T, again.wave_T)
    clearest = [tts.synthesize(TEXT, woman, seed=1).wave_T for _ in range(2)]
    assert torch.equal(*clearest)
    other = tts.synthesize(TEXT, woman, seed=2)
    assert not torch.equal(plain.wave_T, other.wave_T[: len(plain.wave_T)])


def test_swapping_the_rhythm_changes_length_only(
    tts: ZeroShotTTS, woman: Voice, plain: Speech
) -> None:
    slow = tts.swap(TEXT, timbre=woman, duration=slowed(woman, 2), seed=1)
    assert slow.seconds > 1.15 * plain.seconds
    semitones = 12 * abs(np.nanmedian(pitch(slow)) - np.nanmedian(pitch(plain))) / np.log(2)
    assert semitones < 2
    assert abs(similarity(tts, slow, woman) - similarity(tts, plain, woman)) < 0.15


def test_swapping_the_timbre_leaves_rhythm_and_f0(
    tts: ZeroShotTTS, woman: Voice, man: Voice, plain: Speech
) -> None:
    swapped = tts.swap(
        TEXT, timbre=man, prosody=woman, duration=woman, content=woman, detail=woman, seed=1
    )
    assert swapped.frames == plain.frames
    ours, theirs = pitch(swapped), pitch(plain)
    both = ~np.isnan(ours) & ~np.isnan(theirs)
    # Not a correlation: an octave error of the pitch tracker would decide it alone.
    shift = (ours - theirs)[both]
    same_f0 = np.abs(shift - np.median(shift)) < 0.06
    assert same_f0.mean() > 0.75
    assert np.nanmedian(ours) < np.nanmedian(theirs) - 0.2
    assert similarity(tts, swapped, man) > similarity(tts, plain, man) + 0.1


@pytest.fixture(scope="module")
def spoken(tts: ZeroShotTTS, woman: Voice, man: Voice) -> list[Speech]:
    """Two sentences with a stop between them, in both voices."""
    text = "When the storm came, everybody went inside. Nobody had seen the letters."
    return [
        speech
        for seed in (0, 1)
        for speech in tts.synthesize_batch([text] * 2, [woman, man], seeds=seed, watermark=None)
    ]


def test_what_is_said_can_be_recognised(tts: ZeroShotTTS, spoken: list[Speech]) -> None:
    class_of = torch.tensor(FrameClasses(tts.vocabulary).of_phone)
    shares = []
    for speech in spoken:
        codes, _ = tts.codec.encode(speech.wave_T)
        found_F = tts.codec.phone_logits(codes.content_KF[None])[0].argmax(-1)
        phones_P = torch.tensor(tts.vocabulary.ids(speech.phones))
        wanted_F = class_of[torch.repeat_interleave(phones_P, torch.tensor(speech.frames))]
        said_F = wanted_F > 0
        shares.append(float((found_F == wanted_F)[said_F].float().mean()))
    # 0.67 for these weights, 0.64 after twelve minutes of training: this finds what is broken.
    assert float(np.mean(shares)) > 0.58


def test_sentences_pause_and_are_loud_enough(spoken: list[Speech]) -> None:
    pauses = []
    for speech in spoken:
        stops = [n for n, phone in enumerate(speech.phones) if phone == "."]
        pauses.append(0.02 * speech.frames[stops[0]])
        assert speech.frames[0] >= 5
        assert speech.frames[-1] >= 10
        frames_FT = speech.wave_T[: len(speech.wave_T) // 320 * 320].reshape(-1, 320)
        power_F = frames_FT.pow(2).mean(-1)
        level_db = 10 * float(power_F[power_F > power_F.mean()].mean().log10())
        assert level_db == pytest.approx(-20, abs=1)
    assert 0.1 < float(np.median(pauses)) < 1.2
