"""Align whole corpora: durations for every phone, written beside the packed file.

Shapes: B batch, F frames, C classes, P phones.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from speechkit.data.align.corpus import FeatureCache, Utterance, read_transcripts
from speechkit.data.align.graph import batch_graphs
from speechkit.data.align.model import FRAME_SECONDS, Aligner, pad_features
from speechkit.data.align.viterbi import best_path, durations
from speechkit.data.alignment import Alignment, ClipAlignment, sidecar_path, write_alignment
from speechkit.data.packed import PackedCorpus
from speechkit.text import Frontend
from speechkit.text.vocab import is_boundary
from speechkit.train.progress import progress

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
        ]


def align_corpus(
    corpus: PackedCorpus,
    model: Aligner,
    out: str | Path | None = None,
    *,
    languages: Sequence[str] = ("en",),
    phones_of: Callable[[str], Sequence[str]] | None = None,
) -> AlignReport:
    """Align every clip with text and write the sidecar `out` (default: beside the corpus).

    `languages` are the codes of the clips to take (empty: all). `phones_of` turns a text into
    phones; the default is the English front end. Computes where `model` is.

    Raises DataError when not one clip can be aligned.
    """
    phones_of = phones_of or Frontend().phones
    transcripts = read_transcripts(corpus, model.classes, phones_of, languages)
    features = FeatureCache(corpus, model.config, keep=False)
    clips = align_utterances(model, transcripts.utterances, features)
    path = Path(out) if out is not None else sidecar_path(corpus.path)
    notes = {"skipped": transcripts.skipped}
    write_alignment(path, model.config.symbols, corpus.ids, clips, notes)
    return align_report(Alignment(path, corpus.ids))


@torch.no_grad()
def align_utterances(
    model: Aligner, utterances: Sequence[Utterance], features: FeatureCache
) -> dict[int, ClipAlignment]:
    """The best path of every utterance, by clip index, in batches of similar length."""
    was_training = model.training
    model.eval()
    batches: list[list[Utterance]] = [[]]
    for item in sorted(utterances, key=lambda item: item.frames):
        if batches[-1] and item.frames * (len(batches[-1]) + 1) > _BATCH_FRAMES:
            batches.append([])
        batches[-1].append(item)
    result: dict[int, ClipAlignment] = {}
    with progress("aligning", total=len(utterances), unit="clip") as bar:
        for batch in batches:
            result.update(_align_batch(model, batch, features))
            bar.update(len(batch))
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
    """Figures of an alignment that need no truth."""
    aligned = [clip for clip in range(len(alignment)) if alignment.has(clip)]
    ids_P = torch.cat([alignment.phones(clip) for clip in aligned])
    frames_P = torch.cat([alignment.frames(clip) for clip in aligned])
    boundary_V = torch.tensor([is_boundary(symbol) for symbol in alignment.symbols])
    phone_frames: Tensor = frames_P[~boundary_V[ids_P]].float()
    gaps = frames_P[ids_P == alignment.symbols.index(" ")]
    total = int(frames_P.sum())
    return AlignReport(
        aligned=len(aligned),
        skipped=dict(alignment.notes.get("skipped", {})),
        hours=total * FRAME_SECONDS / 3600,
        phone_ms_mean=1000 * FRAME_SECONDS * float(phone_frames.mean()),
        phone_frames_one_share=float((phone_frames == 1).float().mean()),
        gaps_silent_share=float((gaps > 0).float().mean()) if len(gaps) else 0.0,
        silence_share=float(frames_P[boundary_V[ids_P]].sum()) / total,
        score_median=statistics.median(alignment.score(clip) for clip in aligned),
    )
