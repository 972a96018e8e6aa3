"""Corpora in; a folder of shards with an index, manifests and a report out.

    plan.json               what is packed, so that a later run can go on, or is refused
    00000.safetensors       the first shard, then 00000.manifest.jsonl: packed and rejected clips
    rejected.jsonl          clips that were rejected before any was read
    index.safetensors       written when all shards are there

Decoding, resampling and pitch run in worker processes, a shard each; order and contents of the
files do not depend on how many there are. Shapes: T samples.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np

from speechkit.core.config import to_dict
from speechkit.core.errors import AudioError, ConfigError, DataError
from speechkit.core.f0 import extract_f0, import_pyworld
from speechkit.core.files import is_partial, write_json, write_text
from speechkit.data.clips import ClipSource, Corpus
from speechkit.data.corpora import read_corpus
from speechkit.data.decode import header_seconds, header_slack, loudest_dbfs, read_pcm
from speechkit.data.index import INDEX_FILE, write_index
from speechkit.data.packed import PACKED_SAMPLE_RATE_HZ, ClipInfo, PackedClip
from speechkit.data.report import PrepareReport, ReportCounter
from speechkit.data.shard import SHARD_CLIPS, SHARD_SUFFIX, Shard, write_shard
from speechkit.data.speed import at_speed, check_speeds
from speechkit.data.work import ALONE, Crew, Report, part_of, run_tasks

Reason = Literal[
    "too short", "too long", "silent", "unreadable", "missing", "duplicate id", "contradictory"
]  # fmt: skip

PLAN_FILE = "plan.json"
PLAN_FORMAT = "speechkit-plan-1"
REJECTED_FILE = "rejected.jsonl"


@dataclass(frozen=True, kw_only=True)
class PrepareLimits:
    """Which clips go into the corpus."""

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
    """A clip that is not in the corpus."""

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
    crew: Crew = ALONE,
    shard_clips: int = SHARD_CLIPS,
    pitch: bool = True,
    speeds: Sequence[float] = (1.0,),
) -> PrepareReport:
    """Pack the clips of all sources into shards in the folder `out`; return what became of them.

    One corpus after the other, in its own order; of the corpus only the list of its clips is held
    in memory. Called again it goes on where it was stopped. Of a `crew` that makes a part of the
    shards, whoever finds all of them made writes the index. Without `pitch`, which takes most of
    the time and only the training of codecs reads, none is worked out.

    Every clip is packed at each of the `speeds` (`speechkit.data.speed`).

    Raises DataError where a source is unusable or no clip is left, and ConfigError for a folder
    that holds something else, or for speeds that are none.
    """
    limits = limits or PrepareLimits()
    check_speeds(speeds)
    if pitch:
        import_pyworld()
    started = time.monotonic()
    folder = Path(out)
    corpora = [
        source if isinstance(source, Corpus) else Corpus(path=Path(source)) for source in sources
    ]
    # All clips first: a broken table ends it here, and the time left is known.
    counter, lines = ReportCounter(), list[str]()
    wanted = _select(chain.from_iterable(map(read_corpus, corpora)), limits, counter, lines)
    if not wanted:
        raise _nothing_left(counter)
    wanted = [at_speed(clip, speed) for speed in speeds for clip in wanted]
    shards = [wanted[first : first + shard_clips] for first in range(0, len(wanted), shard_clips)]
    mine = part_of(range(len(shards)), crew.part)
    _begin(folder, _plan(wanted, limits, shard_clips, pitch), lines)
    missing = [number for number in mine if not _is_made(folder, number)]
    run_tasks(
        "packing",
        PrepareWork(folder=folder, limits=limits, pitch=pitch),
        [((number, shards[number]), len(shards[number])) for number in missing],
        crew=crew,
        done=sum(len(shards[number]) for number in mine if number not in set(missing)),
    )
    made = [number for number in range(len(shards)) if _is_made(folder, number)]
    for number in made:
        _count(manifest_path(folder, number), counter)
    if len(made) == len(shards):
        _finish(folder, len(shards), counter)
    return counter.report(
        wall_seconds=time.monotonic() - started,
        packed_bytes=sum(shard_path(folder, number).stat().st_size for number in made),
        shards=len(shards),
        missing=len(shards) - len(made),
    )


def shard_path(folder: Path, number: int) -> Path:
    """The file of a shard."""
    return folder / f"{number:05d}{SHARD_SUFFIX}"


def manifest_path(folder: Path, number: int) -> Path:
    """Its manifest, which is written after it: a shard without one does not count."""
    return folder / f"{number:05d}.manifest.jsonl"


def _is_made(folder: Path, number: int) -> bool:
    """Whether a shard is complete."""
    return manifest_path(folder, number).is_file() and shard_path(folder, number).is_file()


def _plan(
    wanted: Sequence[ClipSource], limits: PrepareLimits, shard_clips: int, pitch: bool
) -> dict[str, Any]:
    """What the shards follow from; where the files lie on this machine is none of it."""
    digest = hashlib.sha256(json.dumps(to_dict(limits), sort_keys=True).encode())
    for clip in wanted:
        place = (clip.source, clip.offset_bytes, clip.start_seconds, clip.seconds)
        about = (clip.id, clip.text, clip.speaker, clip.language, clip.license, clip.split)
        speed = () if clip.speed == 1.0 else (clip.speed,)
        digest.update(json.dumps([*place, *about, *speed]).encode())
    return {
        "format": PLAN_FORMAT,
        "shard_clips": shard_clips,
        "clips": len(wanted),
        "sha256": digest.hexdigest(),
        **({} if pitch else {"pitch": False}),
    }


def _begin(folder: Path, plan: dict[str, Any], rejected: Sequence[str]) -> None:
    """Make the folder, or check that it holds the same plan; raises ConfigError otherwise."""
    path = folder / PLAN_FILE
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file, and a corpus is a folder: give another --out.")
    if path.is_file():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            before = None
        if before != plan:
            raise ConfigError(
                f"{folder} holds a corpus of other clips or limits: choose another --out, or give "
                "the same to go on."
            )
        return
    # A process may have been killed before it wrote the plan.
    begun = {path.name for path in folder.glob("*") if not is_partial(path)} - {REJECTED_FILE}
    if begun:
        raise ConfigError(f"{folder} is not empty and holds no corpus: choose another --out.")
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / REJECTED_FILE, "".join(rejected))
    write_json(path, plan)


def _finish(folder: Path, shards: int, counter: ReportCounter) -> None:
    """Write the index, where it is not there; raises DataError, and clears up, for no clips."""
    if (folder / INDEX_FILE).is_file():
        return
    # What killed workers left; nobody writes any more.
    for remains in filter(is_partial, list(folder.iterdir())):
        remains.unlink(missing_ok=True)
    if counter.clips:
        write_index(folder, [Shard(shard_path(folder, number)) for number in range(shards)])
        return
    for number in range(shards):
        shard_path(folder, number).unlink(missing_ok=True)
        manifest_path(folder, number).unlink(missing_ok=True)
    for name in (REJECTED_FILE, PLAN_FILE):
        (folder / name).unlink(missing_ok=True)
    folder.rmdir()
    raise _nothing_left(counter)


def _nothing_left(counter: ReportCounter) -> DataError:
    """The error for a corpus without a clip."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in counter.rejected.items())
    return DataError(
        f"No clip is left to pack: {reasons or 'none'} rejected, {counter.skipped_clips} of "
        "other splits or languages. "
        + " ".join(f"{name}: {detail}." for name, detail in counter.examples.items())
        + " Check the corpus and the limits."
    )


@dataclass(frozen=True, kw_only=True)
class PrepareWork:
    """How a shard is packed."""

    folder: Path
    limits: PrepareLimits
    pitch: bool

    def load(self) -> PrepareWork:
        """There is nothing to load."""
        return self

    def __call__(self, task: tuple[int, Sequence[ClipSource]], report: Report) -> None:
        """Pack a shard: its number and its clips."""
        number, clips = task
        lines: list[str] = []

        def packed() -> Iterator[PackedClip]:
            for clip in clips:
                result = load_clip(clip, self.limits, pitch=self.pitch)
                report(1)
                if isinstance(result, Rejected):
                    lines.append(_rejected_line(result))
                    continue
                about = {
                    "seconds": round(result.pcm_T.shape[0] / PACKED_SAMPLE_RATE_HZ, 3),
                    "frames": result.f0_F.shape[0],
                    "voiced": int((result.f0_F > 0).sum()),
                }
                lines.append(_line({**result.info, **about}))
                yield result

        write_shard(shard_path(self.folder, number), packed())
        write_text(manifest_path(self.folder, number), "".join(lines))


def load_clip(
    clip: ClipSource, limits: PrepareLimits, *, pitch: bool = True
) -> PackedClip | Rejected:
    """Return the decoded clip, with its pitch if wanted, or why it cannot be used."""

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
        left = header_seconds(clip)
        seconds = left if clip.seconds is None else clip.seconds
        if seconds > left + header_slack(left):
            return reject(
                "unreadable",
                f"the corpus gives it {seconds:.2f} s from {clip.start_seconds:.2f} s on, but the "
                f"file has {max(left, 0):.2f} s there",
            )
        if seconds > limits.max_seconds:
            return reject("too long", f"{seconds:.2f} s")
        pcm_T = read_pcm(clip, limits.max_bytes)
    except (AudioError, OSError, RuntimeError, ValueError) as error:
        return reject("unreadable", str(error))
    seconds = pcm_T.shape[0] / PACKED_SAMPLE_RATE_HZ
    if seconds < limits.min_seconds:
        return reject("too short", f"{seconds:.2f} s")
    if seconds > limits.max_seconds:
        return reject("too long", f"{seconds:.2f} s")
    loudest = loudest_dbfs(pcm_T)
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
    f0_F = extract_f0(pcm_T / 32768.0) if pitch else np.zeros(0)
    return PackedClip(info=info, pcm_T=pcm_T, f0_F=f0_F)


def _select(
    clips: Iterable[ClipSource], limits: PrepareLimits, counter: ReportCounter, lines: list[str]
) -> list[ClipSource]:
    """Return the clips that were asked for, each id once, without those that contradict others.

    Others are counted, and `lines` of the manifest added for them.
    """

    def reject(clip: ClipSource, reason: Reason, detail: str) -> None:
        counter.reject(reason, detail)
        lines.append(_rejected_line(Rejected(id=clip.id, reason=reason, detail=detail)))

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
            reject(clip, "duplicate id", f"'{clip.source}' has the id of an earlier clip")
        else:
            ids.add(clip.id)
            selected.append(clip)
    # None of them: nothing tells which of two transcripts is the right one.
    for clip in selected:
        if detail := contradicted.get(_audio_key(clip), ""):
            reject(clip, "contradictory", detail)
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


def _count(manifest: Path, counter: ReportCounter) -> None:
    """Count the clips of a manifest; raises DataError for a damaged one."""
    try:
        for row in map(json.loads, manifest.read_text(encoding="utf-8").splitlines()):
            if "rejected" in row:
                counter.reject(row["rejected"], row["detail"])
                continue
            counter.add(
                speaker=row["speaker"],
                language=row["language"],
                license=row["license"],
                has_text=row["text"] is not None,
                seconds=row["seconds"],
                frames=row["frames"],
                voiced_frames=row["voiced"],
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{manifest} is damaged ({error!r}): delete it and run prepare again."
        ) from error


def _rejected_line(rejected: Rejected) -> str:
    """The manifest's line of a rejected clip."""
    return _line({"id": rejected.id, "rejected": rejected.reason, "detail": rejected.detail})


def _line(row: dict[str, Any]) -> str:
    """One JSON line."""
    return json.dumps(row, ensure_ascii=False) + "\n"
