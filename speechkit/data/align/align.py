"""Align whole corpora: durations for every phone, written beside the packed file.

Shapes: P phones.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from speechkit.data.align.corpus import FeatureCache, read_transcripts
from speechkit.data.align.decode import decode_utterances
from speechkit.data.align.model import Aligner, load_aligner
from speechkit.data.align.phones import read_phones
from speechkit.data.alignment import Alignment, ClipAlignment, sidecar_path, write_alignment
from speechkit.data.packed import PackedCorpus
from speechkit.text import Frontend
from speechkit.text.vocab import is_boundary

FRAME_SECONDS = 0.02


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

    `phones_of` turns a text into phones; the default is the English front end.
    """
    phones_of = phones_of or Frontend().phones
    transcripts = read_transcripts(corpus, model.classes, phones_of, languages)
    features = FeatureCache(corpus, model.config, keep=False)
    decoded = decode_utterances(model, transcripts.utterances, features)
    identity = {symbol: index for index, symbol in enumerate(model.config.symbols)}
    clips = {
        item.clip: ClipAlignment(
            torch.tensor([identity[phone] for phone in item.phones]),
            decoded[item.clip].frames_P,
            decoded[item.clip].score,
        )
        for item in transcripts.utterances
    }
    path = Path(out) if out is not None else sidecar_path(corpus.path)
    ids = [info["id"] for info in corpus.clips]
    write_alignment(path, model.config.symbols, ids, clips, {"skipped": transcripts.skipped})
    return align_report(Alignment(path, ids))


def align_report(alignment: Alignment) -> AlignReport:
    """Figures of an alignment that need no truth."""
    aligned = [clip for clip in range(len(alignment)) if alignment.has(clip)]
    ids_P = torch.cat([alignment.phones(clip) for clip in aligned])
    frames_P = torch.cat([alignment.frames(clip) for clip in aligned])
    boundary_V = torch.tensor([is_boundary(symbol) for symbol in alignment.symbols])
    phone_frames = frames_P[~boundary_V[ids_P]].float()
    gaps = frames_P[ids_P == alignment.symbols.index(" ")]
    total = int(frames_P.sum())
    skipped: dict[str, int] = dict(alignment.notes.get("skipped", {}))
    return AlignReport(
        aligned=len(aligned),
        skipped=skipped,
        hours=total * FRAME_SECONDS / 3600,
        phone_ms_mean=1000 * FRAME_SECONDS * float(phone_frames.mean()),
        phone_frames_one_share=float((phone_frames == 1).float().mean()),
        gaps_silent_share=float((gaps > 0).float().mean()) if len(gaps) else 0.0,
        silence_share=float(frames_P[boundary_V[ids_P]].sum()) / total,
        score_median=statistics.median(alignment.score(clip) for clip in aligned),
    )


def align(
    data: str | Path,
    *,
    model: str | Path | None = None,
    out: str | Path | None = None,
    run: str | Path | None = None,
    minutes: float = 10.0,
    languages: Sequence[str] = ("en",),
    phones: str | Path | None = None,
    seed: int = 0,
) -> AlignReport:
    """Align the packed corpus `data`: what `speechkit align` does.

    `model` is the folder of a trained aligner; without one, an aligner is trained on `data`
    itself for `minutes` in the folder `run` (default: `NAME.aligner` beside the corpus), which
    is resumed if it was interrupted. `phones` is a file of `speechkit.data.align.phones`, for
    machines and languages without the English front end.
    """
    corpus = PackedCorpus(data)
    phones = None if phones is None else Path(phones)
    if model is not None:
        aligner = load_aligner(model)
    else:
        from speechkit.data.align.train import default_config, train_aligner

        folder = Path(run) if run is not None else Path(data).with_suffix(".aligner")
        aligner = train_aligner(
            Path(data),
            folder,
            default_config(minutes, seed=seed),
            languages=languages,
            phones=phones,
        )
    phones_of = None if phones is None else read_phones(phones)
    return align_corpus(corpus, aligner, out, languages=languages, phones_of=phones_of)
