"""The whole report on a codec, part by part; each part can be left out.

Legend: K code books, F frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from speechkit.core.errors import CheckpointError, DataError
from speechkit.evaluate.codec.baselines import usable_baselines
from speechkit.evaluate.codec.differences import all_differences
from speechkit.evaluate.codec.findings import BAND_NOTE, Findings
from speechkit.evaluate.codec.labels import FrameLabels, PhoneReader
from speechkit.evaluate.codec.material import CodedClip, code_clips, label_clips, probe_clips
from speechkit.evaluate.codec.parts import book_names, shows_embeddings
from speechkit.evaluate.codec.probes import run_probes
from speechkit.evaluate.codec.rate import measure_rate
from speechkit.evaluate.codec.reconstruction import (
    CODEC,
    RECORDINGS,
    Render,
    baseline_systems,
    ceiling_systems,
    codec_systems,
    score_systems,
)
from speechkit.evaluate.codec.swaps import SWAP_PREFIX, run_swaps
from speechkit.evaluate.pairs import EvalClip, spread
from speechkit.evaluate.scorers import Scorers
from speechkit.evaluate.scoring import VERSION, RowBook, silent
from speechkit.evaluate.table import ClipRow, Report, render, summarise
from speechkit.evaluate.usage import code_usage
from speechkit.facodec.codec import Codec

SECTIONS = (
    "reconstruction",
    "ceiling",
    "baselines",
    "probes",
    "swaps",
    "usage",
    "rate",
    "pictures",
)
"""Parts of the report. `ceiling` and `baselines` are rows of `reconstruction`."""
UNFINISHED = "unfinished.json"
"""Rows of a run that was cut short."""

_DELAY_CLIPS = 8


@dataclass(frozen=True, kw_only=True)
class CodecSuite:
    """What to measure."""

    sections: frozenset[str] = frozenset(SECTIONS)
    """Names out of SECTIONS."""
    limit: int | None = None
    """Most clips that are scored; probes, usage and rate take all, they cost little."""
    swap_pairs: int = 20
    """Most pairs of the swap tests."""
    seed: int = 0
    """For all draws."""
    aligner: Path | None = None
    """Folder of the aligner, which probes and swaps need."""
    train_codes: tuple[Tensor, ...] = ()
    """Codes `[K, F]` of training clips, for entropy coding with counts known beforehand."""

    def wants(self, section: str) -> bool:
        """Whether a section is asked for."""
        return section in self.sections


@dataclass(kw_only=True)
class CodecReport(Report):
    """The report with its sections."""

    sections: dict[str, list[str]] = field(default_factory=dict)
    """Lines below the table, by heading."""

    def text(self) -> str:
        """The table, then section by section, then notes."""
        lines = [render(self.summary)] if self.summary else []
        for heading, body in self.sections.items():
            lines += ["", heading, *("  " + line for line in body)]
        if self.notes:
            lines += ["", *(f"note: {note}" for note in self.notes)]
        return "\n".join(lines).strip("\n")


@dataclass(kw_only=True)
class _Run:
    """One report in the making."""

    codec: Codec
    coded: list[CodedClip]
    folder: Path
    suite: CodecSuite
    scorers: Scorers
    book: RowBook
    progress: Callable[[str], None]
    notes: list[str]
    labels: list[FrameLabels] = field(default_factory=list)
    phones: PhoneReader | None = None
    findings: Findings = field(default_factory=Findings)

    def chosen(self) -> list[CodedClip]:
        """The clips that are scored."""
        ids = {clip.id for clip in spread([one.clip for one in self.coded], self.suite.limit)}
        return [one for one in self.coded if one.clip.id in ids]

    def attempt(self, section: str, measure: Callable[[], None]) -> None:
        """Measure a section if it is asked for; what is in its way becomes a note."""
        if not self.suite.wants(section):
            return
        try:
            measure()
        except (DataError, CheckpointError) as error:
            self.notes.append(f"{section} left out: {error}")

    def reconstruction(self) -> None:
        """Score all systems."""
        systems: dict[str, Render] = codec_systems(self.codec, self.suite.seed)
        if self.suite.wants("ceiling"):
            systems |= ceiling_systems(self.codec, self.suite.seed)
        if self.suite.wants("baselines"):
            few = spread([one.clip for one in self.coded], _DELAY_CLIPS)
            found = usable_baselines([clip.wave_T for clip in few])
            systems |= baseline_systems(found.usable)
            self.notes += found.notes
            if found.usable:
                self.notes.append(BAND_NOTE)
        score_systems(systems, self.chosen(), self.folder, scorers=self.scorers, book=self.book)
        others = [RECORDINGS, *(name for name in systems if name != CODEC)]
        self.findings.differences = all_differences(self.book.rows, CODEC, others)

    def align(self) -> PhoneReader:
        """The aligner, and with it the labels of all clips."""
        if self.phones is None:
            if self.suite.aligner is None:
                raise DataError("there is no aligner: give one with --aligner.")
            self.phones = PhoneReader(self.suite.aligner)
            hop = self.codec.hop_samples
            self.labels = label_clips(self.coded, hop, self.phones, self.progress)
        return self.phones

    def probe(self) -> None:
        """Read every part."""
        if not shows_embeddings(self.codec):
            raise DataError("this codec does not show the embeddings of its codes.")
        classes = len(self.align().names)
        clips = probe_clips(self.codec, self.coded, self.labels, classes)
        self.findings.probes = run_probes(clips, classes, self.progress)

    def swap(self) -> None:
        """Exchange every part."""
        self.findings.swaps = run_swaps(
            self.codec,
            self.coded,
            self.folder,
            limit=self.suite.swap_pairs,
            seed=self.suite.seed,
            scorers=self.scorers,
            phones=self.align(),
            book=self.book,
        )

    def usage(self) -> None:
        """Count entries."""
        self.findings.usage = list(code_usage(self._stacked(), self._entries()))

    def rate(self) -> None:
        """Measure code lengths."""
        self.findings.rate = measure_rate(
            self._stacked(),
            self._entries(),
            frames_a_second=self.codec.sample_rate_hz / self.codec.hop_samples,
            timbre_channels=self.codec.timbre_channels,
            trained_on=self.suite.train_codes,
        )

    def pictures(self) -> None:
        """Draw what was found."""
        from speechkit.evaluate.codec.pictures import draw_all

        draw_all(
            self.folder,
            self.chosen(),
            self.coded,
            book_names(self.codec),
            self._entries(),
            self._table_rows(),
            self.findings,
        )

    def _stacked(self) -> list[Tensor]:
        return [one.codes.stacked() for one in self.coded]

    def _entries(self) -> list[int]:
        return [self.codec.quantizer.entries] * self.codec.quantizer.books

    def _table_rows(self) -> list[ClipRow]:
        return [row for row in self.book.rows if not row.system.startswith(SWAP_PREFIX)]

    def report(self) -> CodecReport:
        """Everything."""
        found = self.findings
        return CodecReport(
            rows=self.book.rows,
            summary=summarise(self._table_rows()),
            settings=self.scorers.settings | {"seed": self.suite.seed, "version": VERSION},
            extra=found.to_json(),
            notes=[*self.scorers.notes, *self.notes],
            sections=found.sections(book_names(self.codec)),
        )


def run_codec_suite(
    codec: Codec,
    clips: Sequence[EvalClip],
    out_folder: str | Path,
    *,
    scorers: Scorers,
    suite: CodecSuite | None = None,
    earlier: str | Path | None = None,
    progress: Callable[[str], None] = silent,
) -> CodecReport:
    """Measure a codec on held-out clips: all that `suite` asks for.

    `earlier` is a saved report whose rows are taken over where audio, text and models are the
    same. Waves, pictures and a manifest go to `out_folder`. A section that cannot be measured is
    left out with a note. Raises DataError without clips.
    """
    if not clips:
        raise DataError("There are no clips to measure: give a held-out corpus.")
    suite = suite or CodecSuite()
    folder = Path(out_folder)
    folder.mkdir(parents=True, exist_ok=True)
    run = _Run(
        codec=codec,
        coded=code_clips(codec, clips, progress),
        folder=folder,
        suite=suite,
        scorers=scorers,
        book=RowBook(earlier, progress, folder / UNFINISHED),
        progress=progress,
        notes=[],
    )
    run.attempt("usage", run.usage)
    run.attempt("rate", run.rate)
    run.attempt("probes", run.probe)
    run.attempt("reconstruction", run.reconstruction)
    run.attempt("swaps", run.swap)
    run.attempt("pictures", run.pictures)
    return run.report()
