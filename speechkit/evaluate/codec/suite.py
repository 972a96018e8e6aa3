"""The whole report on a codec, part by part; each part can be left out.

Legend: K codebooks, F frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechkit.core.errors import CheckpointError, DataError
from speechkit.data.align.reader import PhoneReader
from speechkit.evaluate.codec.baselines import usable_baselines
from speechkit.evaluate.codec.labels import frame_labels
from speechkit.evaluate.codec.parts import CodedClip, code_clips, codebook_names, embeddings
from speechkit.evaluate.codec.probes import ProbeClip, ProbeReport, reference_sources, run_probes
from speechkit.evaluate.codec.rate import measure_rate
from speechkit.evaluate.codec.reconstruction import (
    CODEC,
    Render,
    baseline_system,
    ceiling_systems,
    codec_systems,
    compare_systems,
    score_systems,
)
from speechkit.evaluate.codec.swaps import SWAP_PREFIX, SwapReport, run_swaps
from speechkit.evaluate.pairs import EvalClip, spread
from speechkit.evaluate.scorers import Scorers
from speechkit.evaluate.scoring import RECORDINGS, UNFINISHED, VERSION, RowLog, silent
from speechkit.evaluate.table import ClipRow, Report, Section, summarise
from speechkit.facodec.codec import Codec
from speechkit.facodec.quantizer import code_usage

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

BAND_NOTE = (
    "Codec 2 ends at 4 kHz and Opus at 6 kb/s does too: their log-mel distance and MCD count the "
    "missing band and cannot be compared."
)
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
    """Codes `[K, F]` of training clips, for bit rates with counts known beforehand."""


@dataclass(frozen=True, kw_only=True)
class CodebookUsage:
    """Use of one codebook over all clips."""

    size: int
    """Codes it has."""
    used: float
    """Share of them that was used."""
    perplexity: float
    """Exponential of the entropy: how many equally likely codes it amounts to."""
    bits: float
    """The entropy."""


@dataclass(frozen=True, kw_only=True)
class UsageReport:
    """Use of the codebooks."""

    codebooks: dict[str, CodebookUsage]
    """By name."""

    def text(self) -> str:
        """A line for each."""
        return "\n".join(
            f"{name}: {round(one.used * one.size)} of {one.size} codes used, "
            f"perplexity {one.perplexity:.0f}"
            for name, one in self.codebooks.items()
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(kw_only=True)
class _Run:
    """One report in the making."""

    codec: Codec
    clips: list[CodedClip]
    folder: Path
    suite: CodecSuite
    scorers: Scorers
    log: RowLog
    progress: Callable[[str], None]
    notes: list[str] = field(default_factory=list)
    sections: dict[str, Section] = field(default_factory=dict)

    def reconstruction(self) -> None:
        """Score all systems."""
        suite = self.suite
        systems: dict[str, Render] = codec_systems(self.codec, suite.seed)
        if "ceiling" in suite.sections:
            systems |= ceiling_systems(self.codec, suite.seed)
        if "baselines" in suite.sections:
            few = spread([one.clip for one in self.clips], _DELAY_CLIPS)
            found = usable_baselines([clip.wave_T for clip in few])
            for baseline in found.usable:
                systems[baseline.name] = baseline_system(baseline)
            self.notes += [*found.notes, *([BAND_NOTE] if found.usable else [])]
        ids = {clip.id for clip in spread([one.clip for one in self.clips], suite.limit)}
        chosen = [one for one in self.clips if one.clip.id in ids]
        score_systems(systems, chosen, self.folder, scorers=self.scorers, log=self.log)
        others = [RECORDINGS, *(name for name in systems if name != CODEC)]
        self.sections["differences"] = compare_systems(self.table_rows, CODEC, others)

    @cached_property
    def phones(self) -> PhoneReader:
        """The aligner."""
        if self.suite.aligner is None:
            raise DataError("there is no aligner: give one with --aligner.")
        return PhoneReader(self.suite.aligner)

    def probes(self) -> None:
        """Read every part."""
        embeddings(self.codec, self.clips[0].codes)
        classes = len(self.phones.names)
        clips = []
        for one in self.clips:
            labels = frame_labels(one.clip, self.codec.hop_samples, self.phones)
            timbre_D = one.timbre_D[-self.codec.timbre_channels :]
            parts = {"timbre": timbre_D, **embeddings(self.codec, one.codes)}
            clips.append(
                ProbeClip(
                    id=one.clip.id,
                    speaker=one.clip.speaker,
                    sources=parts | reference_sources(labels, classes),
                    labels=labels,
                )
            )
            self.progress(f"align {one.clip.id}")
        self.sections["probes"] = run_probes(clips, classes, self.progress)

    def swaps(self) -> None:
        """Exchange every part."""
        self.sections["swaps"] = run_swaps(
            self.codec,
            self.clips,
            self.folder,
            limit=self.suite.swap_pairs,
            seed=self.suite.seed,
            scorers=self.scorers,
            phones=self.phones,
            log=self.log,
        )

    def usage(self) -> None:
        """Count codes."""
        size = self.codec.quantizer.codebook_size
        found = code_usage(torch.cat([one.codes.stacked() for one in self.clips], 1), size)
        self.sections["usage"] = UsageReport(
            codebooks={
                name: CodebookUsage(size=size, **use)
                for name, use in zip(self.codebooks, found, strict=True)
            }
        )

    def rate(self) -> None:
        """Measure code lengths."""
        self.sections["rate"] = measure_rate(
            [one.codes.stacked() for one in self.clips],
            list(self.codebooks.values()),
            names=list(self.codebooks),
            frames_a_second=self.codec.sample_rate_hz / self.codec.hop_samples,
            timbre_channels=self.codec.voice_channels,
            trained_on=self.suite.train_codes,
        )

    def pictures(self) -> None:
        """Draw what was found."""
        from speechkit.evaluate.codec.figures import draw_report

        probes, swaps = self.sections.get("probes"), self.sections.get("swaps")
        draw_report(
            self.folder,
            self.clips,
            self.table_rows,
            self.codebooks,
            probes if isinstance(probes, ProbeReport) else None,
            swaps if isinstance(swaps, SwapReport) else None,
        )

    @property
    def codebooks(self) -> dict[str, int]:
        """Size of each codebook by its name."""
        return dict.fromkeys(codebook_names(self.codec), self.codec.quantizer.codebook_size)

    @property
    def table_rows(self) -> list[ClipRow]:
        """Rows of reconstruction."""
        return [row for row in self.log.rows if not row.system.startswith(SWAP_PREFIX)]


def run_codec_suite(
    codec: Codec,
    clips: Sequence[EvalClip],
    out_folder: str | Path,
    *,
    scorers: Scorers,
    suite: CodecSuite | None = None,
    earlier: str | Path | None = None,
    progress: Callable[[str], None] = silent,
) -> Report:
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
        clips=code_clips(codec, clips, progress),
        folder=folder,
        suite=suite,
        scorers=scorers,
        log=RowLog(earlier, progress, folder / UNFINISHED),
        progress=progress,
    )
    measures = {
        "usage": run.usage,
        "rate": run.rate,
        "probes": run.probes,
        "reconstruction": run.reconstruction,
        "swaps": run.swaps,
        "pictures": run.pictures,
    }
    for name, measure in measures.items():
        if name in suite.sections:
            try:
                measure()
            except (DataError, CheckpointError) as error:
                run.notes.append(f"{name} left out: {error}")
    return Report(
        rows=run.log.rows,
        summary=summarise(run.table_rows),
        settings=scorers.settings | {"seed": suite.seed, "version": VERSION},
        notes=[*scorers.notes, *run.notes],
        sections=run.sections,
    )
