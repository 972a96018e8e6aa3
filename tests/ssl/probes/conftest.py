"""A corpus of tones: a phone is a pitch, a speaker the levels of two hums, a word two phones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from speechkit.data.alignment import ClipAlignment, write_alignment
from speechkit.data.packed import ClipInfo, PackedClip, Shard, write_packed

SYMBOLS = ("^", "$", " ", "AA1", "B", "S")
TONES_HZ = {"AA1": 400, "B": 900, "S": 1700}
WORDS = {"apple": ("AA1", "B"), "banana": ("B", "S"), "cherry": ("S", "AA1"), "with": ("B", "B")}
PHONE_FRAMES, PAUSE_FRAMES = 9, 3
SPEAKERS = 6


def speak(words: list[str], speaker: int, seed: int) -> tuple[np.ndarray, list[str], list[int]]:
    """Samples, symbols and durations of some words."""
    symbols, frames = ["^"], [PAUSE_FRAMES]
    for word in words:
        symbols += [*WORDS[word], " "]
        frames += [PHONE_FRAMES, PHONE_FRAMES, PAUSE_FRAMES]
    symbols.append("$")
    frames.append(0)
    rng = np.random.default_rng(seed)
    parts = []
    for symbol, length in zip(symbols, frames, strict=True):
        time_T = np.arange(length * 320) / 16_000
        tone_T = np.zeros(len(time_T))
        if symbol in TONES_HZ:
            tone_T = 0.2 * np.sin(2 * np.pi * TONES_HZ[symbol] * time_T)
        parts.append(tone_T)
    wave_T = np.concatenate(parts)
    time_T = np.arange(len(wave_T)) / 16_000
    for hum_hz, level in ((3000, 1 + speaker), (5000, SPEAKERS + 1 - speaker)):
        wave_T += 0.01 * level * np.sin(2 * np.pi * hum_hz * time_T)
    return wave_T + 0.002 * rng.standard_normal(len(wave_T)), symbols, frames


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six speakers with three clips each, one with a single long clip, and a clip of a moment."""
    path = tmp_path_factory.mktemp("probes") / "tones.safetensors"
    rng = np.random.default_rng(0)
    clips, alignments = [], {}
    plan = [(speaker, 6) for speaker in range(SPEAKERS) for _ in range(3)]
    plan += [(SPEAKERS, 18), (0, 0)]
    for index, (speaker, count) in enumerate(plan):
        words = rng.choice(list(WORDS), count).tolist()
        wave_T, symbols, frames = speak(words, speaker, index)
        info = ClipInfo(
            id=f"tones/{index}", text=" ".join(words), speaker=f"s{speaker}", language="en",
            license="CC0", split="train", source="tones-0.tar",
        )  # fmt: skip
        f0_F = np.zeros(-(-len(wave_T) // 160), np.float32)
        clips.append(PackedClip(info=info, pcm_T=(wave_T * 32767).astype(np.int16), f0_F=f0_F))
        if count:
            ids_P = torch.tensor([SYMBOLS.index(symbol) for symbol in symbols])
            alignments[index] = ClipAlignment(ids_P, torch.tensor(frames), 0.0)
    write_packed(path, clips)
    write_alignment(Shard(path), SYMBOLS, alignments)
    return path
