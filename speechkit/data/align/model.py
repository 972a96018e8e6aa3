"""The aligner's network: a small ConvNeXt on log-mels that names a phone every 20 ms.

Frame i of its output covers samples 320·i to 320·i + 319. The context is kept short
(± 9 frames): a network that sees whole words may fire a phone early or late and still
explain the data.

Shapes: B batch, T samples, M mel bands, H mel frames (100 Hz), F frames (50 Hz),
C classes, D channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speechkit.core.checkpoint import build_and_load, load_checkpoint, save_checkpoint
from speechkit.core.config import from_dict, to_dict
from speechkit.core.errors import CheckpointError
from speechkit.core.mel import LogMel, MelConfig
from speechkit.core.timebase import SAMPLE_RATE_HZ, frame_count
from speechkit.data.align.graph import phone_classes
from speechkit.text import DEFAULT_VOCABULARY

STACK = 2
"""Mel frames in one of the aligner's."""
HOP_SAMPLES = 320
"""Samples in one of the aligner's frames."""
FRAME_SECONDS = HOP_SAMPLES / SAMPLE_RATE_HZ
"""Length of one of the aligner's frames."""


@dataclass(frozen=True, kw_only=True)
class AlignerConfig:
    """Size and input of the aligner."""

    symbols: tuple[str, ...] = DEFAULT_VOCABULARY.symbols
    """The phone vocabulary, padding first; decides the frame classes."""

    mel: MelConfig = field(default_factory=MelConfig)
    """Spectrogram settings; two of its frames make one of the aligner's."""

    channels: int = 192
    """Width of the network."""

    blocks: int = 4
    """ConvNeXt blocks (Liu et al. 2022), without their layer scale."""

    kernel: int = 5
    """Frames each block's depthwise convolution looks at; odd."""

    expansion: int = 3
    """Width inside a block, in multiples of `channels`."""

    dynamic_range: float = 9.0
    """Mel values this many nepers below the loudest of the utterance count as its floor."""

    prior_scale: float = 1.0
    """Share of the class prior's logarithm taken off the log posteriors, in training and use.

    Anything below 1 makes phones peaky (Zeyer et al. 2021, "Why does CTC result in peaky
    behavior?"): with 0.4 in training, a third of all phones shrank to one frame."""

    prior_momentum: float = 0.98
    """Memory of the running class prior, in batches."""


class _Block(nn.Module):
    def __init__(self, channels: int, kernel: int, expansion: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.widen = nn.Linear(channels, expansion * channels)
        self.narrow = nn.Linear(expansion * channels, channels)

    def forward(self, hidden_BFD: Tensor, keep_BF1: Tensor) -> Tensor:
        mixed_BFD = self.depthwise((hidden_BFD * keep_BF1).transpose(1, 2)).transpose(1, 2)
        wide = nn.functional.gelu(self.widen(self.norm(mixed_BFD)))
        result: Tensor = hidden_BFD + self.narrow(wide)
        return result


class Aligner(nn.Module):
    """Log posteriors of phone classes, 50 times a second."""

    prior_C: Tensor

    def __init__(self, config: AlignerConfig) -> None:
        super().__init__()
        self.config = config
        self.classes = phone_classes(config.symbols)
        self.enter = nn.Linear(STACK * config.mel.n_mels, config.channels)
        self.blocks = nn.ModuleList(
            _Block(config.channels, config.kernel, config.expansion) for _ in range(config.blocks)
        )
        self.norm = nn.LayerNorm(config.channels)
        self.leave = nn.Linear(config.channels, len(self.classes))
        self.register_buffer("prior_C", torch.full((len(self.classes),), 1 / len(self.classes)))

    def forward(self, mel_BHM: Tensor, frames_B: Tensor) -> Tensor:
        """Log posteriors `[B, F, C]`, float32, of padded features and their 50 Hz lengths."""
        batch, mel_frames, bands = mel_BHM.shape
        stacked = mel_BHM.reshape(batch, mel_frames // STACK, STACK * bands)
        position_F = torch.arange(stacked.shape[1], device=mel_BHM.device)
        keep_BF1 = (position_F[None] < frames_B[:, None])[..., None]
        hidden_BFD = self.enter(stacked)
        for block in self.blocks:
            hidden_BFD = block(hidden_BFD, keep_BF1)
        return torch.log_softmax(self.leave(self.norm(hidden_BFD)).float(), dim=-1)

    def scores(self, log_posterior_BFC: Tensor) -> Tensor:
        """Scores for the phone graph: log posteriors less the scaled log prior."""
        return log_posterior_BFC - self.config.prior_scale * torch.log(self.prior_C + 1e-5)

    @torch.no_grad()
    def update_prior(self, posterior_NC: Tensor) -> None:
        """Move the running class prior towards the mean of `posterior_NC`."""
        self.prior_C.lerp_(posterior_NC.mean(dim=0), 1 - self.config.prior_momentum)


def features(wave_T: Tensor, log_mel: LogMel, config: AlignerConfig) -> Tensor:
    """Log-mel `[2·F, M]` of one utterance, its mean over time removed, F = ceil(T / 320)."""
    frames = frame_count(wave_T.shape[0], HOP_SAMPLES)
    padded_T = nn.functional.pad(wave_T, (0, frames * HOP_SAMPLES - wave_T.shape[0]))
    mel_MH = log_mel(padded_T[None])[0]
    mel_MH = mel_MH.clamp_min(float(mel_MH.max()) - config.dynamic_range)
    centred_HM: Tensor = (mel_MH - mel_MH.mean(dim=1, keepdim=True)).T
    return centred_HM


def pad_features(mels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Features of several utterances as one batch `mel_BHM`, and `frames_B` at 50 Hz."""
    frames_B = torch.tensor([mel.shape[0] // STACK for mel in mels])
    padded_BHM = nn.utils.rnn.pad_sequence([mel.float() for mel in mels], batch_first=True)
    return padded_BHM, frames_B


def save_aligner(
    folder: str | Path, model: nn.Module, notes: Mapping[str, Any] | None = None
) -> None:
    """Write model.safetensors and config.json; `notes` are stored beside the settings."""
    assert isinstance(model, Aligner)
    config = {"kind": "aligner", "aligner": to_dict(model.config), "notes": dict(notes or {})}
    save_checkpoint(folder, model.state_dict(), config)


def load_aligner(folder: str | Path) -> Aligner:
    """The aligner stored in `folder`, ready for use; CheckpointError if it is another model."""
    checkpoint = load_checkpoint(folder)
    if checkpoint.config.get("kind") != "aligner":
        raise CheckpointError(f"{folder} holds no aligner; give the folder of a trained one.")
    config = from_dict(AlignerConfig, checkpoint.config.get("aligner", {}))
    return build_and_load(lambda: Aligner(config), checkpoint.state).eval()
