"""Prompts: what is refused, what is repaired, which part is taken, and what the user is told."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from speechkit.core.audio import read_audio, write_audio
from speechkit.core.errors import PromptError
from speechkit.core.prompt import prepare_prompt, read_prompt
from speechkit.core.rng import generator

RATE_HZ = 16_000


def tone(seconds: float, hz: float = 440.0, level: float = 0.5) -> Tensor:
    times = torch.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return level * torch.sin(2 * math.pi * hz * times)


def buzz(seconds: float, level: float = 0.2) -> Tensor:
    """A voiced sound with a pitch that moves, that comes and goes like syllables."""
    times = torch.arange(round(seconds * RATE_HZ), dtype=torch.float64) / RATE_HZ
    phase = 2 * math.pi * (120 * times + 3 * torch.sin(2 * math.pi * times))
    harmonics = torch.stack([torch.sin(n * phase) / n for n in range(1, 40)]).sum(0)
    return (level * harmonics * torch.sin(2 * math.pi * 2 * times) ** 2).float()


def noise(seconds: float, db: float) -> Tensor:
    return 10 ** (db / 20) * torch.randn(round(seconds * RATE_HZ), generator=generator(0))


def silence(seconds: float) -> Tensor:
    return torch.zeros(round(seconds * RATE_HZ))


@pytest.fixture(scope="module")
def clip(examples: Path) -> Tensor:
    """Clear speech, 5.1 s."""
    return read_audio(examples / "synthetic_af_heart.flac")


def test_good_prompts_pass_without_a_note(examples: Path) -> None:
    for path in examples.glob("*.flac"):
        prompt = read_prompt(path)
        assert prompt.notes == ()
        assert prompt.recording_seconds - 0.5 < prompt.seconds <= prompt.recording_seconds
        (part,) = prompt.parts_seconds
        recording_T = read_audio(path)
        start, end = (round(RATE_HZ * at) for at in part)
        assert len(prompt.wave_T) == end - start
        torch.testing.assert_close(prompt.wave_T, recording_T[start:end], atol=1e-3, rtol=0)


def test_dc_is_removed() -> None:
    prompt = prepare_prompt(buzz(2.0) + 0.4)
    assert abs(float(prompt.wave_T.mean())) < 1e-3
    torch.testing.assert_close(prompt.wave_T, buzz(2.0) - buzz(2.0).mean(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("samples", [0, 1, 3_200, 15_999])
def test_short_prompts_are_refused(samples: int) -> None:
    with pytest.raises(PromptError, match="give at least 1 s of speech"):
        prepare_prompt(buzz(2.0)[:samples])
    with pytest.raises(PromptError, match="give at least"):
        prepare_prompt(torch.zeros(0), min_seconds=0.0)


def test_a_word_in_a_long_silence_is_too_short() -> None:
    word_T = buzz(3.0)[:2000]
    with pytest.raises(PromptError, match=r"the rest is silence: give at least 1 s|is silent"):
        prepare_prompt(torch.cat([silence(4.0), word_T, silence(4.0)]))


def click(at: int) -> Tensor:
    wave_T = torch.zeros(2 * RATE_HZ)
    wave_T[at : at + 50] = 0.9
    return wave_T


@pytest.mark.parametrize(
    "wave_T",
    [torch.zeros(32_000), torch.full((32_000,), 0.7), tone(2.0, level=1e-4), click(9_000)],
    ids=["zeros", "dc", "far too quiet", "one click"],
)
def test_silent_prompts_are_refused(wave_T: Tensor) -> None:
    with pytest.raises(PromptError, match="silent"):
        prepare_prompt(wave_T)


def hum(hz: float, partials: int) -> Tensor:
    return torch.stack([tone(3.0, hz * n, 0.2 / n) for n in range(1, partials)]).sum(0)


def dialled() -> Tensor:
    """Keys of a telephone: two tones each, 0.15 s on and 0.1 s off."""
    pairs = [(697, 1209), (770, 1336), (852, 1477), (941, 1336)] * 5
    keys = [torch.cat([tone(0.15, low) + tone(0.15, high), silence(0.1)]) for low, high in pairs]
    return 0.5 * torch.cat(keys)


STEADY = {
    "440 Hz": tone(3.0),
    "dial tone": tone(3.0, 350, 0.3) + tone(3.0, 440, 0.3),
    "mains": hum(50, 10),
    "held vowel": hum(150, 30),
    "loud noise": noise(3.0, -20),
    "soft noise": noise(3.0, -55),
    "noise, then a tone": torch.cat([noise(3.0, -30), tone(3.0)]),
}
TONES = {
    "beeps": tone(5.0, 1000) * (torch.arange(5 * RATE_HZ) % RATE_HZ < RATE_HZ // 2),
    "siren": 0.4 * torch.sin(torch.cumsum(2 * math.pi * (800 + tone(5.0, 0.5, 300)) / RATE_HZ, 0)),
    "dialled": dialled(),
}


@pytest.mark.parametrize("name", [*STEADY, *TONES])
def test_what_is_no_speech_is_refused(name: str) -> None:
    wave_T = (STEADY | TONES)[name]
    with pytest.raises(PromptError, match="No speech was found in the prompt, only (steady|tones)"):
        prepare_prompt(wave_T)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_unusable_prompts_are_refused(bad: float) -> None:
    wave_T = buzz(2.0)
    wave_T[5] = bad
    with pytest.raises(PromptError, match="not finite"):
        prepare_prompt(wave_T)
    with pytest.raises(PromptError, match="mono"):
        prepare_prompt(torch.zeros(2, 32_000))


@pytest.mark.parametrize(
    "lead_T",
    [noise(40.0, -54), noise(20.0, -30), tone(20.0, level=0.3), silence(50.0), hum(100, 20)],
    ids=["room", "loud noise", "tone", "silence", "hum"],
)
def test_the_speech_is_found_after_anything_else(clip: Tensor, lead_T: Tensor) -> None:
    prompt = prepare_prompt(torch.cat([lead_T, clip]))
    spoken = len(lead_T) / RATE_HZ
    assert prompt.parts_seconds[0][0] > spoken - 1.1
    assert 4.5 < prompt.seconds < 6.2
    said = f"Of the prompt, {prompt.seconds:.1f} s were used, the best part and no silence"
    assert prompt.notes[0].startswith(said)


def test_long_silence_is_left_out_and_said(clip: Tensor) -> None:
    prompt = prepare_prompt(torch.cat([clip[:40_000], silence(25.0), clip[40_000:]]))
    assert len(prompt.parts_seconds) == 2
    assert prompt.seconds < 6.0
    assert re.search(r"0\.0 to \d\.\d s, 27\.\d to 30\.\d s of 30\.1 s", prompt.notes[0])
    kept = torch.cat([clip[:40_000], clip[40_000:]])
    speech_T = prompt.wave_T[prompt.wave_T.abs() > 0.05]
    assert len(speech_T) > 0.99 * int((kept.abs() > 0.05).sum())


def test_a_recording_to_be_changed_keeps_its_pauses(clip: Tensor) -> None:
    wave_T = torch.cat([clip, silence(4.0), clip])
    prompt = prepare_prompt(wave_T, keep_pauses=True)
    torch.testing.assert_close(prompt.wave_T, wave_T, atol=1e-3, rtol=0)
    assert prompt.notes == ()


def test_of_much_speech_the_best_stretch_is_taken(clip: Tensor) -> None:
    clipped_T = (20 * clip).clamp(-1, 1)
    prompt = prepare_prompt(torch.cat([clipped_T, clip, clipped_T]), max_seconds=5.0)
    assert prompt.parts_seconds[0][0] > 4.6
    assert prompt.parts_seconds[-1][1] < 10.5
    assert prompt.seconds <= 5.0


@settings(max_examples=20, deadline=None)
@given(st.floats(1.0, 8.0), st.floats(0.0, 3.0), st.booleans())
def test_parts_are_what_is_used(keep: float, pause: float, keep_pauses: bool) -> None:
    wave_T = torch.cat([buzz(3.1), silence(pause), buzz(3.0)])
    prompt = prepare_prompt(wave_T, max_seconds=keep, keep_pauses=keep_pauses)
    wave_T = wave_T - wave_T.double().mean().float()
    ends = [(round(a * RATE_HZ), round(b * RATE_HZ)) for a, b in prompt.parts_seconds]
    assert all(0 <= start < end <= len(wave_T) for start, end in ends)
    assert all(before[1] < after[0] for before, after in zip(ends, ends[1:], strict=False))
    assert torch.equal(torch.cat([wave_T[start:end] for start, end in ends]), prompt.wave_T)
    assert 1.0 <= prompt.seconds <= keep


@pytest.mark.parametrize("snr_db", [0, 5, 10, 14])
def test_noise_is_told_in_decibels(clip: Tensor, snr_db: int) -> None:
    power = float(clip.square().mean()) / 10 ** (snr_db / 10)
    prompt = prepare_prompt(clip + noise(len(clip) / RATE_HZ, 10 * math.log10(power)))
    (note,) = (note for note in prompt.notes if "noisy" in note)
    found = re.search(r"signal-to-noise ratio is about (-?\d+) dB", note)
    assert found is not None
    assert abs(int(found[1]) - snr_db) <= 2


@pytest.mark.parametrize(("through_hz", "khz"), [(8_000, 4.0), (6_800, 3.4)])
def test_a_telephone_band_is_told_in_kilohertz(clip: Tensor, through_hz: int, khz: float) -> None:
    narrow = soxr.resample(soxr.resample(clip.numpy(), RATE_HZ, through_hz), through_hz, RATE_HZ)
    (note,) = prepare_prompt(torch.from_numpy(np.ascontiguousarray(narrow))).notes
    assert f"ends at {khz} kHz" in note


def test_level_and_rate_do_not_matter(clip: Tensor) -> None:
    for level in (0.1, 0.003):
        assert prepare_prompt(level * clip).notes == ()
    other = torch.from_numpy(soxr.resample(clip.numpy(), RATE_HZ, 24_000))
    prompt = prepare_prompt(other, 24_000)
    assert prompt.notes == ()
    assert prompt.seconds == pytest.approx(prepare_prompt(clip).seconds, abs=0.03)


def test_clipped_prompts_are_noted(tmp_path: Path) -> None:
    loud_T = buzz(2.0, level=3.0).clamp(-1, 1)
    assert "clipped" in prepare_prompt(loud_T).notes[0]
    write_audio(tmp_path / "a.wav", torch.from_numpy(soxr.resample(loud_T, 16e3, 48e3)), 48_000)
    prompt = read_prompt(tmp_path / "a.wav")
    assert "clipped" in prompt.notes[0]
    assert float(prompt.wave_T.abs().max()) <= 1.0


def test_prompts_beyond_full_scale_are_turned_down() -> None:
    prompt = prepare_prompt(buzz(2.0, level=20_000.0))
    assert "turned down" in prompt.notes[0]
    assert float(prompt.wave_T.abs().max()) == pytest.approx(1.0, abs=0.1)


@settings(deadline=None, max_examples=50)
@given(st.floats(1e-2, 1e30), st.floats(-1.0, 1.0), st.integers(RATE_HZ, 2 * RATE_HZ))
def test_every_audible_prompt_ends_bounded_and_without_dc(
    level: float, dc: float, samples: int
) -> None:
    wave_T = prepare_prompt((buzz(2.0, level=level) + dc)[:samples]).wave_T
    assert samples - 0.5 * RATE_HZ <= len(wave_T) <= samples
    assert float(wave_T.abs().max()) <= 1.0
    assert abs(float(wave_T.double().mean())) < 1e-2


def test_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "me.wav"
    write_audio(path, tone(3.0), RATE_HZ)
    with pytest.raises(PromptError, match=re.escape(f"{path}: No speech")):
        read_prompt(path)
