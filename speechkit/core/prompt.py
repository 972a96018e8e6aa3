"""Voice prompts: what of a recording a voice is taken from, and what is wrong with it.

One rule for the API, the command line, conversion and the demo. What is no speech is refused; what
is speech, but noisy, narrow-band, clipped or long, is used, and a note says so in numbers.

Shapes: T samples, F frames of 10 ms, M mel bands, K bins of a spectrum.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from speechkit.core.audio import MIN_PROMPT_SECONDS, check_length, naming, read_audio
from speechkit.core.errors import PromptError, listed
from speechkit.core.f0 import F0_HOP_SAMPLES, extract_f0
from speechkit.core.mel import LogMel, MelConfig
from speechkit.core.timebase import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

_RATE_HZ = SAMPLE_RATE_HZ
_HOP = F0_HOP_SAMPLES
_FRAME_SECONDS = _HOP / _RATE_HZ
_BLOCK_FRAMES = 6_000
"""Frames that are analysed at a time: a minute, so that an hour does not fill the memory."""

_SILENT_DB = -66.0
"""A frame below this, of full scale, holds no voice; room noise of a usable recording is above."""
_MIN_SOUND_SECONDS = 0.2
_CLIPPED_LEVEL = 0.985
_CLIPPED_SHARE = 1e-3
_OVERSHOOT = 2.0
"""Resampling lifts a clipped peak a little over 1; more than this is a wrongly scaled file."""

_ACTIVE_DB = 30.0
"""How far below the loud frames speech goes: weak consonants are in, room noise is out."""
_PAUSE_SECONDS = 0.4
"""Silence that is kept before and after speech; what goes on longer is left out."""
_CHANGE_FRAMES = 8
_CHANGE_SECONDS = 0.6
_CHANGE_DB = 1.5
"""How much the bands of speech change from frame to eighth frame, the median within that time: 4.6
dB or more in the livelier parts of 360 recordings of 12 corpora, 2.6 dB where noise is as loud as
the speech; 1.2 dB or less in hum, dial tones, held vowels and steady noise."""
_BAND_RANGE_DB = 50.0
_MIN_SPEECH_SECONDS = 0.3
_TONAL_DB = -30.0
"""Power beside the three strongest partials: -18 to -4 dB in speech (median frame of the same 144
recordings), under -50 dB in beeps, sirens, sweeps and dialled digits."""

_EDGE_FRAMES = 5
_EDGE_WEIGHT = 0.02

_FLOOR_PERCENT = 8.0
_FLOOR_BIAS = 1.37
"""The mean power of noise over that percentile of it, smoothed as here: measured on white noise."""
NOISY_DB = 15.0
"""A lower signal-to-noise ratio is told."""
_EDGE_OF_BAND_DB = 60.0
NARROW_KHZ = 5.5
"""A lower bandwidth is told: telephones end at 3.4 kHz, strongly compressed files at 4 to 5 kHz."""

_NO_SPEECH = "No speech was found in the prompt, only {}: give a clear recording of a voice."


@dataclass(frozen=True, kw_only=True, eq=False)
class Prompt:
    """A recording that a voice can be taken from."""

    wave_T: Tensor
    """The parts of the recording that are used: float32, no DC, peak at most 1."""

    seconds: float
    """Length of `wave_T`."""

    notes: tuple[str, ...]
    """What was changed or is not ideal, one sentence each; for the user to read."""

    parts_seconds: tuple[tuple[float, float], ...]
    """Start and end of each part, in the recording."""

    recording_seconds: float
    """Length of the recording."""

    @property
    def parts(self) -> str:
        """Which parts are used, in words."""
        parts = [f"{start:.1f} to {end:.1f} s" for start, end in self.parts_seconds]
        return f"{listed(parts, 3)} of {self.recording_seconds:.1f} s"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Frames:
    """What each frame of a recording is."""

    sounding_F: Bools
    """Louder than digital silence."""

    active_F: Bools
    """As loud as speech of this recording."""

    speech_F: Bools
    """Active, where the sound changes as speech does."""

    voiced_F: Bools
    """With a pitch."""

    clipped_F: Bools
    """With samples at full scale."""


@dataclass(frozen=True, kw_only=True)
class _Quality:
    """How good the parts are that are used."""

    tonal: bool
    """Pure tones, and no voice."""

    snr_db: float
    """Ratio of speech to noise."""

    bandwidth_khz: float
    """Where sound ends."""


def read_prompt(
    path: str | Path, sample_rate_hz: int = SAMPLE_RATE_HZ, *, keep_pauses: bool = False
) -> Prompt:
    """The prompt of an audio file; raises AudioError and PromptError, both naming the file."""
    wave_T = read_audio(path, sample_rate_hz)
    with naming(path):
        return prepare_prompt(wave_T, sample_rate_hz, keep_pauses=keep_pauses)


def prepare_prompt(
    wave_T: Tensor,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    min_seconds: float = MIN_PROMPT_SECONDS,
    max_seconds: float = 30.0,
    *,
    keep_pauses: bool = False,
) -> Prompt:
    """The best part of a recording as a prompt: no DC, not too loud, without silence.

    Silence is cut to 0.4 s beside speech, unless the recording itself is to be changed and
    `keep_pauses` says so. Of what is left the best `max_seconds` are taken: a frame earns half a
    point for being speech and half for being voiced, and loses one for being clipped; of equal
    stretches the one whose ends lie in pauses wins, then the earliest. `notes` tell what was
    changed, clipping, and a poor signal-to-noise ratio or bandwidth.

    Raises PromptError for a recording that is silent, holds no speech (tones, hum, steady noise) or
    less than `min_seconds` of it, is not mono, or not finite.
    """
    wave_T, notes = _levelled(wave_T, sample_rate_hz, min_seconds)
    frames = _analyse(_analysed(wave_T, sample_rate_hz))
    if frames.sounding_F.sum() * _FRAME_SECONDS < _MIN_SOUND_SECONDS:
        raise PromptError("The prompt is silent: check the microphone and record it again.")
    if frames.speech_F.sum() * _FRAME_SECONDS < _MIN_SPEECH_SECONDS:
        raise PromptError(_NO_SPEECH.format("steady sound such as noise, hum or a held tone"))
    kept_F = _best_frames(frames, round(max_seconds / _FRAME_SECONDS), keep_pauses)
    parts = _parts(kept_F, len(wave_T), sample_rate_hz, int(max_seconds * sample_rate_hz))
    kept_T = torch.cat([wave_T[start:end] for start, end in parts])
    prompt = Prompt(
        wave_T=kept_T / max(float(kept_T.abs().max()), 1.0),
        seconds=len(kept_T) / sample_rate_hz,
        notes=(),
        parts_seconds=tuple((a / sample_rate_hz, b / sample_rate_hz) for a, b in parts),
        recording_seconds=len(wave_T) / sample_rate_hz,
    )
    if prompt.seconds < min_seconds:
        raise PromptError(
            f"The prompt holds {prompt.seconds:.2f} s of sound, the rest is silence: give at least "
            f"{min_seconds:g} s of speech."
        )
    quality = _measure(_analysed(kept_T, sample_rate_hz), frames.speech_F[kept_F])
    if quality.tonal:
        raise PromptError(_NO_SPEECH.format("tones"))
    return replace(prompt, notes=(*notes, *_notes(prompt, quality)))


def _levelled(
    wave_T: Tensor, sample_rate_hz: int, min_seconds: float
) -> tuple[Tensor, tuple[str, ...]]:
    """A recording without DC and with a peak of at most 1, and what is to be said of its level."""
    if wave_T.ndim != 1:
        raise PromptError(f"A prompt must be mono, not of shape {tuple(wave_T.shape)}.")
    wave_T = wave_T.detach().to("cpu", torch.float32)
    if not bool(torch.isfinite(wave_T).all()):
        raise PromptError("The prompt holds values that are not finite (NaN or infinity).")
    check_length(len(wave_T) / sample_rate_hz, min_seconds)
    notes = []
    peak = float(wave_T.abs().max())
    if peak > _OVERSHOOT:
        notes.append("The prompt is scaled beyond full scale; it was turned down to fit.")
    elif float((wave_T.abs() >= _CLIPPED_LEVEL).float().mean()) > _CLIPPED_SHARE:
        notes.append("The prompt is clipped (recorded too loud); the voice may sound harsh.")
    wave_T = wave_T / max(peak, 1.0)
    wave_T = wave_T - wave_T.double().mean().float()
    return wave_T / max(float(wave_T.abs().max()), 1.0), tuple(notes)


def _analysed(wave_T: Tensor, sample_rate_hz: int) -> NDArray[np.float32]:
    """A wave at the rate that frames are counted at."""
    wave: NDArray[np.float32] = wave_T.numpy()
    if sample_rate_hz == _RATE_HZ:
        return wave
    import soxr

    resampled: NDArray[np.float32] = soxr.resample(wave, sample_rate_hz, _RATE_HZ)
    return resampled


def _analyse(wave: NDArray[np.float32]) -> _Frames:
    """What each whole frame of a recording is; a recording of less than one has one."""
    frames = max(1, len(wave) // _HOP)
    wave = np.pad(wave, (0, max(0, frames * _HOP - len(wave))))[: frames * _HOP]
    cut_FN = wave.reshape(frames, _HOP)
    # Around each frame's own mean: after a click, what DC removal leaves elsewhere is no sound.
    level_F = 20 * np.log10(cut_FN.std(axis=1) + 1e-6)
    voiced_F = np.zeros(frames, bool)
    band_MF = []
    mel = LogMel(MelConfig(n_mels=20, n_fft=512, win_length=400))
    for start in range(0, frames, _BLOCK_FRAMES):
        block = wave[start * _HOP : (start + _BLOCK_FRAMES) * _HOP]
        voiced_F[start : start + _BLOCK_FRAMES] = extract_f0(block) > 0
        band_MF.append(mel(torch.from_numpy(block)[None])[0].numpy())
    changing_F = _changing(20 / np.log(10) * np.concatenate(band_MF, axis=1).astype(np.float64))
    sounding_F = level_F > _SILENT_DB
    likely_F = changing_F & sounding_F
    loud_F = next((m for m in (likely_F & voiced_F, likely_F, sounding_F) if m.any()), sounding_F)
    loud_db = np.percentile(level_F[loud_F], 95) if loud_F.any() else 0.0
    active_F = level_F > loud_db - _ACTIVE_DB
    return _Frames(
        sounding_F=sounding_F,
        active_F=active_F,
        speech_F=active_F & changing_F,
        voiced_F=voiced_F,
        clipped_F=np.abs(cut_FN).max(axis=1) >= _CLIPPED_LEVEL,
    )


def _changing(band_MF: Floats) -> Bools:
    """Where the bands, in dB, change around a frame as those of speech do."""
    smooth_MF = _running_mean(10 ** (band_MF / 10), _EDGE_FRAMES)
    smooth_MF = 10 * np.log10(np.maximum(smooth_MF, 1e-12))
    loudest_F = smooth_MF.max(axis=0)
    smooth_MF = np.maximum(smooth_MF, np.percentile(loudest_F, 95) - _BAND_RANGE_DB)
    lag = min(_CHANGE_FRAMES, len(loudest_F) - 1)
    change_F = np.abs(smooth_MF[:, lag:] - smooth_MF[:, : len(loudest_F) - lag]).mean(axis=0)
    width = round(_CHANGE_SECONDS / _FRAME_SECONDS)
    # The median, because one step from noise to a tone is no speech.
    around = width + lag - 1
    change_F = np.pad(change_F, (around // 2, around - around // 2), mode="symmetric")
    windows_FN = np.lib.stride_tricks.sliding_window_view(change_F.astype(np.float32), width)
    changing_F = np.median(windows_FN, axis=1) > _CHANGE_DB
    return _widened(changing_F, width // 2)


def _widened(flags_F: Bools, frames: int) -> Bools:
    """True also within so many frames of what is."""
    wide_F: Bools = np.convolve(flags_F, np.ones(2 * frames + 1))[frames:-frames] > 0
    return wide_F


def _running_mean(values_MF: Floats, width: int) -> Floats:
    """The mean over `width` frames around each; fewer at the ends."""
    frames = values_MF.shape[-1]
    sums = np.concatenate([np.zeros((*values_MF.shape[:-1], 1)), values_MF.cumsum(-1)], axis=-1)
    at = np.arange(frames)
    low, high = np.maximum(0, at - width // 2), np.minimum(frames, at + (width + 1) // 2)
    mean: Floats = (sums[..., high] - sums[..., low]) / (high - low)
    return mean


def _best_frames(frames: _Frames, longest: int, keep_pauses: bool) -> Bools:
    """`kept_F`: at most `longest` frames, without long silence, with the most speech."""
    pause = round(_PAUSE_SECONDS / _FRAME_SECONDS)
    # Steady sound elsewhere in the recording, such as a hum as loud as the speech, is left out too.
    near_F = _widened(frames.speech_F, pause)
    # A little silence is no reason to touch a recording.
    near_F |= keep_pauses or (~near_F).sum() <= 2 * pause
    (at,) = np.nonzero(near_F)
    if len(at) > longest:
        points = 0.5 * frames.speech_F + 0.5 * (frames.voiced_F & frames.speech_F)
        points = (points - frames.clipped_F)[at]
        sums = np.concatenate([[0.0], np.cumsum(points)])
        score = sums[longest:] - sums[:-longest]
        loud = np.convolve(frames.active_F[at], np.ones(_EDGE_FRAMES), mode="same")
        loud = np.concatenate([loud, [0.0]])
        edges = (loud[: len(score)] + loud[longest:]) / _EDGE_FRAMES
        start = int(np.argmax(score - _EDGE_WEIGHT * longest * edges))
        at = at[start : start + longest]
    kept_F = np.zeros(len(near_F), bool)
    kept_F[at] = True
    return kept_F


def _parts(kept_F: Bools, samples: int, sample_rate_hz: int, longest: int) -> list[tuple[int, int]]:
    """First sample and one past the last of each run of frames that are kept."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], kept_F, [False]]).astype(np.int8)))
    hop = sample_rate_hz * _FRAME_SECONDS
    parts = []
    for first, last in edges.reshape(-1, 2).tolist():
        # Samples beyond the last whole frame belong to it.
        end = samples if last == len(kept_F) else min(samples, round(last * hop))
        parts.append((round(first * hop), end))
    start, end = parts[-1]
    excess = max(0, sum(b - a for a, b in parts) - longest)
    parts[-1] = (start, end - excess)
    return parts


def _measure(wave: NDArray[np.float32], speech_F: Bools) -> _Quality:
    """The quality of what is used; `speech_F` says which frames of it are speech."""
    long_KF = _power(wave, 1024)[:, : len(speech_F)]
    long_KF = long_KF[:, speech_F[: long_KF.shape[1]]]
    fine_KF = _power(wave, 512)[:, : len(speech_F)]
    speech_F = speech_F[: fine_KF.shape[1]]
    tonal = 10 * np.log10(np.median(_beside_partials(long_KF)) + 1e-12) < _TONAL_DB

    band_MF = _running_mean(np.add.reduceat(fine_KF, np.arange(0, 257, 8), axis=0), 7)
    noise = _FLOOR_BIAS * float(np.percentile(band_MF, _FLOOR_PERCENT, axis=1).sum())
    both = float(band_MF[:, speech_F].mean(axis=1).sum())
    snr_db = 10 * np.log10(max(both - noise, 1e-3 * both, 1e-12) / max(noise, 1e-12))

    loud_K = np.percentile(fine_KF[:, speech_F], 95, axis=1)
    loud_K = np.convolve(loud_K, np.ones(9) / 9, mode="same")
    heard = np.flatnonzero(loud_K > loud_K.max() * 10 ** (-_EDGE_OF_BAND_DB / 10))
    bandwidth_khz = heard[-1] / 256 * _RATE_HZ / 2000 if len(heard) else 0.0
    return _Quality(tonal=bool(tonal), snr_db=float(snr_db), bandwidth_khz=float(bandwidth_khz))


def _power(wave: NDArray[np.float32], size: int) -> Floats:
    """Power spectra `[K, F]` of frames of `size` samples, one every 10 ms."""
    window = torch.hann_window(size)
    spectrum = torch.stft(
        torch.from_numpy(wave), size, _HOP, window=window, pad_mode="constant", return_complex=True
    )
    power: Floats = spectrum.abs().square().double().numpy()
    return power


def _beside_partials(power_KF: Floats) -> Floats:
    """Share of each frame's power that is not in its three strongest partials."""
    rest_KF = power_KF.copy()
    bins = np.arange(len(power_KF))[:, None]
    for _ in range(3):
        strongest_F = rest_KF.argmax(axis=0)
        # A Hann window spreads a tone over four bins to either side.
        rest_KF[np.abs(bins - strongest_F) <= 4] = 0
    share: Floats = rest_KF.sum(axis=0) / np.maximum(power_KF.sum(axis=0), 1e-12)
    return share


def _notes(prompt: Prompt, quality: _Quality) -> list[str]:
    """What was left out of the recording, and what is poor in the rest."""
    notes = []
    if prompt.recording_seconds - prompt.seconds > 2 * _PAUSE_SECONDS:
        notes.append(
            f"Of the prompt, {prompt.seconds:.1f} s were used, the best part and no silence: "
            f"{prompt.parts}."
        )
    if quality.snr_db < NOISY_DB:
        notes.append(
            f"The prompt is noisy: its signal-to-noise ratio is about {quality.snr_db:.0f} dB, and "
            f"under {NOISY_DB:g} dB the voice suffers."
        )
    if quality.bandwidth_khz < NARROW_KHZ:
        notes.append(
            f"The prompt ends at {quality.bandwidth_khz:.1f} kHz, as on a telephone; the voice may "
            "sound unlike and dull: 7 kHz or more is good."
        )
    return notes
