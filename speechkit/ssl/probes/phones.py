"""The phone probes: the phone of each frame by a linear layer, and phones by CTC.

Both are tested on speakers that they were not trained on: some of the corpus, or those of a split.
Stress is left out and all that is no phone is silence, which is also CTC's blank.

Shapes: F frames of a clip, N frames of all, P phones, L layers, D channels, V classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from speechkit.core.errors import ConfigError, DataError
from speechkit.core.metrics import edits
from speechkit.core.rng import derive, generator
from speechkit.core.timebase import SAMPLE_RATE_HZ
from speechkit.data.alignment import Alignment
from speechkit.data.packed import PackedCorpus
from speechkit.ssl.ctc.decoding import greedy_labels
from speechkit.ssl.probes.config import ProbeConfig
from speechkit.ssl.probes.heads import Probe, Standard, fit
from speechkit.ssl.probes.pieces import held_out, in_turns, shuffled
from speechkit.ssl.probes.report import ClipRate, TaskFigures
from speechkit.ssl.probes.sources import HOP_SAMPLES, Source

SILENCE = 0
"""Class of what is no phone."""
TEST_SHARE = 0.2
_BATCH_FRAMES = 1024
_BATCH_CLIPS = 4
_MIN_SAMPLES = HOP_SAMPLES * 10


@dataclass(frozen=True, kw_only=True, eq=False)
class PhoneClip:
    """A clip whose phones are known."""

    clip: int
    """Which clip of the corpus."""
    speaker: int
    """Who speaks."""
    labels_F: Tensor
    """Class of each 20 ms frame, int64."""
    phones: tuple[int, ...]
    """Classes of its phones in order, without silence."""
    test: bool
    """Its speaker is held out."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PhoneMaterial:
    """What the phone probes are trained and tested on."""

    clips: list[PhoneClip]
    """Clips for both."""
    classes: int
    """V, with silence."""
    counts: dict[str, float]
    """What was taken and what was left out."""


def phone_material(
    corpus: PackedCorpus, alignment: Alignment, chosen: Sequence[int], config: ProbeConfig
) -> PhoneMaterial:
    """Choose aligned clips, speaker by speaker in turns, until there are enough minutes.

    Raises DataError where none is aligned, or all are of one speaker.
    """
    aligned = [clip for clip in chosen if alignment.has(clip)]
    long = [clip for clip in aligned if corpus.samples(clip) >= _MIN_SAMPLES]
    if not long:
        raise DataError(
            f"None of the {len(chosen)} chosen clips has an alignment in '{corpus}': align "
            "the corpus, widen the selection, or leave out the phone and word probes."
        )
    test_speakers = _test_speakers(corpus, long, config)
    names, class_V = phone_classes(alignment.symbols)
    clips: list[PhoneClip] = []
    minutes = {False: 0.0, True: 0.0}
    limits = {False: (1 - TEST_SHARE) * config.minutes, True: TEST_SHARE * config.minutes}
    if config.test_splits:
        limits = {False: config.minutes, True: float("inf")}
    for clip in _by_speaker(corpus, long, config.seed):
        test = corpus.speaker(clip) in test_speakers
        if minutes[test] >= limits[test]:
            continue
        minutes[test] += corpus.samples(clip) / SAMPLE_RATE_HZ / 60
        class_P = class_V[alignment.phones(clip)]
        clips.append(
            PhoneClip(
                clip=clip,
                speaker=corpus.speaker(clip),
                labels_F=class_P.repeat_interleave(alignment.frames(clip)),
                phones=tuple(class_P[class_P != SILENCE].tolist()),
                test=test,
            )
        )
    speakers = {test: {corpus.speaker(c.clip) for c in clips if c.test == test} for test in minutes}
    return PhoneMaterial(
        clips=clips,
        classes=len(names),
        counts={
            "train_minutes": minutes[False],
            "test_minutes": minutes[True],
            "train_speakers": len(speakers[False]),
            "test_speakers": len(speakers[True]),
            "classes": len(names),
            "clips": len(clips),
            "clips_without_alignment": len(chosen) - len(aligned),
            "clips_too_short": len(aligned) - len(long),
        },
    )


def _test_speakers(corpus: PackedCorpus, clips: Sequence[int], config: ProbeConfig) -> set[int]:
    """Return speakers to test on; raises DataError where nobody else is left, or a split lacks."""
    if not config.test_splits:
        return held_out(map(corpus.speaker, clips), TEST_SHARE, config.seed, "phone")
    split_of = {clip: corpus.clips[clip]["split"] for clip in clips}
    inside = {corpus.speaker(clip) for clip in clips if split_of[clip] in config.test_splits}
    outside = {corpus.speaker(clip) for clip in clips if split_of[clip] not in config.test_splits}
    if not inside or not outside or inside & outside:
        raise DataError(
            f"{len(inside)} speakers have aligned clips in the splits to test on "
            f"({', '.join(config.test_splits)}), {len(outside)} elsewhere, {len(inside & outside)} "
            "both: give the corpora of both, without a common speaker."
        )
    return inside


def phone_classes(symbols: Sequence[str]) -> tuple[list[str], Tensor]:
    """Return the names of the classes, silence first, and class_V int64 of each symbol."""
    plain = [symbol.rstrip("0123456789") if symbol[:1].isalpha() else "" for symbol in symbols]
    names = sorted({"", *plain})
    return names, torch.tensor([names.index(name) for name in plain])


def _by_speaker(corpus: PackedCorpus, clips: Sequence[int], seed: int) -> list[int]:
    """Return clips so that every speaker comes once before any comes twice."""
    groups: dict[int, list[int]] = {}
    for clip in shuffled(clips, seed, "phone clips"):
        groups.setdefault(corpus.speaker(clip), []).append(clip)
    return in_turns(list(groups.values()))


class PhoneFrames:
    """Features of all clips in memory."""

    def __init__(
        self, source: Source, corpus: PackedCorpus, material: PhoneMaterial, config: ProbeConfig
    ) -> None:
        """Extract them; raises ConfigError where they would take too much memory."""
        most = sum(len(clip.labels_F) for clip in material.clips)
        if source.gigabytes(most) > config.max_gigabytes:
            raise ConfigError(
                f"{most} frames of {source.name} take {source.gigabytes(most):.1f} GB and "
                f"{config.max_gigabytes:g} are allowed: probe fewer minutes or layers."
            )
        self.material = material
        self.speakers = [corpus.clips[clip.clip]["speaker"] for clip in material.clips if clip.test]
        self.spans: list[tuple[int, int]] = []
        states_NLD = torch.empty(most, source.layers, source.channels, dtype=torch.float16)
        labels_N = torch.empty(most, dtype=torch.int64)
        first = 0
        for clip in material.clips:
            found_FLD = source.states(corpus.wave(clip.clip))[: len(clip.labels_F)]
            end = first + len(found_FLD)
            states_NLD[first:end] = found_FLD.clamp(-6e4, 6e4)
            labels_N[first:end] = clip.labels_F[: len(found_FLD)]
            self.spans.append((first, end))
            first = end
        self.labels_N = labels_N[:first]
        standard = Standard(states_NLD[self.frames(test=False)])
        self.states_NLD = standard.apply(states_NLD[:first])

    def clips(self, *, test: bool) -> list[tuple[PhoneClip, slice]]:
        """Return clips of one part and where their frames lie."""
        pairs = zip(self.material.clips, self.spans, strict=True)
        return [(clip, slice(*span)) for clip, span in pairs if clip.test == test]

    def frames(self, *, test: bool) -> Tensor:
        """Return index_N of all frames of one part."""
        spans = [torch.arange(at.start, at.stop) for _, at in self.clips(test=test)]
        return torch.cat(spans)

    def rate(self, errors: list[int]) -> ClipRate:
        """Return the errors of the test clips beside their phones and speakers."""
        phones = [len(clip.phones) for clip, _ in self.clips(test=True)]
        return ClipRate(errors=errors, phones=phones, speakers=self.speakers)

    def probe(self, name: str, seed: int, dropout: float) -> Probe:
        """Return an untrained probe for these classes."""
        rng = generator(derive(seed, "probe", name, "weights"))
        _, layers, channels = self.states_NLD.shape
        return Probe(layers, channels, self.material.classes, None, rng, dropout)

    def errors(self, probe: Probe, clips: Sequence[Placed]) -> list[int]:
        """Return the edits between each clip's phones and the best path."""
        with torch.inference_mode():
            return [_errors(clip, probe(self.states_NLD[at])) for clip, at in clips]


Placed = tuple[PhoneClip, slice]
"""A clip, and where its frames lie."""
Fit = Callable[[Probe, Sequence[Placed]], None]
"""Trains a probe on some clips."""


def fit_chosen(frames: PhoneFrames, name: str, config: ProbeConfig, train: Fit) -> Probe:
    """Train a probe with each dropout on most of the speakers, and with the best of them on all.

    The best makes the fewest phone errors on the speakers left out. Where there is one dropout to
    choose from, or one speaker to learn from, the first is taken.
    """
    clips = frames.clips(test=False)
    chosen = config.dropouts[0]
    speakers = [clip.speaker for clip, _ in clips]
    if len(config.dropouts) > 1 and len(set(speakers)) > 1:
        apart = held_out(speakers, TEST_SHARE, config.seed, "dropout")
        learnt = [placed for placed in clips if placed[0].speaker not in apart]
        judged = [placed for placed in clips if placed[0].speaker in apart]
        errors: dict[float, int] = {}
        for dropout in config.dropouts:
            probe = frames.probe(name, config.seed, dropout)
            train(probe, learnt)
            errors[dropout] = sum(frames.errors(probe, judged))
        chosen = min(errors, key=errors.__getitem__)
    probe = frames.probe(name, config.seed, chosen)
    train(probe, clips)
    return probe


def probe_frames(frames: PhoneFrames, config: ProbeConfig) -> TaskFigures:
    """Return how well a linear layer names the phone of each frame."""

    def train(probe: Probe, clips: Sequence[Placed]) -> None:
        train_N = torch.cat([torch.arange(at.start, at.stop) for _, at in clips])

        def loss_of(rng: torch.Generator) -> Tensor:
            batch = train_N[torch.randint(len(train_N), (_BATCH_FRAMES,), generator=rng)]
            logits_NV = probe(frames.states_NLD[batch], rng)
            return functional.cross_entropy(logits_NV, frames.labels_N[batch])

        fit(probe, loss_of, config, "phones")

    probe = fit_chosen(frames, "phones", config, train)
    test = frames.clips(test=True)
    train_N, test_N = frames.frames(test=False), frames.frames(test=True)
    guess = frames.labels_N.clone()
    with torch.inference_mode():
        for _, at in test:
            guess[at] = probe(frames.states_NLD[at]).argmax(dim=1)
    rate = frames.rate(frames.errors(probe, test))
    commonest = frames.labels_N[train_N].bincount().argmax()
    return TaskFigures(
        figures={
            "phone_accuracy": _share(guess[test_N] == frames.labels_N[test_N]),
            "phone_error_rate": rate.rate,
        },
        chance={
            "phone_accuracy": _share(frames.labels_N[test_N] == commonest),
            "phone_error_rate": 1.0,
        },
        layer_weights={"phones": probe.layer_weights},
        rates={"phone_error_rate": rate},
        dropout={"phones": probe.dropout},
    )


def probe_ctc(frames: PhoneFrames, config: ProbeConfig) -> TaskFigures:
    """Return the phone error rate of a linear layer trained by CTC, which sees no alignment."""

    def train(probe: Probe, clips: Sequence[Placed]) -> None:
        def loss_of(rng: torch.Generator) -> Tensor:
            chosen = torch.randperm(len(clips), generator=rng)[:_BATCH_CLIPS].tolist()
            logits = [probe(frames.states_NLD[clips[i][1]], rng).log_softmax(1) for i in chosen]
            return functional.ctc_loss(
                torch.nn.utils.rnn.pad_sequence(logits),
                torch.tensor([phone for i in chosen for phone in clips[i][0].phones]),
                torch.tensor([len(rows) for rows in logits]),
                torch.tensor([len(clips[i][0].phones) for i in chosen]),
                blank=SILENCE,
                zero_infinity=True,
            )

        fit(probe, loss_of, config, "ctc")

    probe = fit_chosen(frames, "ctc", config, train)
    rate = frames.rate(frames.errors(probe, frames.clips(test=True)))
    return TaskFigures(
        figures={"ctc_error_rate": rate.rate},
        chance={"ctc_error_rate": 1.0},
        layer_weights={"ctc": probe.layer_weights},
        rates={"ctc_error_rate": rate},
        dropout={"ctc": probe.dropout},
    )


def _errors(clip: PhoneClip, logits_FV: Tensor) -> int:
    """Return the edits between the clip's phones and the best path."""
    heard = greedy_labels(logits_FV)
    return edits([str(phone) for phone in clip.phones], [str(phone) for phone in heard]).errors


def _share(right_N: Tensor) -> float:
    """Return the share that is True."""
    return float(right_N.double().mean())
