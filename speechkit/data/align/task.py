"""What the training loop needs to know about the aligner: batches, losses, figures.

The network learns, by frame cross-entropy, the alignments of Gaussians that were fitted
with the full sum over the same graphs (`start`), and ends up closer to the truth than its
teacher. Its own full-sum loss, with the class prior divided out (Raissi et al. 2022), can
follow; it is off, because on held-out truth it made things worse: the network reads ± 9
frames, so its neighbouring frames count the same evidence several times, paths turn hard,
and boundaries drift (phones of one frame: truth 16 %, cross-entropy 15 %, full sum 25 %;
mean error 31, then 38 ms).

Shapes: B batch, H mel frames (100 Hz), M mel bands, F frames (50 Hz), C classes, N valid
frames of the batch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from speechkit.data.align.corpus import FeatureCache, Transcripts, Utterance
from speechkit.data.align.fullsum import full_sum
from speechkit.data.align.graph import GraphBatch, batch_graphs
from speechkit.data.align.model import Aligner, pad_features, save_aligner
from speechkit.data.align.start import Gaussians, fit_gaussians, gaussian_paths
from speechkit.train.prefetch import to_device


@dataclass(frozen=True, kw_only=True)
class AlignTaskConfig:
    """Batches and schedule of the aligner's training."""

    utterances: int = 24
    """Most utterances in a batch; they are neighbours in length."""

    batch_frames: int = 9600
    """Most frames (50 Hz, padding included) in a batch."""

    full_sum_from_step: int | None = None
    """Step from which the network's own full-sum loss replaces the cross-entropy; None: never."""

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


@dataclass(frozen=True)
class AlignBatch:
    """Features, lengths and graphs of one batch."""

    mel_BHM: Tensor
    frames_B: Tensor
    graphs: GraphBatch


class AlignTask:
    """The aligner as a task of `speechkit.train.loop`."""

    weights: Mapping[str, float] = {"frame": 1.0}

    def __init__(
        self,
        model: Aligner,
        transcripts: Transcripts,
        features: FeatureCache,
        config: AlignTaskConfig,
        figures: Callable[[Aligner], dict[str, float]] | None = None,
    ) -> None:
        """`figures` adds to the validation, e.g. boundary errors against known truth."""
        self.model = model
        self.config = config
        self._features = features
        self._figures = figures
        ordered = sorted(transcripts.utterances, key=lambda utterance: utterance.frames)
        held = min(config.held_out, len(ordered) // 10)
        stride = len(ordered) // held if held else len(ordered) + 1
        self._held = ordered[stride // 2 :: stride][:held]
        chosen = {utterance.clip for utterance in self._held}
        self._train = [utterance for utterance in ordered if utterance.clip not in chosen]

    def batch(self, rng: torch.Generator) -> AlignBatch:
        """A random utterance and its neighbours in length, augmented."""
        middle = int(torch.randint(len(self._train), (1,), generator=rng))
        longest = self._train[min(middle + self.config.utterances, len(self._train) - 1)].frames
        size = max(1, min(self.config.utterances, self.config.batch_frames // longest))
        first = max(0, min(middle - size // 2, len(self._train) - size))
        chosen = self._train[first : first + size]
        mels = [self._augment(self._features(item.clip).float(), rng) for item in chosen]
        return self._collate(chosen, mels)

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

    def _collate(self, chosen: Sequence[Utterance], mels: Sequence[Tensor]) -> AlignBatch:
        mel_BHM, frames_B = pad_features(mels)
        graphs = batch_graphs([utterance.graph for utterance in chosen])
        return AlignBatch(mel_BHM, frames_B, graphs)

    def losses(self, batch: AlignBatch, rng: torch.Generator, step: int) -> dict[str, Tensor]:
        """The loss a frame: cross-entropy, or the full sum where its turn has come."""
        log_posterior_BFC = self.model(batch.mel_BHM, batch.frames_B)
        position_F = torch.arange(log_posterior_BFC.shape[1], device=batch.frames_B.device)
        valid_BF = position_F[None] < batch.frames_B[:, None]
        if self.model.training:
            self.model.update_prior(log_posterior_BFC.detach()[valid_BF].exp())
        full_sum_from = self.config.full_sum_from_step
        if full_sum_from is None or step < full_sum_from:
            target_BF = gaussian_paths(
                self._gaussians, batch.mel_BHM.cpu(), batch.frames_B.cpu(), batch.graphs.to("cpu")
            ).to(log_posterior_BFC.device)
            loss = nn.functional.nll_loss(log_posterior_BFC[valid_BF], target_BF[valid_BF])
            return {"frame": loss}
        return {"frame": self._full_sum_loss(log_posterior_BFC, batch)}

    @functools.cached_property
    def _gaussians(self) -> Gaussians:
        short = self._train[len(self._train) // 20 : max(1, len(self._train) // 2)]
        chosen = short[:: max(1, len(short) // self.config.start_utterances)]
        with torch.autocast(self.model.prior_C.device.type, enabled=False):
            return fit_gaussians(
                chosen, self._features, len(self.model.classes), self.config.start_rounds
            )

    def _full_sum_loss(self, log_posterior_BFC: Tensor, batch: AlignBatch) -> Tensor:
        scores_BFC = self.model.scores(log_posterior_BFC)
        likelihood_B = full_sum(scores_BFC, batch.graphs, batch.frames_B)
        return -likelihood_B.sum() / batch.frames_B.sum()

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Held-out log-likelihood a frame, the figures asked for, and the "score"."""
        result: dict[str, float] = {}
        if self._held:
            mels = [self._features(item.clip).float() for item in self._held]
            batch = to_device(self._collate(self._held, mels), self.model.prior_C.device)
            loss = self._full_sum_loss(self.model(batch.mel_BHM, batch.frames_B), batch)
            result["held_out/log_likelihood"] = -float(loss)
        if self._figures is not None:
            result.update(self._figures(self.model))
        # The likelihood of unseen clips, never the truth, decides which model is best.
        result["score"] = result.get("held_out/log_likelihood", 0.0)
        return result

    def export(self, folder: Path, model: nn.Module) -> None:
        """Write the aligner so that `load_aligner` can read it."""
        save_aligner(folder, model)
