"""Voice conversion on held-out speakers: words kept, voice changed, with and without detail.

Half of the speakers lend sources, the others are targets; every source speaker is converted to
every target. Similarity is measured to recordings of the target that the conversion has not heard,
beside what these score among themselves, and to other recordings of the source's speaker.

T samples at 16 kHz.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.core.rng import derive
from speechkit.core.timebase import SAMPLE_RATE_HZ
from speechkit.evaluate.pairs import EvalClip, place_of
from speechkit.evaluate.scorers import Embedding, Scorers, Wave
from speechkit.evaluate.scoring import (
    SPEECH_PARTS,
    VERSION,
    RowLog,
    Scored,
    context_of,
    digest_of,
    file_name,
    score_speech,
    silent,
    stored_wave,
    verifiers,
    write_manifest,
)
from speechkit.evaluate.speaker import similarity
from speechkit.evaluate.table import Report, summarise

Convert = Callable[[Tensor, Sequence[Tensor], int], Tensor]
"""(source_T, recordings of the target, seed) to wave_T."""

MIN_TARGET_SECONDS = 4.0
"""Shortest recording that a target voice is taken from."""


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
    speakers = sorted({clip.speaker for clip in clips}, key=place_of)
    by_speaker = {
        name: sorted((c for c in clips if c.speaker == name), key=lambda clip: place_of(clip.id))
        for name in speakers
    }
    sources = speakers[: len(speakers) // 2]
    targets = [
        name
        for name in speakers[len(sources) :]
        if len(by_speaker[name]) >= recordings + 2
        and sum(map(_long, by_speaker[name])) >= recordings
    ]
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


def _long(clip: EvalClip) -> bool:
    """Whether a voice can be taken from a clip."""
    return len(clip.wave_T) >= MIN_TARGET_SECONDS * SAMPLE_RATE_HZ


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
    recordings of the source's speaker, `margin` the difference (with `_r` those of the second
    verifier); of the sources themselves they say where conversion starts. `extra` has what two real
    recordings of a target score and, of each system, `sim` as a share of it. `earlier` and
    `unfinished` as of `RowLog`. Raises DataError without pairs.
    """
    if not pairs:
        raise DataError("There is nothing to convert: give a held-out corpus.")
    folder = Path(out_folder)
    voices = {key: _Voices(embed) for key, embed in verifiers(scorers).items()}
    log = RowLog(earlier, progress, unfinished)
    manifest: list[dict[str, str]] = []
    for system, convert in {"source": _unchanged, **systems}.items():
        for pair in pairs:
            path = folder / system.replace(" ", "_") / file_name(pair.id.replace(" ", "_"))
            target = [clip.wave_T for clip in pair.target]
            draw = derive(seed, "convert", pair.id)
            wave = stored_wave(path, convert(pair.source.wave_T, target, draw))

            def score(pair: ConversionPair = pair, wave: Wave = wave) -> Scored:
                values, heard = score_speech(wave, pair.source.text, scorers)
                for key, verifier in voices.items():
                    right, wrong = verifier.to(wave, pair.unheard), verifier.to(wave, pair.own)
                    values |= {f"sim{key}": right, f"sim_wrong{key}": wrong}
                    values[f"margin{key}"] = right - wrong
                return values, heard

            log.add(system, pair.id, pair.source.speaker, _digest(scorers, pair, wave), score)
            manifest.append(
                {"system": system, "id": pair.id, "hyp": str(path), "text": pair.source.text}
            )
    write_manifest(folder / "manifest.jsonl", manifest)
    report = Report(
        rows=log.rows,
        summary=summarise(log.rows),
        settings=scorers.settings | {"seed": seed, "version": VERSION, "pairs": len(pairs)},
        notes=[*scorers.notes, "SIM: to unheard recordings of the target; wrong: of the source"],
    )
    for key, verifier in voices.items():
        real = sum(verifier.among(pair.unheard) for pair in pairs) / len(pairs)
        name = f"SIM{key.upper().replace('_', '-')}"
        report.extra[f"{name} of real target speech"] = round(real, 4)
        report.extra[f"{name} as a share of that"] = {
            system: round(one.values[f"sim{key}"] / real, 4)
            for system, one in report.summary.items()
            if real > 0
        }
    return report


def _unchanged(source_T: Tensor, _target: Sequence[Tensor], _seed: int) -> Tensor:
    """The source as it is."""
    return source_T


def _digest(scorers: Scorers, pair: ConversionPair, wave: Wave) -> str:
    """Checksum of all that the figures of a clip depend on."""
    others = [clip.wave_T.numpy() for clip in (*pair.unheard, *pair.own)]
    return digest_of(context_of(scorers, SPEECH_PARTS), pair.source.text, wave, *others)
