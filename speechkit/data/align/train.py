"""Training of the aligner: batches, loss, held-out figure, and the settings that suit it.

The network learns, by frame cross-entropy, the alignments of Gaussians that were fitted with the
full sum over the same graphs (`start`), and ends up closer to the truth than its teacher. Training
it on its own full sum afterwards, with the class prior divided out (Raissi et al. 2022), made
things worse and is gone: the network reads ± 9 frames, so its neighbouring frames count the same
evidence several times, paths turn hard, and boundaries drift (phones of one frame: truth 16 %,
cross-entropy 15 %, full sum 25 %; mean error 31, then 38 ms).

Shapes: B batch, H mel frames (100 Hz), M mel bands, F frames (50 Hz), C classes.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from speechkit.core.config import to_dict
from speechkit.data.align.corpus import (
    FeatureCache,
    Transcripts,
    Utterance,
    read_transcripts,
    require_some,
)
from speechkit.data.align.graph import GraphBatch, batch_graphs
from speechkit.data.align.model import Aligner, AlignerConfig, pad_features, save_aligner
from speechkit.data.align.start import Gaussians, fit_gaussians, forward_backward, gaussian_paths
from speechkit.data.packed import Data, PackedCorpus
from speechkit.text import Frontend
from speechkit.train import TrainConfig, TrainReport, train
from speechkit.train.prefetch import to_device

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class AlignTaskConfig:
    """Batches and schedule of the aligner's training."""

    utterances: int = 24
    """Most utterances in a batch; they are neighbours in length."""

    batch_frames: int = 9600
    """Most frames (50 Hz, padding included) in a batch."""

    start_utterances: int = 400
    """Utterances, the shortest half of all spread evenly, that the Gaussians are fitted on."""

    start_rounds: int = 6
    """Rounds of Baum-Welch after the linear alignment; later ones change little."""

    noise_chance: float = 0.3
    """Share of utterances whose features get a noise floor of random height."""

    band_chance: float = 0.3
    """Share of utterances that lose up to 12 neighbouring mel bands (SpecAugment)."""

    held_out: int = 32
    """Utterances kept from training for the held-out likelihood (at most a tenth of all)."""


def _train_config() -> TrainConfig:
    """Optimiser settings that suit the aligner on a CPU with AVX512-BF16 or on a GPU."""
    return TrainConfig(
        lr=2e-3,
        betas=(0.9, 0.98),
        warmup_steps=40,
        decay="trapezoid",
        decay_share=0.4,
        final_lr_share=0.02,
        ema_decay=0.99,
        amp="auto",
        log_every_steps=20,
        validate_every_steps=200,
        save_every_minutes=2.0,
    )


@dataclass(frozen=True, kw_only=True)
class AlignerTraining:
    """A whole recipe of the aligner."""

    model: AlignerConfig = field(default_factory=AlignerConfig)
    """The network."""

    task: AlignTaskConfig = field(default_factory=AlignTaskConfig)
    """What a step trains on."""

    train: TrainConfig = field(default_factory=_train_config)
    """Optimiser, budget and log."""


def train_aligner(
    data: Data,
    recipe: AlignerTraining,
    out: Path,
    *,
    languages: Sequence[str] = ("en",),
    phones_of: Callable[[str], Sequence[str]] | None = None,
) -> TrainReport:
    """Train on all clips of the corpora `data` with text in one of `languages`.

    `phones_of` turns a text into phones; the default is the English front end. The aligner is in
    `out/last` and `out/best`, a run in `out` is resumed. Raises DataError when no clip can be
    aligned.
    """
    corpus = PackedCorpus(data)
    model = Aligner(recipe.model)
    phones_of = phones_of or Frontend().phones
    transcripts = require_some(read_transcripts(corpus, model.classes, phones_of, languages))
    _log.info(
        "%d clips to train on; left out: %s", len(transcripts.utterances), transcripts.skipped
    )
    cache = FeatureCache(corpus, recipe.model)
    task = AlignTask(model, transcripts, cache, recipe.task, corpus.weight_N)
    settings = {name: part for name, part in to_dict(recipe).items() if name != "train"}
    identity = {**settings, "data": corpus.sha256, "languages": sorted(languages)}
    return train(task, recipe.train, out, identity=identity)


@dataclass(frozen=True)
class AlignBatch:
    """Features, lengths and graphs of one batch."""

    mel_BHM: Tensor
    frames_B: Tensor
    graphs: GraphBatch


class AlignTask:
    """The aligner as a task of `speechkit.train`."""

    weights: Mapping[str, float] = {"frame": 1.0}

    def __init__(
        self,
        model: Aligner,
        transcripts: Transcripts,
        features: FeatureCache,
        config: AlignTaskConfig,
        weight_N: npt.NDArray[np.float64] | None = None,
    ) -> None:
        """`weight_N` says how often each clip of the corpus is drawn; all alike where None."""
        self.model = model
        self.config = config
        self._features = features
        ordered = sorted(transcripts.utterances, key=lambda utterance: utterance.frames)
        held = min(config.held_out, len(ordered) // 10)
        stride = len(ordered) // held if held else len(ordered) + 1
        self._held = ordered[stride // 2 :: stride][:held]
        chosen = {utterance.clip for utterance in self._held}
        self._train = [utterance for utterance in ordered if utterance.clip not in chosen]
        clips = [utterance.clip for utterance in self._train]
        weight_U = torch.ones(len(clips)) if weight_N is None else torch.from_numpy(weight_N[clips])
        self._share_U = weight_U / weight_U.max()
        """How many batches, as a share, each utterance U may be in."""

    def batch(self, rng: torch.Generator, number: int = 0) -> AlignBatch:
        """A random utterance and its neighbours in length, augmented."""
        there = self._train
        if float(self._share_U.min()) < 1:
            passed_U = torch.rand(len(there), generator=rng) < self._share_U
            there = [there[place] for place in passed_U.nonzero()[:, 0].tolist()] or there
        middle = int(torch.randint(len(there), (1,), generator=rng))
        longest = there[min(middle + self.config.utterances, len(there) - 1)].frames
        size = max(1, min(self.config.utterances, self.config.batch_frames // longest))
        first = max(0, min(middle - size // 2, len(there) - size))
        chosen = there[first : first + size]
        return _collate(
            chosen, [self._augment(self._features(item.clip).float(), rng) for item in chosen]
        )

    def _augment(self, mel_HM: Tensor, rng: torch.Generator) -> Tensor:
        chance = torch.rand(4, generator=rng).tolist()
        if chance[0] < self.config.noise_chance:
            # Two to six nepers (17 to 52 dB) below the loudest frame, the same in all bands.
            floor = float(mel_HM.mean(dim=1).max()) - 2.0 - 4.0 * chance[1]
            mel_HM = torch.logaddexp(mel_HM, torch.tensor(floor))
            mel_HM = mel_HM - mel_HM.mean(dim=0)
        if chance[2] < self.config.band_chance:
            width = 1 + int(12 * chance[3])
            first = int(torch.randint(mel_HM.shape[1] - width + 1, (1,), generator=rng))
            mel_HM = mel_HM.clone()
            mel_HM[:, first : first + width] = 0.0
        return mel_HM

    def losses(self, batch: AlignBatch, rng: torch.Generator, step: int) -> dict[str, Tensor]:
        """The cross-entropy a frame against the Viterbi paths of the Gaussians."""
        log_posterior_BFC = self.model(batch.mel_BHM, batch.frames_B)
        position_F = torch.arange(log_posterior_BFC.shape[1], device=batch.frames_B.device)
        valid_BF = position_F[None] < batch.frames_B[:, None]
        if self.model.training:
            self.model.update_prior(log_posterior_BFC.detach()[valid_BF].exp())
        target_BF = gaussian_paths(
            self._gaussians, batch.mel_BHM.cpu(), batch.frames_B.cpu(), batch.graphs.to("cpu")
        ).to(log_posterior_BFC.device)
        loss = nn.functional.nll_loss(log_posterior_BFC[valid_BF], target_BF[valid_BF])
        return {"frame": loss}

    @functools.cached_property
    def _gaussians(self) -> Gaussians:
        short = self._train[len(self._train) // 20 : max(1, len(self._train) // 2)]
        chosen = short[:: max(1, len(short) // self.config.start_utterances)]
        with torch.autocast(self.model.prior_C.device.type, enabled=False):
            return fit_gaussians(
                chosen, self._features, len(self.model.classes), self.config.start_rounds
            )

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Held-out log-likelihood a frame over all paths, which is also the "score"."""
        if not self._held:
            return {"score": 0.0}
        batch = _collate(self._held, [self._features(item.clip).float() for item in self._held])
        batch = to_device(batch, self.model.prior_C.device)
        scores_BFC = self.model.scores(self.model(batch.mel_BHM, batch.frames_B))
        likelihood_B = forward_backward(scores_BFC, batch.graphs, batch.frames_B).log_likelihood_B
        score = float(likelihood_B.sum() / batch.frames_B.sum())
        return {"held_out/log_likelihood": score, "score": score}

    def export(self, folder: Path, model: nn.Module) -> None:
        """Write the aligner so that `load_aligner` can read it."""
        save_aligner(folder, model)


def _collate(chosen: Sequence[Utterance], mels: Sequence[Tensor]) -> AlignBatch:
    mel_BHM, frames_B = pad_features(mels)
    return AlignBatch(mel_BHM, frames_B, batch_graphs([item.graph for item in chosen]))
