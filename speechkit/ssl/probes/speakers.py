"""The speaker probes: who speaks, and whether two pieces are of one speaker.

Pieces of two seconds are pooled by their mean over time, which commutes with the weighted sum.
Identification is tested on other clips of the same speakers, and on the end of the clip where a
speaker has but one, which is easier: the counts tell for how many. Verification compares pieces
of speakers that identification has never seen.

Shapes: N pieces, L layers, D channels, V candidate thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from speechkit.core.errors import DataError
from speechkit.core.rng import derive, generator
from speechkit.core.timebase import SAMPLE_RATE_HZ
from speechkit.data.packed import PackedCorpus
from speechkit.ssl.probes.config import ProbeConfig
from speechkit.ssl.probes.heads import Probe, Standard, fit
from speechkit.ssl.probes.pieces import Piece, in_turns, shuffled
from speechkit.ssl.probes.report import TaskFigures
from speechkit.ssl.probes.sources import Source

PIECE_SAMPLES = 32_000
"""Two seconds."""
FEWEST, MOST = 3, 12
"""Pieces of a speaker."""
TEST_SHARE = 0.25
HELD_OUT_SHARE = 0.2
EMBEDDING = 256
"""Width of the trained speaker embedding, as in SUPERB."""
_BATCH = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class SpeakerMaterial:
    """What the speaker probes are trained and tested on."""

    known: list[Piece]
    """Pieces for identification; the label counts speakers from 0."""
    strangers: list[Piece]
    """Pieces for verification; empty where it is not asked for."""
    counts: dict[str, float]
    """What was taken and what was left out."""


def speaker_material(
    corpus: PackedCorpus, chosen: Sequence[int], config: ProbeConfig
) -> SpeakerMaterial:
    """Choose pieces of as many speakers as the minutes allow, equally many of each.

    Raises DataError for fewer than two speakers, or four where verification is asked for.
    """
    clips: dict[int, list[int]] = {}
    short = 0
    for clip in shuffled(chosen, config.seed, "speaker clips"):
        short += corpus.samples(clip) < PIECE_SAMPLES
        clips.setdefault(corpus.speaker(clip), []).append(clip)
    pieces = {speaker: _pieces(corpus, held) for speaker, held in sorted(clips.items())}
    usable = [speaker for speaker, found in pieces.items() if len(found) >= FEWEST]
    budget = int(config.minutes * 60 * SAMPLE_RATE_HZ / PIECE_SAMPLES)
    kept = shuffled(usable, config.seed, "speakers")[: max(2, budget // FEWEST)]
    wants_strangers = config.wants("verification")
    if len(kept) < (4 if wants_strangers else 2):
        raise DataError(
            f"Only {len(kept)} speakers have {FEWEST} pieces of 2 s: widen the selection or the "
            "minutes, or leave out the speaker probes."
        )
    each = min(MOST, max(FEWEST, budget // len(kept)))
    # Speakers with several clips are the better test: both sides get their share of them.
    kept.sort(key=lambda speaker: len(clips[speaker]) == 1)
    step = int(1 / HELD_OUT_SHARE)
    strangers = kept[:: max(2, min(step, len(kept) // 2))] if wants_strangers else []
    known = [speaker for speaker in kept if speaker not in strangers]
    identify = [
        piece
        for label, speaker in enumerate(known)
        for piece in _labelled(pieces[speaker][:each], label)
    ]
    verify = [
        replace(piece, label=label)
        for label, speaker in enumerate(strangers)
        for piece in pieces[speaker][:each]
    ]
    return SpeakerMaterial(
        known=identify,
        strangers=verify,
        counts={
            "minutes": (len(identify) + len(verify)) * PIECE_SAMPLES / SAMPLE_RATE_HZ / 60,
            "known_speakers": len(known),
            "tested_on_the_same_clip": sum(len(clips[speaker]) == 1 for speaker in known),
            "train_pieces": sum(not piece.test for piece in identify),
            "test_pieces": sum(piece.test for piece in identify),
            "strangers": len(strangers),
            "strangers_with_one_clip": sum(len(clips[speaker]) == 1 for speaker in strangers),
            "strangers_pieces": len(verify),
            "speakers_with_too_little": len(pieces) - len(usable),
            "speakers_beyond_the_minutes": len(usable) - len(kept),
            "clips_too_short": short,
        },
    )


def _pieces(corpus: PackedCorpus, clips: Sequence[int]) -> list[Piece]:
    """Return pieces that do not overlap: one of each clip before a second one of any."""
    rows = []
    for clip in clips:
        starts = range(0, corpus.samples(clip) - PIECE_SAMPLES + 1, PIECE_SAMPLES)
        rows.append(
            [
                Piece(clip=clip, start=start, stop=start + PIECE_SAMPLES, label=0, test=False)
                for start in starts
            ]
        )
    return in_turns(rows)


def _labelled(pieces: Sequence[Piece], label: int) -> list[Piece]:
    """Mark about a quarter for testing: whole clips, or the end of the only one."""
    clips = list(dict.fromkeys(piece.clip for piece in pieces))
    if len(clips) > 1:
        tested = set(clips[-max(1, round(TEST_SHARE * len(clips))) :])
        return [replace(piece, label=label, test=piece.clip in tested) for piece in pieces]
    first_test = len(pieces) - max(1, round(TEST_SHARE * len(pieces)))
    return [
        replace(piece, label=label, test=place >= first_test) for place, piece in enumerate(pieces)
    ]


def pool(source: Source, corpus: PackedCorpus, pieces: Sequence[Piece]) -> Tensor:
    """Return states_NLD float32: each piece by itself, its mean over time."""
    waves = (corpus.wave(piece.clip, piece.start, piece.stop) for piece in pieces)
    return torch.stack([source.states(wave_T).mean(dim=0) for wave_T in waves])


def training_part(pieces: Sequence[Piece]) -> Tensor:
    """Return train_N: True on pieces that are not for testing."""
    return torch.tensor([not piece.test for piece in pieces])


def fit_pooled(
    states_NLD: Tensor, pieces: Sequence[Piece], embedding: int | None, config: ProbeConfig
) -> Probe:
    """Return a probe trained on the pieces that are not for testing."""
    train = training_part(pieces)
    train_NLD = states_NLD[train]
    label_N = torch.tensor([piece.label for piece in pieces])
    classes = int(label_N.max()) + 1
    label_N = label_N[train]
    rng = generator(derive(config.seed, "probe", "pooled weights"))
    _, layers, channels = train_NLD.shape
    probe = Probe(layers, channels, classes, embedding, rng)

    def loss_of(rng: torch.Generator) -> Tensor:
        batch = torch.randint(len(label_N), (min(_BATCH, len(label_N)),), generator=rng)
        return functional.cross_entropy(probe(train_NLD[batch]), label_N[batch])

    fit(probe, loss_of, config, "pooled")
    return probe


def pooled_accuracy(probe: Probe, states_NLD: Tensor, pieces: Sequence[Piece]) -> float:
    """Return the share of test pieces whose class is named right."""
    test = torch.tensor([piece.test for piece in pieces])
    label_N = torch.tensor([piece.label for piece in pieces])
    with torch.inference_mode():
        right_N = probe(states_NLD[test]).argmax(dim=1) == label_N[test]
    return float(right_N.double().mean())


def probe_speakers(
    source: Source, corpus: PackedCorpus, material: SpeakerMaterial, config: ProbeConfig
) -> TaskFigures:
    """Return accuracy of identification and equal error rates of verification."""
    states_NLD = pool(source, corpus, material.known)
    standard = Standard(states_NLD[training_part(material.known)])
    standard.apply(states_NLD)
    probe = fit_pooled(states_NLD, material.known, EMBEDDING, config)
    figures: dict[str, float] = {}
    chance: dict[str, float] = {}
    if config.wants("speaker"):
        figures["speaker_accuracy"] = pooled_accuracy(probe, states_NLD, material.known)
        chance["speaker_accuracy"] = 1 / probe.head.out_features
    if material.strangers:
        strange_NLD = standard.apply(pool(source, corpus, material.strangers))
        plain = Probe(source.layers, source.channels, 1, None, generator(config.seed))
        with torch.inference_mode():
            for name, one in (("eer_mean", plain), ("eer_trained", probe)):
                figures[name] = verification_error(one.embed(strange_NLD), material.strangers)
                chance[name] = 0.5
    return TaskFigures(
        figures=figures, chance=chance, layer_weights={"speaker": probe.layer_weights}
    )


def verification_error(x_ND: Tensor, pieces: Sequence[Piece]) -> float:
    """Return the equal error rate of the cosines of all pairs of pieces.

    Two pieces of one clip are a trial only where the speaker has no other clip.
    """
    speaker_N = torch.tensor([piece.label for piece in pieces])
    clip_N = torch.tensor([piece.clip for piece in pieces])
    x_ND = functional.normalize(x_ND.double(), dim=1)
    scores_NN = x_ND @ x_ND.T
    same_NN = speaker_N[:, None] == speaker_N
    clips = {
        label: len({p.clip for p in pieces if p.label == label})
        for label in set(speaker_N.tolist())
    }
    several_N = torch.tensor([clips[piece.label] > 1 for piece in pieces])
    easy_NN = same_NN & (clip_N[:, None] == clip_N) & several_N
    pairs_NN = torch.ones_like(same_NN).triu(diagonal=1)
    return equal_error(scores_NN[pairs_NN & same_NN & ~easy_NN], scores_NN[pairs_NN & ~same_NN])


def equal_error(same_N: Tensor, other_M: Tensor) -> float:
    """Return the mean of false acceptance and false rejection at the threshold where they differ
    least, from scores of N trials of one speaker and M of two.

    Raises DataError without trials of both kinds.
    """
    if not same_N.numel() or not other_M.numel():
        raise DataError("An equal error rate needs trials of same and of other speakers.")
    same_N = same_N.double().sort().values
    other_M = other_M.double().sort().values
    # Between two neighbouring scores nothing changes; beyond the last, everything is refused.
    beyond = torch.tensor([torch.inf], dtype=torch.float64)
    threshold_V = torch.cat([same_N, other_M, beyond]).sort().values
    trials, others = same_N.numel(), other_M.numel()
    rejected_V = torch.searchsorted(same_N, threshold_V)
    accepted_V = others - torch.searchsorted(other_M, threshold_V)
    # In whole numbers, so that of thresholds that are equally good the lowest counts.
    best = int((rejected_V * others - accepted_V * trials).abs().argmin())
    return (int(rejected_V[best]) / trials + int(accepted_V[best]) / others) / 2
