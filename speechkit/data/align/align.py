"""Align whole corpora: durations for every phone, written beside each shard.

Shapes: B batch, F frames, C classes, P phones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechkit.core.checkpoint import load_checkpoint
from speechkit.core.errors import DataError
from speechkit.data.align.corpus import FeatureCache, Utterance, read_transcripts
from speechkit.data.align.graph import batch_graphs
from speechkit.data.align.model import FRAME_SECONDS, Aligner, load_aligner, pad_features
from speechkit.data.align.viterbi import best_path, durations
from speechkit.data.alignment import ALIGNMENT, Alignment, ClipAlignment, write_alignment
from speechkit.data.packed import Data, PackedCorpus, Source
from speechkit.data.sidecar import is_made
from speechkit.data.work import ALONE, Crew, Report, run_shards
from speechkit.text import Frontend
from speechkit.text.vocab import is_boundary

_BATCH_FRAMES = 16_000


@dataclass(frozen=True, kw_only=True)
class AlignReport:
    """What an alignment run did, and what the alignment looks like."""

    aligned: int
    """Clips with an alignment."""

    skipped: dict[str, int]
    """Clips without one, by reason."""

    hours: float
    """Aligned speech."""

    phone_ms_mean: float
    """Mean duration of a phone."""

    phone_frames_one_share: float
    """Share of phones that last a single frame; near 0 is healthy, CTC spikes give most of them."""

    gaps_silent_share: float
    """Share of word gaps, punctuation aside, with any silence in them."""

    silence_share: float
    """Share of all frames in boundary symbols."""

    score_median: float
    """Median over clips of the mean log posterior a frame."""

    missing_shards: int = 0
    """Shards that others have still to align."""

    def lines(self) -> list[str]:
        """The report for people."""
        left_out = ", ".join(f"{count} {reason}" for reason, count in self.skipped.items())
        return [
            f"aligned {self.aligned} clips, {self.hours:.2f} h; left out: {left_out or 'none'}",
            f"phones last {self.phone_ms_mean:.0f} ms on average, "
            f"{100 * self.phone_frames_one_share:.1f} % of them one frame",
            f"silence: {100 * self.silence_share:.1f} % of frames, "
            f"in {100 * self.gaps_silent_share:.1f} % of plain word gaps",
            f"median log posterior a frame: {self.score_median:.3f}",
            *([f"{self.missing_shards} shards still to align"] if self.missing_shards else []),
        ]


def align_corpus(
    data: Data,
    aligner: str | Path,
    *,
    languages: Sequence[str] = ("en",),
    phones_of: Callable[[str], Sequence[str]] | None = None,
    crew: Crew = ALONE,
) -> AlignReport:
    """Align every clip with text, shard by shard; shards that this aligner has aligned stay.

    `aligner` is its folder; `languages` are the codes of the clips to take (empty: all);
    `phones_of` turns a text into phones, by default the English front end. The report is about all
    shards that are aligned, by whomever of the crew.

    Raises DataError when not one clip can be aligned.
    """
    corpus = PackedCorpus(data)
    made_by = {"aligner": load_checkpoint(aligner).sha256, "languages": sorted(languages)}

    def is_aligned(number: int) -> bool:
        shard = corpus.shards[number]
        return is_made(shard.sidecar(ALIGNMENT.name), ALIGNMENT, shard, made_by)

    work = AlignWork(
        sources=corpus.sources,
        aligner=Path(aligner),
        languages=tuple(languages),
        phones_of=phones_of,
        device=crew.device,
        made_by=made_by,
    )
    done = run_shards("aligning", work, corpus, is_aligned, crew)
    report = align_report(Alignment(PackedCorpus(done)))
    return replace(report, missing_shards=len(corpus.shards) - len(done))


@dataclass(frozen=True, kw_only=True)
class AlignWork:
    """How a shard is aligned."""

    sources: tuple[Source, ...]
    aligner: Path
    languages: tuple[str, ...]
    phones_of: Callable[[str], Sequence[str]] | None
    device: str
    made_by: Mapping[str, Any]

    def load(self) -> Callable[[int, Report], None]:
        """Open the corpus and load aligner and front end."""
        corpus = PackedCorpus(self.sources)
        model = load_aligner(self.aligner).to(self.device)
        phones_of = self.phones_of or Frontend().phones
        features = FeatureCache(corpus, model.config, keep=False)

        def align(number: int, report: Report) -> None:
            clips = corpus.clips_of(number)
            found = read_transcripts(corpus, model.classes, phones_of, self.languages, clips)
            report(len(clips) - len(found.utterances))
            aligned = align_utterances(model, found.utterances, features, report)
            write_alignment(
                corpus.shards[number],
                model.config.symbols,
                {clip - clips.start: one for clip, one in aligned.items()},
                skipped=found.skipped,
                made_by=self.made_by,
            )

        return align


@torch.no_grad()
def align_utterances(
    model: Aligner,
    utterances: Sequence[Utterance],
    features: FeatureCache,
    report: Report = lambda count: None,
) -> dict[int, ClipAlignment]:
    """The best path of every utterance, by clip index, in batches of similar length.

    `report` is told how many more are done.
    """
    was_training = model.training
    model.eval()
    batches: list[list[Utterance]] = [[]]
    for item in sorted(utterances, key=lambda item: item.frames):
        if batches[-1] and item.frames * (len(batches[-1]) + 1) > _BATCH_FRAMES:
            batches.append([])
        batches[-1].append(item)
    result: dict[int, ClipAlignment] = {}
    for batch in filter(None, batches):
        result.update(_align_batch(model, batch, features))
        report(len(batch))
    model.train(was_training)
    return result


def _align_batch(
    model: Aligner, utterances: Sequence[Utterance], features: FeatureCache
) -> dict[int, ClipAlignment]:
    mel_BHM, frames_B = pad_features([features(item.clip) for item in utterances])
    device = model.prior_C.device
    log_posterior_BFC = model(mel_BHM.to(device), frames_B.to(device))
    scores_BFC = model.scores(log_posterior_BFC).cpu()
    log_posterior_BFC = log_posterior_BFC.cpu()
    graphs = batch_graphs([item.graph for item in utterances])
    states_BF = best_path(scores_BFC, graphs, frames_B).states_BF
    classes_BF = graphs.classes_BS.gather(1, states_BF.clamp_min(0))
    along_BF = log_posterior_BFC.gather(2, classes_BF[..., None])[..., 0]
    ids = {symbol: index for index, symbol in enumerate(model.config.symbols)}
    return {
        item.clip: ClipAlignment(
            torch.tensor([ids[phone] for phone in item.phones]),
            durations(states_BF[row], item.graph),
            float(along_BF[row, : item.frames].mean()),
        )
        for row, item in enumerate(utterances)
    }


def align_report(alignment: Alignment) -> AlignReport:
    """Figures of an alignment that need no truth; raises DataError where no clip is aligned."""
    aligned = int((alignment.lengths() > 0).sum())
    if not aligned:
        raise DataError(
            f"No clip can be aligned ({dict(alignment.skipped)}); prepare the corpus with its "
            "texts."
        )
    parts = [part.tensors for part in alignment.parts]
    ids_P = torch.cat([part["phones_P"] for part in parts]).long()
    frames_P = torch.cat([part["frames_P"] for part in parts]).long()
    boundary_V = torch.tensor([is_boundary(symbol) for symbol in alignment.symbols])
    phone_frames: Tensor = frames_P[~boundary_V[ids_P]].float()
    gaps = frames_P[ids_P == alignment.symbols.index(" ")]
    total = int(frames_P.sum())
    return AlignReport(
        aligned=aligned,
        skipped=dict(alignment.skipped),
        hours=total * FRAME_SECONDS / 3600,
        phone_ms_mean=1000 * FRAME_SECONDS * float(phone_frames.mean()),
        phone_frames_one_share=float((phone_frames == 1).float().mean()),
        gaps_silent_share=float((gaps > 0).float().mean()) if len(gaps) else 0.0,
        silence_share=float(frames_P[boundary_V[ids_P]].sum()) / total,
        score_median=float(np.nanmedian(torch.cat([part["score_N"] for part in parts]).numpy())),
    )
