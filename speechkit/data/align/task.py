"""What the training loop needs to know about the aligner: batches, losses, figures.

A flat start (frame cross-entropy on a linear alignment between the first and last loud
frame) breaks the symmetry between classes; after that the full-sum loss, with the class
prior divided out so that silence, the commonest class, does not swallow its neighbours
(as in hybrid full-sum training: Raissi et al. 2022; Zeyer et al. 2017).

Shapes: B batch, H mel frames (100 Hz), M mel bands, F frames (50 Hz), C classes, N valid
frames of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from speechkit.data.align.corpus import FeatureCache, Transcripts, Utterance
from speechkit.data.align.fullsum import full_sum
from speechkit.data.align.graph import GraphBatch, batch_graphs, linear_path
from speechkit.data.align.model import STACK, Aligner, pad_features, save_aligner
from speechkit.train.prefetch import to_device

_QUIET_SHARE = 0.3


@dataclass(frozen=True, kw_only=True)
class AlignTaskConfig:
    """Batches and schedule of the aligner's training."""

    utterances: int = 24
    """Most utterances in a batch; they are neighbours in length."""

    batch_frames: int = 9600
    """Most frames (50 Hz, padding included) in a batch."""

    flat_steps: int = 80
    """Steps of cross-entropy on the linear alignment before the full-sum loss."""

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
    linear_BF: Tensor
    """Classes of the flat start; −100 in padded frames."""


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
        linear = []
        for utterance, mel_HM in zip(chosen, mels, strict=True):
            start, stop = loud_span(mel_HM)
            linear.append(linear_path(utterance.graph, utterance.frames, start, stop))
        linear_BF = nn.utils.rnn.pad_sequence(linear, batch_first=True, padding_value=-100)
        graphs = batch_graphs([utterance.graph for utterance in chosen])
        return AlignBatch(mel_BHM, frames_B, graphs, linear_BF)

    def losses(self, batch: AlignBatch, rng: torch.Generator, step: int) -> dict[str, Tensor]:
        """The loss a frame: cross-entropy in the first `flat_steps`, then the full sum."""
        log_posterior_BFC = self.model(batch.mel_BHM, batch.frames_B)
        valid_BF = batch.linear_BF >= 0
        if self.model.training:
            self.model.update_prior(log_posterior_BFC.detach()[valid_BF].exp())
        if step < self.config.flat_steps:
            loss = nn.functional.cross_entropy(
                log_posterior_BFC.transpose(1, 2), batch.linear_BF, ignore_index=-100
            )
            return {"frame": loss}
        return {"frame": self._full_sum_loss(log_posterior_BFC, batch)}

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


def loud_span(mel_HM: Tensor) -> tuple[int, int]:
    """First and end 50 Hz frame of the part that is louder than the quietest by a third.

    Loudness is the mean over mel bands; the scale runs from its 5th to its 95th percentile.
    """
    loudness_F = mel_HM.mean(dim=1).reshape(-1, STACK).mean(dim=1)
    quiet, loud = torch.quantile(loudness_F, torch.tensor([0.05, 0.95])).tolist()
    above = (loudness_F > quiet + _QUIET_SHARE * (loud - quiet)).nonzero()[:, 0]
    if len(above) == 0:
        return 0, len(loudness_F)
    return int(above[0]), int(above[-1]) + 1
