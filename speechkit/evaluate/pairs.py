"""Held-out clips, and the pairs (short prompt, another utterance's text) of the usual TTS test.

T samples at 16 kHz.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from speechkit.core.audio import read_audio
from speechkit.core.errors import DataError
from speechkit.core.timebase import SAMPLE_RATE_HZ
from speechkit.data.packed import PackedCorpus

PROMPT_SECONDS = 3.0
PROMPT_SOURCE_SECONDS = 4.0

LEVEL_FRAME_SAMPLES = 320
LEVEL_HOP_SAMPLES = 160
_ONSET_DB = -30.0
_ONSET_MARGIN_SAMPLES = 800


@dataclass(frozen=True, kw_only=True, eq=False)
class EvalClip:
    """A recording with its text."""

    id: str
    """Name, unique in the corpus."""
    speaker: str
    """Name of the speaker."""
    text: str
    """What is said."""
    wave_T: Tensor
    """The recording."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """One task: speak ``text`` in the voice of ``prompt_T``."""

    id: str
    """Clip the text comes from."""
    speaker: str
    """Speaker of prompt and target."""
    text: str
    """What to say."""
    prompt_id: str
    """Clip the prompt is cut from: one for each speaker."""
    prompt_T: Tensor
    """The prompt."""
    target_T: Tensor
    """The speaker's own recording of ``text``."""


_Item = TypeVar("_Item", EvalClip, Pair)


def eval_clips(source: str | Path | PackedCorpus, split: str | None = "eval") -> list[EvalClip]:
    """All clips of ``split`` (None: of any) that have a text, ordered by id.

    ``source`` is a packed corpus, or a tar shard with ``manifest.jsonl`` beside it. Raises
    DataError where there are none.
    """
    if isinstance(source, PackedCorpus):
        clips = _packed_clips(source, split)
    elif Path(source).suffix == ".tar":
        clips = _shard_clips(Path(source), split)
    else:
        clips = _packed_clips(PackedCorpus(source), split)
    if not clips:
        raise DataError(f"{source} holds no clip of split {split!r} with a text.")
    return sorted(clips, key=lambda clip: clip.id)


def _packed_clips(corpus: PackedCorpus, split: str | None) -> list[EvalClip]:
    """Clips of a packed corpus."""
    return [
        EvalClip(id=info["id"], speaker=info["speaker"], text=info["text"], wave_T=corpus.wave(i))
        for i, info in enumerate(corpus.clips)
        if split in (None, info["split"]) and info["text"]
    ]


def _shard_clips(shard: Path, split: str | None) -> list[EvalClip]:
    """Clips of a tar shard, described by the manifest beside it."""
    manifest = shard.parent / "manifest.jsonl"
    try:
        lines = manifest.read_text(encoding="utf-8").splitlines()
        entries = [json.loads(line) for line in lines if line.strip()]
        wanted: list[dict[str, Any]] = [
            entry
            for entry in entries
            if entry["shard"] == shard.name and split in (None, entry["split"]) and entry["text"]
        ]
        with tarfile.open(shard) as archive:
            return [_shard_clip(archive, entry) for entry in wanted]
    except (OSError, KeyError, TypeError, ValueError, tarfile.TarError) as error:
        raise DataError(
            f"{shard} cannot be read as a shard with manifest.jsonl beside it: {error!r}"
        ) from error


def _shard_clip(archive: tarfile.TarFile, entry: dict[str, Any]) -> EvalClip:
    """One clip, decoded."""
    file = archive.extractfile(entry["file"])
    if file is None:
        raise DataError(f"{entry['file']} in the shard is not a file: fetch the shard again.")
    return EvalClip(
        id=entry["id"],
        speaker=entry["speaker"],
        text=entry["text"],
        wave_T=read_audio(io.BytesIO(file.read()), SAMPLE_RATE_HZ),
    )


def frame_levels_db(wave_T: NDArray[np.floating] | Tensor) -> NDArray[np.float64]:
    """``level_F``: dB of full scale of each 20 ms, a frame each 10 ms; empty under 20 ms."""
    samples_T = np.asarray(wave_T, np.float64)
    if len(samples_T) < LEVEL_FRAME_SAMPLES:
        return np.zeros(0)
    frames = np.lib.stride_tricks.sliding_window_view(samples_T, LEVEL_FRAME_SAMPLES)
    power_F = np.square(frames[::LEVEL_HOP_SAMPLES]).mean(-1)
    level_F: NDArray[np.float64] = 10 * np.log10(power_F + 1e-12)
    return level_F


def speech_onset(wave_T: Tensor) -> int:
    """Sample 50 ms before speech: before the first 20 ms within 30 dB of the loud ones."""
    level_F = frame_levels_db(wave_T)
    if not len(level_F):
        return 0
    first = int(np.nonzero(level_F >= np.quantile(level_F, 0.95) + _ONSET_DB)[0][0])
    return max(0, first * LEVEL_HOP_SAMPLES - _ONSET_MARGIN_SAMPLES)


def cut_prompt(wave_T: Tensor, seconds: float = PROMPT_SECONDS) -> Tensor:
    """First ``seconds`` of speech, silence before it left out; shorter where there is less."""
    onset = speech_onset(wave_T)
    return wave_T[onset : onset + round(seconds * SAMPLE_RATE_HZ)].clone()


def place_of(name: str) -> bytes:
    """Where a name stands in an order that is as good as random, and the same at each call."""
    return hashlib.sha256(name.encode()).digest()


def _shuffled(items: Iterable[_Item]) -> list[_Item]:
    """An order that depends on the ids alone, so that a larger choice contains a smaller one."""
    return sorted(items, key=lambda item: place_of(item.id))


def tts_pairs(source: str | Path | PackedCorpus, per_speaker: int | None = None) -> list[Pair]:
    """The test pairs of a held-out corpus, ordered by id.

    A speaker's prompt is the first utterance of at least 4 s that has 3 s from its first speech
    on, cut to these; targets are the speaker's other utterances, at most ``per_speaker`` of them,
    the same ones at each call. Raises DataError where there are none.
    """
    return pairs_from_clips(eval_clips(source), per_speaker)


def pairs_from_clips(clips: Sequence[EvalClip], per_speaker: int | None = None) -> list[Pair]:
    """`tts_pairs` over clips in memory. A speaker without a long enough clip is left out."""
    if per_speaker is not None and per_speaker < 1:
        raise DataError(f"per_speaker is {per_speaker}: give at least 1.")
    pairs: list[Pair] = []
    for speaker in sorted({clip.speaker for clip in clips}):
        own = sorted((c for c in clips if c.speaker == speaker), key=lambda clip: clip.id)
        source = next((clip for clip in own if _gives_prompt(clip)), None)
        if source is None:
            continue
        prompt_T = cut_prompt(source.wave_T)
        targets = _shuffled(clip for clip in own if clip is not source)[:per_speaker]
        pairs += [
            Pair(
                id=clip.id,
                speaker=speaker,
                text=clip.text,
                prompt_id=source.id,
                prompt_T=prompt_T,
                target_T=clip.wave_T,
            )
            for clip in targets
        ]
    if not pairs:
        raise DataError(
            "No speaker has two clips, one of them with 3 s of speech: take another corpus."
        )
    return sorted(pairs, key=lambda pair: pair.id)


def _gives_prompt(clip: EvalClip) -> bool:
    """Whether a full prompt can be cut from ``clip``."""
    if clip.wave_T.shape[0] < PROMPT_SOURCE_SECONDS * SAMPLE_RATE_HZ:
        return False
    return cut_prompt(clip.wave_T).shape[0] == round(PROMPT_SECONDS * SAMPLE_RATE_HZ)


def spread(items: Sequence[_Item], limit: int | None) -> list[_Item]:
    """At most ``limit`` items, as evenly over the speakers as can be, in their own order."""
    if limit is None or limit >= len(items):
        return list(items)
    turns: list[tuple[int, str, int]] = []
    taken: dict[str, int] = {}
    place = {id(item): i for i, item in enumerate(items)}
    for item in _shuffled(items):
        turn = taken.get(item.speaker, 0)
        taken[item.speaker] = turn + 1
        turns.append((turn, item.speaker, place[id(item)]))
    return [items[i] for i in sorted(i for _, _, i in sorted(turns)[:limit])]
