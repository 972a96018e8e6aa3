"""Training task of the vocoder alone: real log-mel or the codec's, and pitch, to a wave.

Shapes: B batch, T samples, G mel frames, F code frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from speechkit.core.checkpoint import save_checkpoint
from speechkit.core.config import to_dict
from speechkit.core.mel import LogMel
from speechkit.core.rng import generator
from speechkit.facodec.small.base import Acoustics
from speechkit.facodec.small.codec import FACodec
from speechkit.facodec.small.features import pitch_hz
from speechkit.facodec.training.analysis import coded, window_of
from speechkit.facodec.training.losses import MultiResolutionSTFTLoss, log_mel_loss
from speechkit.facodec.training.segments import SegmentBatch, SegmentSampler
from speechkit.train.prefetch import to_device

EDGE_FRAMES = 2
"""Code frames at each end of a crop that no loss looks at: their mel saw the cut."""


class VocoderTask:
    """Trains `codec.vocoder`; with `coded=True` on the frozen codec's own mel, F0 and voicing."""

    weights: Mapping[str, float] = {"stft/log": 1.0, "stft/convergence": 0.5, "mel/l1": 1.0}

    def __init__(
        self,
        codec: FACodec,
        train: SegmentSampler,
        held_out: SegmentSampler,
        *,
        batch_size: int,
        window_frames: int,
        coded: bool,
    ) -> None:
        self.codec, self.train, self.held_out = codec, train, held_out
        self.batch_size, self.window_frames, self.coded = batch_size, window_frames, coded
        self.model: nn.Module = codec.vocoder
        self.mel = LogMel(codec.config.mel)
        self.stft = MultiResolutionSTFTLoss()

    def batch(self, rng: torch.Generator, number: int = 0) -> SegmentBatch:
        """Crops to re-speak."""
        return self.train.draw(self.batch_size, rng)

    def losses(self, batch: SegmentBatch, rng: torch.Generator, step: int) -> dict[str, Tensor]:
        """Spectral distances between the vocoder's wave and the recording."""
        device = batch.wave_BT.device
        self.codec.to(device), self.mel.to(device), self.stft.to(device)
        with torch.no_grad():
            if self.coded:
                heard = coded(self.codec, batch)
            else:
                heard = Acoustics(
                    mel_BMG=self.mel(batch.wave_BT),
                    f0_BG=pitch_hz(batch.contour_BG, batch.median_B),
                    voiced_BG=batch.voiced_BG,
                )
        first = window_of(heard.mel_BMG.shape[-1] // 2, self.window_frames, rng)
        span = slice(2 * first, 2 * (first + self.window_frames))
        wave = self.codec.vocoder(
            heard.mel_BMG[..., span], heard.f0_BG[:, span], heard.voiced_BG[:, span], rng
        )
        target = batch.wave_BT[:, 320 * first : 320 * (first + self.window_frames)]
        inner = slice(320 * EDGE_FRAMES, -320 * EDGE_FRAMES)
        with torch.autocast(device.type, enabled=False):
            wave, target = wave.float()[:, inner], target[:, inner]
            losses: dict[str, Tensor] = self.stft(wave, target)
            losses["mel/l1"] = log_mel_loss(self.mel, wave, self.mel(target))
        return losses

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The losses on fixed held-out segments; the score is minus their weighted sum."""
        device = next(self.model.parameters()).device
        draws, rng = generator(0), generator(0, device)
        totals: dict[str, float] = {}
        for _ in range(4):
            batch = to_device(self.held_out.draw(8, draws), device)
            for key, value in self.losses(batch, rng, 0).items():
                totals[key] = totals.get(key, 0.0) + float(value) / 4
        totals["score"] = -sum(self.weights[key] * totals[key] for key in self.weights)
        return totals

    def export(self, folder: Path, model: nn.Module) -> None:
        """The codec with this vocoder."""
        config = {"codec": to_dict(self.codec.config), "training": {"program": __name__}}
        save_checkpoint(folder, self.codec.state_dict(), config)
