"""Choose clips and pack them for a GPU machine without network: `python recipes/gpu/pack.py …`.

Writes folders `part-0`, `part-1`, …, each small enough for one upload: a tar of audio files, byte
for byte as the corpus has them, and a `manifest.jsonl` that `speechkit prepare` reads. `part-0`
also carries wheels. Where a limit allows only some clips, the speakers with least so far go first.
"""

from __future__ import annotations

import argparse
import heapq
import io
import json
import shutil
import sys
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from speechkit.core.errors import DataError, SpeechkitError
from speechkit.data.clips import ClipSource, Corpus
from speechkit.data.corpora import read_corpus

MEGABYTE = 10**6
ROW_BYTES = 2 * 512 + 420
"""What a clip takes beside its audio: tar header, padding, a line of the manifest."""


@dataclass(kw_only=True)
class Part:
    """One upload in the making."""

    clips: list[ClipSource] = field(default_factory=list)
    """Clips in it."""
    size_bytes: int = 0
    """Their size, wheels of this part included."""


def clip_bytes(clip: ClipSource) -> int:
    """Return what a clip adds to a part."""
    audio = clip.path.stat().st_size if clip.size_bytes is None else clip.size_bytes
    return audio + ROW_BYTES


def usable_clips(sources: Sequence[Path], splits: Sequence[str]) -> list[ClipSource]:
    """Return the clips of all corpora that can be carried as whole files of a wanted split.

    Raises DataError when there is none.
    """
    found = [clip for path in sources for clip in read_corpus(Corpus(path=path))]
    whole = [clip for clip in found if clip.start_seconds == 0 and clip.path.is_file()]
    wanted = [clip for clip in whole if clip.split in splits]
    if not wanted:
        raise DataError(
            f"None of {len(found)} clips is a file of its own with a split of {', '.join(splits)}: "
            "check the corpora, or name other splits with --splits."
        )
    return wanted


def choose(clips: Iterable[ClipSource], prefix: str, limit_bytes: float) -> Iterator[ClipSource]:
    """Yield clips whose id starts with `prefix`, up to a size; who has least so far goes first.

    Raises DataError when no id starts so.
    """
    of_speaker: dict[str, list[ClipSource]] = defaultdict(list)
    for clip in clips:
        if clip.id.startswith(prefix):
            of_speaker[clip.speaker].append(clip)
    if not of_speaker:
        raise DataError(f"No clip's id starts with {prefix!r}: correct --take.")
    taken = [(0, speaker) for speaker in of_speaker]
    heapq.heapify(taken)
    while taken:
        size, speaker = heapq.heappop(taken)
        if not of_speaker[speaker]:
            continue
        clip = of_speaker[speaker].pop(0)
        cost = clip_bytes(clip)
        if cost <= limit_bytes:
            limit_bytes -= cost
            yield clip
        heapq.heappush(taken, (size + cost, speaker))


def split_into_parts(
    clips: Iterable[ClipSource], first_bytes: int, limit_bytes: float
) -> list[Part]:
    """Return the clips in as many parts as the limit asks for; the first holds `first_bytes` more.

    Raises DataError when the wheels alone are over the limit.
    """
    if first_bytes >= limit_bytes:
        raise DataError(f"The wheels alone take {first_bytes} bytes: raise --part-megabytes.")
    parts = [Part(size_bytes=first_bytes)]
    for clip in clips:
        cost = clip_bytes(clip)
        if parts[-1].clips and parts[-1].size_bytes + cost > limit_bytes:
            parts.append(Part())
        parts[-1].clips.append(clip)
        parts[-1].size_bytes += cost
    return parts


def write_part(folder: Path, clips: Sequence[ClipSource], wheels: Path | None) -> int:
    """Write a part's tar and manifest, and the wheels if any; return its size in bytes."""
    folder.mkdir(parents=True)
    rows = []
    with tarfile.open(folder / "clips.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, clip in enumerate(clips):
            name = f"{number:06d}{Path(clip.source).suffix or clip.path.suffix}"
            tar.addfile(*_member(name, clip))
            row = {
                **{"id": clip.id, "shard": "clips.tar", "file": name, "text": clip.text},
                **{"speaker": clip.speaker, "language": clip.language, "license": clip.license},
                "split": clip.split,
            }
            rows.append(json.dumps(row, ensure_ascii=False) + "\n")
    (folder / "manifest.jsonl").write_text("".join(rows), encoding="utf-8")
    if wheels is not None:
        shutil.copytree(wheels, folder / "wheels")
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _member(name: str, clip: ClipSource) -> tuple[tarfile.TarInfo, io.BytesIO]:
    with clip.path.open("rb") as file:
        file.seek(clip.offset_bytes)
        audio = file.read(-1 if clip.size_bytes is None else clip.size_bytes)
    member = tarfile.TarInfo(name)
    member.size = len(audio)
    return member, io.BytesIO(audio)


def hours_of(folder: Path) -> tuple[float, float, int]:
    """Return hours, hours with text and number of speakers of a part, from the file headers."""
    import soundfile

    hours = with_text = 0.0
    speakers = set()
    rows = (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    with tarfile.open(folder / "clips.tar") as tar:
        for row in map(json.loads, rows):
            audio = tar.extractfile(row["file"])
            assert audio is not None
            info = soundfile.info(io.BytesIO(audio.read()))
            hours += info.frames / info.samplerate / 3600
            with_text += info.frames / info.samplerate / 3600 if row["text"] else 0.0
            speakers.add(row["speaker"])
    return hours, with_text, len(speakers)


def _prefix_and_size(text: str) -> tuple[str, float]:
    prefix, equals, size = text.rpartition("=")
    try:
        if not equals:
            raise ValueError
        return prefix, float(size) * MEGABYTE
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not PREFIX=MEGABYTES") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", nargs="+", type=Path, help="corpora, as `speechkit prepare`")
    parser.add_argument("--out", type=Path, default=Path("build/gpu"), help="(build/gpu)")
    parser.add_argument("--splits", nargs="+", default=["train"], help="to take (train)")
    parser.add_argument(
        "--take",
        action="append",
        type=_prefix_and_size,
        metavar="PREFIX=MEGABYTES",
        help="clips whose id begins so, up to that size; may be given many times (all clips)",
    )
    parser.add_argument("--part-megabytes", type=float, default=62.0, help="of one upload (62)")
    parser.add_argument("--wheels", type=Path, help="folder of wheels that travels in part-0")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    options = _parser().parse_args(arguments)
    wheels: Path | None = options.wheels
    try:
        clips = usable_clips(options.sources, options.splits)
        takes = options.take or [("", float("inf"))]
        chosen = [clip for prefix, limit in takes for clip in choose(clips, prefix, limit)]
        first = sum(path.stat().st_size for path in wheels.glob("*.whl")) if wheels else 0
        parts = split_into_parts(chosen, first, options.part_megabytes * MEGABYTE)
        for old in options.out.glob("part-*"):
            shutil.rmtree(old)
        for number, part in enumerate(parts):
            folder = options.out / f"part-{number}"
            size = write_part(folder, part.clips, None if number else wheels)
            hours, with_text, speakers = hours_of(folder)
            print(
                f"{folder}: {len(part.clips)} clips, {hours:.2f} h ({with_text:.2f} with text), "
                f"{speakers} speakers, {size / MEGABYTE:.1f} MB"
            )
    except SpeechkitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
