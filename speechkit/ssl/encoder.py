"""The encoder that all tasks share: wav2vec 2.0's front end and Transformer.

Parameters carry fairseq2's names, so its checkpoints fit key by key.

Shapes: B batch, T samples, F frames, D width, C channels of the last convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speechkit.core.errors import AudioError
from speechkit.core.rng import derive, seeded
from speechkit.ssl.config import SAMPLE_RATE_HZ, EncoderConfig
from speechkit.ssl.front import Front, valid_frames
from speechkit.ssl.transformer import Transformer


@dataclass(frozen=True, kw_only=True, eq=False)
class HiddenStates:
    """What each level of an encoder makes of a batch."""

    layers: tuple[Tensor, ...]
    """BFD each: the input of the first block, then the output of every block, the last one after
    the final LayerNorm if there is one."""
    frames_B: list[int]
    """Valid frames of each row."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """Output of the convolutions."""

    normed_BFC: Tensor
    """After LayerNorm: what the Transformer reads and what wav2vec 2.0 quantises."""
    raw_BFC: Tensor
    """Before it."""
    frames_B: list[int]
    """Valid frames of each row."""


class SslEncoder(nn.Module):
    """Waves to frames, of 20 ms as a rule."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder_frontend = Front(config)
        self.encoder = Transformer(config)
        # wav2vec 2.0 draws it uniformly; fine-tuning reuses it.
        self.mask_D = nn.Parameter(torch.rand(config.model_dim))

    @property
    def rate_hz(self) -> int:
        """Frames a second."""
        return SAMPLE_RATE_HZ // self.config.hop_samples

    def features(self, wave_BT: Tensor, lengths_B: Sequence[int] | None = None) -> Features:
        """Run the convolutions; ``lengths_B`` are the valid samples of padded rows.

        Raises AudioError for a row too short for one frame.
        """
        shortest = min(lengths_B) if lengths_B is not None else wave_BT.shape[1]
        if self.config.frames(shortest) < 1:
            raise AudioError(
                f"A wave of {shortest} samples is too short: the encoder needs at least "
                f"{self.config.field_samples} at 16 kHz."
            )
        lengths = [wave_BT.shape[1]] * len(wave_BT) if lengths_B is None else list(lengths_B)
        raw_BFC, frames_B = self.encoder_frontend.feature_extractor(wave_BT, lengths)
        normed_BFC = self.encoder_frontend.post_extract_layer_norm(raw_BFC)
        return Features(normed_BFC=normed_BFC, raw_BFC=raw_BFC, frames_B=frames_B)

    def project(
        self, features: Features, masked_BF: Tensor | None = None, channels_BD: Tensor | None = None
    ) -> Tensor:
        """Return the Transformer's input: projected, masked, with positions, normalised.

        ``masked_BF`` is True on frames that become the mask vector; ``channels_BD`` is True on
        channels that become zero over the whole row (fine-tuning only).
        """
        front = self.encoder_frontend
        x_BFD = front.first_pass_dropout(front.model_dim_proj(features.normed_BFC))
        if masked_BF is not None:
            x_BFD = torch.where(masked_BF[:, :, None], self.mask_D.to(x_BFD.dtype), x_BFD)
        if channels_BD is not None:
            x_BFD = x_BFD.masked_fill(channels_BD[:, None, :], 0.0)
        x_BFD = front.pos_encoder(x_BFD, valid_frames(features.frames_B, x_BFD))
        made_BFD: Tensor = front.dropout(front.layer_norm(x_BFD))
        return made_BFD

    def transform(self, x_BFD: Tensor, frames_B: Sequence[int]) -> Tensor:
        """Run the Transformer; returns BFD."""
        made_BFD: Tensor = self.encoder(x_BFD, valid_frames(frames_B, x_BFD))
        return made_BFD

    def hidden_states(
        self, wave_BT: Tensor, lengths_B: Sequence[int] | None = None
    ) -> HiddenStates:
        """Return every level, as transformers' `output_hidden_states` does.

        The last one has passed the LayerNorm behind the blocks where there is one (norm_order
        "pre"): it equals what `forward` returns. The encoder must be in evaluation mode; threads
        may share it.
        """
        features = self.features(wave_BT, lengths_B)
        x_BFD = self.project(features)
        states = [x_BFD]
        valid_BF = valid_frames(features.frames_B, x_BFD)
        for block in self.encoder.layers:
            x_BFD = block(x_BFD, valid_BF)
            states.append(x_BFD)
        states[-1] = self.encoder.layer_norm(x_BFD)
        return HiddenStates(layers=tuple(states), frames_B=features.frames_B)

    def forward(
        self,
        wave_BT: Tensor,
        lengths_B: Sequence[int] | None = None,
        masked_BF: Tensor | None = None,
        channels_BD: Tensor | None = None,
    ) -> tuple[Tensor, list[int]]:
        """Return states_BFD of the last level and the valid frames of each row."""
        features = self.features(wave_BT, lengths_B)
        x_BFD = self.project(features, masked_BF, channels_BD)
        return self.transform(x_BFD, features.frames_B), features.frames_B


def build_encoder(config: EncoderConfig, seed: int = 0) -> SslEncoder:
    """Return an encoder with random weights, the same for the same seed."""
    with seeded(derive(seed, "encoder")):
        return SslEncoder(config)
