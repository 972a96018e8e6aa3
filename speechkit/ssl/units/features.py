"""What is clustered: MFCCs at 100 Hz, or the states of one layer of an encoder at 50 Hz.

Shapes: B batch, T samples, F frames, D channels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from speechkit.core.checkpoint import MODEL_FILE
from speechkit.core.errors import CheckpointError, ConfigError, DataError
from speechkit.ssl.units.mfcc import MFCC_RATE_HZ, SAMPLE_RATE_HZ, mfcc, whole_frames

ENCODER_RATE_HZ = 50


class LayerStates(Protocol):
    """What an encoder makes of waves."""

    @property
    def layers(self) -> Sequence[Tensor]:
        """`[B, F, D]` each: the input of the first block, then the output of every block."""


class Encoder(Protocol):
    """A pre-trained model."""

    def hidden_states(self, wave_BT: Tensor) -> LayerStates:
        """States of waves at 16 kHz."""


class Features:
    """MFCCs, or the states of a layer."""

    def __init__(self, encoder: Encoder | None, source: dict[str, Any]) -> None:
        """Hold what `mfcc_features` or `encoder_features` made."""
        self._encoder = encoder
        self.source = source
        self.rate_hz = MFCC_RATE_HZ if encoder is None else ENCODER_RATE_HZ

    def frames(self, samples: int) -> int:
        """Frames of a clip of so many samples; 0 = too short."""
        return whole_frames(samples, SAMPLE_RATE_HZ // self.rate_hz)

    def of(self, wave_T: Tensor) -> Tensor:
        """`features_FD` float32 of one clip at 16 kHz, F = `frames(T)`.

        Raises DataError where the encoder gives another number of frames.
        """
        if self._encoder is None:
            return mfcc(wave_T)
        layer: int = self.source["layer"]
        with torch.inference_mode():
            features_FD = self._encoder.hidden_states(wave_T[None]).layers[layer][0]
        if features_FD.shape[0] != self.frames(wave_T.shape[0]):
            raise DataError(
                f"The encoder gives {features_FD.shape[0]} frames for {wave_T.shape[0]} samples "
                f"instead of {self.frames(wave_T.shape[0])}: it is not one of 50 Hz."
            )
        return features_FD.float().cpu()


def mfcc_features() -> Features:
    """39 MFCCs."""
    return Features(None, {"kind": "mfcc"})


def encoder_features(folder: str | Path, layer: int) -> Features:
    """States of a layer of the encoder in a model folder: 0 is the input of the first block.

    Layer 6 of the first iteration is HuBERT's choice, layer 5 of wav2vec 2.0 DiffS4L's. Raises
    CheckpointError for a folder without weights and ConfigError for a layer it does not have.
    """
    weights = Path(folder) / MODEL_FILE
    if not weights.is_file():
        raise CheckpointError(f"There is no {weights}: give the folder of a pre-trained encoder.")
    # Late, because fairseq2 takes seconds to import and MFCCs do not need it.
    from speechkit.ssl.pretrained import load_encoder

    encoder: Encoder = load_encoder(folder)
    return features_of(encoder, layer, file_sha256(weights))


def features_of(encoder: Encoder, layer: int, sha256: str) -> Features:
    """States of a layer of an encoder in memory; raises ConfigError for a layer it lacks."""
    with torch.inference_mode():
        last = len(encoder.hidden_states(torch.zeros(1, SAMPLE_RATE_HZ)).layers) - 1
    if not 0 <= layer <= last:
        raise ConfigError(f"The encoder has no layer {layer}: give one from 0 to {last}.")
    return Features(encoder, {"kind": "encoder", "layer": layer, "encoder_sha256": sha256})


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
