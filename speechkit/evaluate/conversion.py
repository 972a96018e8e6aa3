"""Voice conversion on held-out speakers: words kept, voice changed, with and without detail.

Half of the speakers lend sources, the others are targets; every source speaker is converted to
every target. Similarity is measured to recordings of the target that the conversion has not heard,
beside what these score among themselves, and to other recordings of the source's speaker.

T samples at 16 kHz.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.core.rng import derive
from speechkit.evaluate.pairs import SAMPLE_RATE_HZ, EvalClip
from speechkit.evaluate.scorers import Embedding, Scorers, Wave
from speechkit.evaluate.scoring import (
    VERSION,
    RowBook,
    Scored,
    context_of,
    digest_of,
    file_name,
    score_speech,
    silent,
    stored_wave,
    write_manifest,
)
from speechkit.evaluate.speaker import similarity
from speechkit.evaluate.table import Report, summarise

Convert = Callable[[Tensor, Sequence[Tensor], int], Tensor]
"""(source_T, recordings of the target, seed) to wave_T."""

MIN_TARGET_SECONDS = 4.0
"""Shortest recording that a target voice is taken from."""

_PARTS = ("words", "embed", "quality")


@dataclass(frozen=True, kw_only=True, eq=False)
class ConversionPair:
    """One task: what `source` says, in the voice of `target`."""

    source: EvalClip
    """The recording to convert."""
    target: tuple[EvalClip, ...]
    """Recordings of the target that the conversion hears."""
    unheard: tuple[EvalClip, ...]
    """Other recordings of the target."""
    own: tuple[EvalClip, ...]
    """Other recordings of the source's speaker."""

    @property
    def id(self) -> str:
        """Names of the source clip and of the target speaker."""
        return f"{self.source.id} as {self.target[0].speaker}"


def conversion_pairs(clips: Sequence[EvalClip], recordings: int = 1) -> list[ConversionPair]:
    """The tasks of a held-out corpus: the first N of them are as evenly spread as can be.

    Speakers and clips are shuffled by their names, the same way at each call; `recordings` of each
    target are heard. Raises DataError unless there are two speakers with enough recordings.
    """
    speakers = _shuffled({clip.speaker for clip in clips})
    by_speaker = {
        name: sorted((c for c in clips if c.speaker == name), key=lambda clip: _place(clip.id))
        for name in speakers
    }
    sources = speakers[: len(speakers) // 2]
    targets = [name for name in speakers[len(sources) :] if _usable(by_speaker[name], recordings)]
    if not sources or not targets:
        raise DataError(
            f"Conversion wants two speakers, one with {recordings} recordings of "
            f"{MIN_TARGET_SECONDS:g} s and two more: take another corpus."
        )
    pairs = []
    for turn in range(len(targets)):
        for place, name in enumerate(sources):
            own = by_speaker[name]
            theirs = by_speaker[targets[(place + turn) % len(targets)]]
            source = own[turn % len(own)]
            heard = tuple(filter(_long, theirs))[:recordings]
            pairs.append(
                ConversionPair(
                    source=source,
                    target=heard,
                    unheard=tuple(clip for clip in theirs if clip not in heard),
                    own=tuple(clip for clip in own if clip is not source),
                )
            )
    return pairs


def _usable(clips: Sequence[EvalClip], recordings: int) -> bool:
    """Whether a speaker can be a target."""
    return sum(map(_long, clips)) >= recordings and len(clips) >= recordings + 2


def _long(clip: EvalClip) -> bool:
    """Whether a voice can be taken from a clip."""
    return len(clip.wave_T) >= MIN_TARGET_SECONDS * SAMPLE_RATE_HZ


def _place(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _shuffled(names: Iterable[str]) -> list[str]:
    return sorted(names, key=_place)


class _Voices:
    """Embeddings of recordings, each made once, and similarities to groups of them."""

    def __init__(self, embed: Callable[[Wave], Embedding]) -> None:
        self._embed = embed
        self._known: dict[str, Embedding] = {}

    def _of(self, clip: EvalClip) -> Embedding:
        if clip.id not in self._known:
            self._known[clip.id] = self._embed(clip.wave_T.numpy())
        return self._known[clip.id]

    def to(self, wave_T: Wave, clips: Sequence[EvalClip]) -> float:
        """Mean similarity of a wave to each of the clips."""
        ours = self._embed(wave_T)
        return sum(similarity(ours, self._of(clip)) for clip in clips) / len(clips)

    def among(self, clips: Sequence[EvalClip]) -> float:
        """Mean similarity of two of the clips."""
        found = [similarity(self._of(a), self._of(b)) for a, b in combinations(clips, 2)]
        return sum(found) / len(found)


def run_conversion_suite(
    systems: Mapping[str, Convert],
    pairs: Sequence[ConversionPair],
    out_folder: str | Path,
    *,
    scorers: Scorers,
    seed: int = 0,
    earlier: str | Path | None = None,
    unfinished: Path | None = None,
    progress: Callable[[str], None] = silent,
) -> Report:
    """Score the source recordings and what each system makes of them.

    `sim` is the similarity to unheard recordings of the target, `sim_wrong` that to other
    recordings of the source's speaker, `margin` the difference; of the sources themselves they say
    where conversion starts. `extra` has what two real recordings of a target score and, of each
    system, `sim` as a share of it. `earlier` and `unfinished` as of `RowBook`. Raises DataError
    without pairs.
    """
    if not pairs:
        raise DataError("There is nothing to convert: give a held-out corpus.")
    folder = Path(out_folder)
    voices = None if scorers.embed is None else _Voices(scorers.embed)
    book = RowBook(earlier, progress, unfinished)
    manifest: list[dict[str, str]] = []
    for system, convert in {"source": _unchanged, **systems}.items():
        for pair in pairs:
            path = folder / system.replace(" ", "_") / file_name(pair.id.replace(" ", "_"))
            target = [clip.wave_T for clip in pair.target]
            draw = derive(seed, "convert", pair.id)
            wave = stored_wave(path, convert(pair.source.wave_T, target, draw))

            def score(pair: ConversionPair = pair, wave: Wave = wave) -> Scored:
                values, heard = score_speech(wave, pair.source.text, scorers)
                if voices is not None:
                    values["sim"] = voices.to(wave, pair.unheard)
                    values["sim_wrong"] = voices.to(wave, pair.own)
                    values["margin"] = values["sim"] - values["sim_wrong"]
                return values, heard

            book.add(system, pair.id, pair.source.speaker, _digest(scorers, pair, wave), score)
            manifest.append(
                {"system": system, "id": pair.id, "hyp": str(path), "text": pair.source.text}
            )
    write_manifest(folder / "manifest.jsonl", manifest)
    report = Report(
        rows=book.rows,
        summary=summarise(book.rows),
        settings=scorers.settings | {"seed": seed, "version": VERSION, "pairs": len(pairs)},
        notes=[*scorers.notes, "SIM: to unheard recordings of the target; wrong: of the source"],
    )
    if voices is not None:
        report.extra |= _shares(report, pairs, voices)
    return report


def _unchanged(source_T: Tensor, _target: Sequence[Tensor], _seed: int) -> Tensor:
    """The source as it is."""
    return source_T


def _digest(scorers: Scorers, pair: ConversionPair, wave: Wave) -> str:
    """Checksum of all that the figures of a clip depend on."""
    others = [clip.wave_T.numpy() for clip in (*pair.unheard, *pair.own)]
    return digest_of(context_of(scorers, _PARTS), pair.source.text, wave, *others)


def _shares(
    report: Report, pairs: Sequence[ConversionPair], voices: _Voices
) -> dict[str, float | dict[str, float]]:
    """Similarity of real target speech, and each system's as a share of it."""
    real = sum(voices.among(pair.unheard) for pair in pairs) / len(pairs)
    shares = {
        name: round(one.values["sim"] / real, 4) for name, one in report.summary.items() if real > 0
    }
    return {"SIM of real target speech": round(real, 4), "SIM as a share of that": shares}
