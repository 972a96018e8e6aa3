"""Corpora in; one packed file, a manifest and a report out.

Decoding, resampling and pitch run in worker processes; order and contents of the packed file do
not depend on how many there are. Shapes: T samples.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Literal, TextIO

import numpy as np
import numpy.typing as npt

from speechkit.core.audio import AudioLimits, read_audio
from speechkit.core.errors import AudioError, DataError
from speechkit.core.f0 import extract_f0, import_pyworld
from speechkit.core.files import write_atomically
from speechkit.data.clips import ClipSource, Corpus
from speechkit.data.corpora import read_corpus
from speechkit.data.packed import PACKED_SAMPLE_RATE_HZ, ClipInfo, PackedClip, write_packed
from speechkit.data.report import PrepareReport, ReportCounter
from speechkit.train.progress import progress

Reason = Literal[
    "too short", "too long", "silent", "unreadable", "missing", "duplicate id", "contradictory"
]  # fmt: skip

_SILENCE_WINDOW_SAMPLES = 800


@dataclass(frozen=True, kw_only=True)
class PrepareLimits:
    """Which clips go into the packed file."""

    min_seconds: float = 1.0
    """Shorter clips are rejected."""
    max_seconds: float = 40.0
    """Longer clips are rejected; the aligner and the batches want single utterances."""
    silence_dbfs: float = -60.0
    """A clip whose loudest 50 ms has a lower RMS than this is silent."""
    max_bytes: int = 512 * 1024 * 1024
    """Larger audio files are unreadable."""
    splits: tuple[str, ...] | None = ("train",)
    """Splits to take; None = all. Held-out clips stay out unless they are asked for."""
    languages: tuple[str, ...] | None = None
    """Languages to take; None = all."""


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """A clip that is not in the packed file."""

    id: str
    """Name of the clip."""
    reason: Reason
    """Why, in one of a few words."""
    detail: str
    """Why, in a sentence."""


def prepare(
    sources: Sequence[str | Path | Corpus],
    out: str | Path,
    *,
    limits: PrepareLimits | None = None,
    workers: int = 1,
) -> PrepareReport:
    """Pack the clips of all sources into `out` and return what was packed and what was not.

    Beside the packed file `NAME.safetensors` stands `NAME.manifest.jsonl`: a line for each packed
    clip and for each rejected one with its reason. Both files appear only when complete. One
    corpus after the other, in its own order; of the corpus only the list of its clips is held in
    memory.

    Raises DataError where a source is unusable or no clip is left.
    """
    limits = limits or PrepareLimits()
    if workers < 1:
        raise DataError(f"At least one worker must do the work; got workers={workers}.")
    import_pyworld()
    started = time.monotonic()
    out = Path(out)
    corpora = [
        source if isinstance(source, Corpus) else Corpus(path=Path(source)) for source in sources
    ]
    counter = ReportCounter()

    def write_both(manifest_path: Path) -> None:
        """Write the manifest while its clips stream into the packed file."""
        with manifest_path.open("w", encoding="utf-8") as manifest:
            clips = chain.from_iterable(read_corpus(corpus) for corpus in corpora)
            # All of them first: a broken table ends it here, and the time left is known.
            wanted = _select(clips, limits, counter, manifest)
            results = _load_all(wanted, limits, workers)
            shown = progress("packing", results, total=len(wanted), unit="clip")
            write_packed(out, _count(shown, counter, manifest))

    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out.with_suffix(".manifest.jsonl"), write_both)
    return counter.report(wall_seconds=time.monotonic() - started, packed_bytes=out.stat().st_size)


def load_clip(clip: ClipSource, limits: PrepareLimits) -> PackedClip | Rejected:
    """Return the decoded clip with its pitch, or why it cannot be used."""

    def reject(reason: Reason, detail: str) -> Rejected:
        """Return the clip's rejection."""
        return Rejected(id=clip.id, reason=reason, detail=detail)

    if clip.missing is not None:
        return reject("missing", clip.missing)
    if not clip.path.is_file():
        return reject("missing", f"there is no '{clip.path}'")
    size_bytes = clip.path.stat().st_size if clip.size_bytes is None else clip.size_bytes
    if size_bytes > limits.max_bytes:
        return reject("unreadable", f"its {size_bytes} bytes are over the limit")
    try:
        left = _header_seconds(clip)
        seconds = left if clip.seconds is None else clip.seconds
        if seconds > left + _header_slack(left):
            return reject(
                "unreadable",
                f"the corpus gives it {seconds:.2f} s from {clip.start_seconds:.2f} s on, but the "
                f"file has {max(left, 0):.2f} s there",
            )
        if seconds > limits.max_seconds:
            return reject("too long", f"{seconds:.2f} s")
        pcm_T = _read_pcm(clip, limits)
    except (AudioError, OSError, RuntimeError, ValueError) as error:
        return reject("unreadable", str(error))
    seconds = pcm_T.shape[0] / PACKED_SAMPLE_RATE_HZ
    if seconds < limits.min_seconds:
        return reject("too short", f"{seconds:.2f} s")
    if seconds > limits.max_seconds:
        return reject("too long", f"{seconds:.2f} s")
    loudest = _loudest_dbfs(pcm_T)
    if loudest < limits.silence_dbfs:
        return reject("silent", f"its loudest 50 ms has {loudest:.0f} dBFS")
    info = ClipInfo(
        id=clip.id,
        text=clip.text,
        speaker=clip.speaker,
        language=clip.language,
        license=clip.license,
        split=clip.split,
        source=clip.source,
    )
    return PackedClip(info=info, pcm_T=pcm_T, f0_F=extract_f0(pcm_T / 32768.0))


def _open_audio(clip: ClipSource) -> BinaryIO:
    """Return the clip's audio file as a stream, cut out of its shard where it lies in one."""
    if clip.size_bytes is None:
        return clip.path.open("rb")
    with clip.path.open("rb") as shard:
        shard.seek(clip.offset_bytes)
        return io.BytesIO(shard.read(clip.size_bytes))


def _header_slack(seconds: float) -> float:
    """Return by how much a table's rounded length may differ from the file's."""
    return 0.1 + 0.01 * max(seconds, 0.0)


def _header_seconds(clip: ClipSource) -> float:
    """Return the length that the file's header states; raises AudioError for no audio."""
    import soundfile

    try:
        with _open_audio(clip) as stream, soundfile.SoundFile(stream) as audio:
            return float(audio.frames / audio.samplerate) - clip.start_seconds
    except soundfile.LibsndfileError as error:
        # Without its prefix, which names a stream.
        raise AudioError(f"it is damaged or not an audio file: {error.error_string}") from error


def _read_pcm(clip: ClipSource, limits: PrepareLimits) -> npt.NDArray[np.int16]:
    """Return pcm_T of the clip at 16 kHz; raises AudioError where it cannot be decoded."""
    with _open_audio(clip) as stream:
        audio_limits = AudioLimits(max_bytes=limits.max_bytes)
        wave_T = read_audio(stream, PACKED_SAMPLE_RATE_HZ, audio_limits, name="it").numpy()
    if not np.isfinite(wave_T).all():
        raise AudioError("it holds NaN or infinite samples")
    first = round(clip.start_seconds * PACKED_SAMPLE_RATE_HZ)
    end = None if clip.seconds is None else first + round(clip.seconds * PACKED_SAMPLE_RATE_HZ)
    rest = (wave_T.shape[0] - (end or 0)) / PACKED_SAMPLE_RATE_HZ
    if first == 0 and rest < _header_slack(wave_T.shape[0] / PACKED_SAMPLE_RATE_HZ):
        # All of it, which a table rounds.
        end = None
    return np.clip(np.rint(wave_T[first:end] * 32768.0), -32768, 32767).astype(np.int16)


def _loudest_dbfs(pcm_T: npt.NDArray[np.int16]) -> float:
    """Return the RMS of the loudest 50 ms in dB of full scale; -inf for nothing at all."""
    whole = pcm_T.shape[0] - pcm_T.shape[0] % _SILENCE_WINDOW_SAMPLES
    if whole == 0:
        return -np.inf
    windows = pcm_T[:whole].reshape(-1, _SILENCE_WINDOW_SAMPLES).astype(np.float64) / 32768.0
    # Without a constant offset, which carries no sound however large it is.
    power = float(windows.var(axis=1).max())
    return float(10.0 * np.log10(power)) if power > 0 else -np.inf


def _select(
    clips: Iterable[ClipSource], limits: PrepareLimits, counter: ReportCounter, manifest: TextIO
) -> list[ClipSource]:
    """Return the clips that were asked for, each id once, without those that contradict others."""
    ids: set[str] = set()
    selected: list[ClipSource] = []
    of_audio: dict[tuple[str, int, float], ClipSource] = {}
    contradicted: dict[tuple[str, int, float], str] = {}
    for clip in clips:
        unwanted = (limits.splits is not None and clip.split not in limits.splits) or (
            limits.languages is not None and clip.language not in limits.languages
        )
        if unwanted:
            counter.skipped_clips += 1
            continue
        first = of_audio.setdefault(_audio_key(clip), clip)
        if conflict := _conflict(first, clip):
            contradicted[_audio_key(clip)] = conflict
        if clip.id in ids and not conflict:
            detail = f"'{clip.source}' has the id of an earlier clip"
            _reject(Rejected(id=clip.id, reason="duplicate id", detail=detail), counter, manifest)
        else:
            ids.add(clip.id)
            selected.append(clip)
    # None of them: nothing tells which of two transcripts is the right one.
    for clip in selected:
        if detail := contradicted.get(_audio_key(clip), ""):
            rejected = Rejected(id=clip.id, reason="contradictory", detail=detail)
            _reject(rejected, counter, manifest)
    return [clip for clip in selected if _audio_key(clip) not in contradicted]


def _audio_key(clip: ClipSource) -> tuple[str, int, float]:
    """Return what makes two clips the same audio."""
    return os.path.normpath(clip.path), clip.offset_bytes, clip.start_seconds


def _conflict(first: ClipSource, clip: ClipSource) -> str:
    """Return how two entries of the same audio contradict each other; empty where they do not."""
    if first.text and clip.text and first.text != clip.text:
        return f"'{clip.source}' has two texts: '{first.text[:60]}' and '{clip.text[:60]}'"
    named = first.speaker != first.id and clip.speaker != clip.id
    if named and first.speaker != clip.speaker:
        return f"'{clip.source}' has two speakers: '{first.speaker}' and '{clip.speaker}'"
    return ""


def _count(
    results: Iterable[PackedClip | Rejected], counter: ReportCounter, manifest: TextIO
) -> Iterator[PackedClip]:
    """Yield the packed clips, writing every result into counter and manifest."""
    for result in results:
        if isinstance(result, Rejected):
            _reject(result, counter, manifest)
            continue
        info, seconds = result.info, result.pcm_T.shape[0] / PACKED_SAMPLE_RATE_HZ
        counter.add(
            speaker=info["speaker"],
            language=info["language"],
            license=info["license"],
            has_text=info["text"] is not None,
            seconds=seconds,
            frames=result.f0_F.shape[0],
            voiced_frames=int((result.f0_F > 0).sum()),
        )
        _write_line(manifest, {**info, "seconds": round(seconds, 3)})
        yield result
    if counter.clips == 0:
        reasons = ", ".join(f"{count} {reason}" for reason, count in counter.rejected.items())
        raise DataError(
            f"No clip is left to pack: {reasons or 'none'} rejected, {counter.skipped_clips} of "
            "other splits or languages. "
            + " ".join(f"{name}: {detail}." for name, detail in counter.examples.items())
            + " Check the corpus and the limits."
        )


def _reject(rejected: Rejected, counter: ReportCounter, manifest: TextIO) -> None:
    """Count a rejected clip and note it in the manifest."""
    counter.rejected[rejected.reason] += 1
    counter.examples.setdefault(rejected.reason, rejected.detail)
    line = {"id": rejected.id, "rejected": rejected.reason, "detail": rejected.detail}
    _write_line(manifest, line)


def _write_line(manifest: TextIO, line: dict[str, Any]) -> None:
    """Append one JSON line."""
    manifest.write(json.dumps(line, ensure_ascii=False) + "\n")


def _load_all(
    clips: Iterable[ClipSource], limits: PrepareLimits, workers: int
) -> Iterator[PackedClip | Rejected]:
    """Yield `load_clip` of each clip in order, from `workers` processes (1: this one)."""
    load = partial(load_clip, limits=limits)
    if workers == 1:
        yield from map(load, clips)
        return
    # Forking a process that has started torch's threads can hang.
    context = multiprocessing.get_context("spawn")
    waiting: deque[tuple[str, Future[PackedClip | Rejected]]] = deque()
    name = ""
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            for clip in clips:
                waiting.append((clip.id, pool.submit(load, clip)))
                # Enough to keep everyone busy past one long clip; bounds the memory.
                if len(waiting) >= 8 * workers:
                    name, future = waiting.popleft()
                    yield future.result()
            while waiting:
                name, future = waiting.popleft()
                yield future.result()
        except BrokenProcessPool as error:
            raise DataError(
                f"A worker process died near clip '{name}'. Run again with one worker to see why."
            ) from error
        finally:
            for _, future in waiting:
                future.cancel()
