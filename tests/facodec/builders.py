"""Synthetic voices and a tiny packed corpus, complete with alignment and codes.

Shapes: T samples, G mel frames (100/s), P phones, K codebooks, F code frames (50/s).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from speechkit.core.rng import generator
from speechkit.data.alignment import Alignment, ClipAlignment, write_alignment
from speechkit.data.codes import ClipCodes, CorpusCodes, write_codes
from speechkit.data.packed import ClipInfo, PackedClip, PackedCorpus, write_packed
from speechkit.text import DEFAULT_VOCABULARY
from tests.tiny import CODEBOOK_SIZE, TINY_CODEC

RATE_HZ = 16_000
FORMANTS_HZ = ((700.0, 1200.0, 2600.0), (300.0, 2200.0, 3000.0), (400.0, 900.0, 2500.0))
"""Resonances of the three vowels, roughly those of "ah", "ee" and "oo"."""
SPOKEN = DEFAULT_VOCABULARY.ids(["AH0", "IY1", "S", "T", "M", "OW1"])
_HEARD = {SPOKEN[n - 1]: SPOKEN[n] for n in range(len(SPOKEN))}
HEARD_AS = torch.tensor([_HEARD.get(phone, phone) for phone in range(len(DEFAULT_VOCABULARY))])
"""What the recogniser of the tiny corpus takes each phone for: another one, but a pause for one."""
PAUSE = DEFAULT_VOCABULARY.ids([" "])[0]
BOOKS = 6


def vowel(
    seconds: float = 1.5, f0_hz: float = 120.0, kind: int = 0, peak: float = 0.3
) -> npt.NDArray[np.float32]:
    """A steady vowel, wave_T: harmonics of a constant pitch under three resonances."""
    formants = FORMANTS_HZ[kind % len(FORMANTS_HZ)]
    times_T = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    harmonics_hz = f0_hz * np.arange(1, int(0.48 * RATE_HZ / f0_hz) + 1)
    heights = sum(1 / (1 + ((harmonics_hz - centre) / 120.0) ** 2) for centre in formants)
    heights = heights + 0.02 * np.exp(-harmonics_hz / 3000.0)
    wave_T = np.zeros(len(times_T))
    for height, hz in zip(heights, harmonics_hz, strict=True):
        wave_T += height * np.cos(2 * np.pi * hz * times_T)
    return np.asarray(peak * wave_T / np.abs(wave_T).max(), dtype=np.float32)


def babble(
    seconds: float = 1.5, f0_hz: float = 120.0, kind: int = 0, peak: float = 0.3
) -> npt.NDArray[np.float32]:
    """A vowel that comes and goes four times a second: it passes for a prompt."""
    wave_T = vowel(seconds, f0_hz, kind, peak)
    times_T = np.arange(len(wave_T)) / RATE_HZ
    return np.asarray(
        wave_T * np.clip(1.5 * np.sin(2 * np.pi * 2 * times_T) ** 2 - 0.5, 0, 1), np.float32
    )


def syllables(rng: np.random.Generator, f0_hz: float) -> tuple[Tensor, Tensor]:
    """`(wave_T, f0_G)`: vowels of changing kind with noisy consonants between, pitch exact."""
    waves, pitch = [], []
    for kind in rng.integers(0, 3, size=int(rng.integers(6, 9))):
        hz = f0_hz * float(rng.uniform(0.8, 1.25))
        frames = 2 * int(rng.integers(8, 14))
        waves.append(vowel(frames / 100, hz, int(kind)))
        pitch.append(np.full(frames, hz))
        gap = 2 * int(rng.integers(2, 5))
        waves.append(rng.normal(0, 0.02, gap * 160).astype(np.float32))
        pitch.append(np.zeros(gap))
    f0_G = torch.from_numpy(np.concatenate(pitch).astype(np.float32))
    return torch.from_numpy(np.concatenate(waves)), f0_G


def random_track(
    frames: int, rng: np.random.Generator, pause_frames: int | None = None
) -> ClipAlignment:
    """Phones of 2 to 6 frames with a pause now and then, as long as the clip."""
    ids, lengths = [PAUSE], [1]
    while sum(lengths) < frames:
        ids.append(PAUSE if len(ids) % 5 == 0 else int(rng.choice(SPOKEN)))
        length = int(rng.integers(2, 7))
        if ids[-1] == PAUSE and pause_frames is not None:
            length = pause_frames
        lengths.append(min(length, frames - sum(lengths)))
    return ClipAlignment(torch.tensor(ids), torch.tensor(lengths), score=-0.5)


def clip_info(name: str, speaker: str) -> ClipInfo:
    """What a corpus says of a made-up clip."""
    return ClipInfo(
        id=name,
        text="made up",
        speaker=speaker,
        language="en",
        license="CC0-1.0",
        split="train",
        source="test",
    )


def _clips(count: int, speakers: int) -> Iterator[PackedClip]:
    rng = np.random.default_rng(0)
    for n in range(count):
        wave_T, f0_G = syllables(rng, 110.0 + 60.0 * (n % speakers))
        info = clip_info(f"clip-{n}", f"speaker-{n % speakers}")
        pcm_T = (wave_T.numpy() * 32767).astype(np.int16)
        yield PackedClip(info=info, pcm_T=pcm_T, f0_F=f0_G.numpy())


@dataclass(frozen=True, kw_only=True)
class TinyData:
    """A corpus with its sidecars."""

    corpus: PackedCorpus
    alignment: Alignment
    codes: CorpusCodes


def clip_codes(track: ClipAlignment, draws: torch.Generator) -> ClipCodes:
    """Codes that follow from the phones, so that a generator has something to learn; phones by
    `HEARD_AS`."""
    phone_F = torch.repeat_interleave(track.ids_P, track.frames_P)
    noise_KF = torch.rand(BOOKS, len(phone_F), generator=draws).gt(0.9).long()
    return ClipCodes(
        codes_KF=(phone_F + torch.arange(BOOKS)[:, None] + noise_KF) % CODEBOOK_SIZE,
        phone_F=HEARD_AS[phone_F],
        timbre_D=torch.randn(TINY_CODEC.timbre_channels, generator=draws),
    )


def tiny_data(
    folder: Path, count: int = 8, speakers: int = 2, pause_frames: int | None = None
) -> TinyData:
    """Write and open a packed corpus of clips of two to three seconds.

    `pause_frames` is the length of the pauses between words, at random where None.
    """
    path = folder / "corpus.safetensors"
    write_packed(path, _clips(count, speakers))
    corpus = PackedCorpus(path)
    (shard,) = corpus.shards
    lengths = [-(-corpus.samples(n) // 320) for n in range(count)]
    rng = np.random.default_rng(1)
    tracks = {n: random_track(length, rng, pause_frames) for n, length in enumerate(lengths)}
    write_alignment(shard, DEFAULT_VOCABULARY.symbols, tracks)
    draws = generator(2)
    codes = [clip_codes(track, draws) for track in tracks.values()]
    write_codes(shard, codes, "0" * 64)
    return TinyData(corpus=corpus, alignment=Alignment(corpus), codes=CorpusCodes(corpus))
