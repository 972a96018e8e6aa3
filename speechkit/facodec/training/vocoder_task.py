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
from speechkit.core.mel import LogMel, MelConfig
from speechkit.core.rng import generator
from speechkit.facodec.small.base import Acoustics
from speechkit.facodec.small.codec import FACodec
from speechkit.facodec.small.features import pitch_hz
from speechkit.facodec.training.analysis import coded, window_of
from speechkit.facodec.training.losses import (
    MultiResolutionSTFTLoss,
    log_mel_loss,
    smooth_mel_loss,
)
from speechkit.facodec.training.segments import SegmentBatch, SegmentSampler
from speechkit.train.prefetch import to_device

EDGE_FRAMES = 2
"""Code frames at each end of a crop that no loss looks at: their mel saw the cut."""
SPECTRAL: Mapping[str, float] = {"stft/log": 1.0, "mel/l1": 1.0, "mel/smooth": 2.0}
"""Weights of `Spectral`."""


class Spectral(nn.Module):
    """Distances of a spoken wave to the recording, and to the log-mel that it was to say."""

    def __init__(self, mel: MelConfig) -> None:
        super().__init__()
        self.mel, self.stft = LogMel(mel), MultiResolutionSTFTLoss()

    def forward(self, wave_BT: Tensor, target_BT: Tensor, told_BMG: Tensor) -> dict[str, Tensor]:
        """The losses that `SPECTRAL` weighs, without the edges of the crop."""
        edge = 2 * EDGE_FRAMES
        hop = self.mel.config.hop_length
        with torch.autocast(wave_BT.device.type, enabled=False):
            inner = slice(edge * hop, -edge * hop)
            wave_BT, target_BT = wave_BT.float()[:, inner], target_BT.float()[:, inner]
            return {
                "stft/log": self.stft(wave_BT, target_BT),
                "mel/l1": log_mel_loss(self.mel, wave_BT, self.mel(target_BT)),
                "mel/smooth": smooth_mel_loss(self.mel, wave_BT, told_BMG[..., edge:-edge]),
            }


class VocoderTask:
    """Trains `codec.vocoder`; with `coded=True` on the frozen codec's own mel, F0 and voicing."""

    weights: Mapping[str, float] = SPECTRAL

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
        self.spectral = Spectral(codec.config.mel)

    def batch(self, rng: torch.Generator, number: int = 0) -> SegmentBatch:
        """Crops to re-speak."""
        return self.train.draw(self.batch_size, rng)

    def losses(self, batch: SegmentBatch, rng: torch.Generator, step: int) -> dict[str, Tensor]:
        """Spectral distances between the vocoder's wave and the recording."""
        device = batch.wave_BT.device
        self.codec.to(device), self.spectral.to(device)
        with torch.no_grad():
            if self.coded:
                heard = coded(self.codec, batch)
            else:
                heard = Acoustics(
                    mel_BMG=self.spectral.mel(batch.wave_BT),
                    f0_BG=pitch_hz(batch.contour_BG, batch.median_B),
                    voiced_BG=batch.voiced_BG,
                )
        first = window_of(heard.mel_BMG.shape[-1] // 2, self.window_frames, rng)
        span = slice(2 * first, 2 * (first + self.window_frames))
        told_BMG = heard.mel_BMG[..., span]
        wave_BT = self.codec.vocoder(told_BMG, heard.f0_BG[:, span], heard.voiced_BG[:, span], rng)
        target_BT = batch.wave_BT[:, 320 * first : 320 * (first + self.window_frames)]
        losses: dict[str, Tensor] = self.spectral(wave_BT, target_BT, told_BMG)
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
