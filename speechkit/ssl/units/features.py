"""What is clustered: MFCCs at 100 Hz, or the states of one layer of an encoder at its own rate.

MFCCs are what HuBERT clusters first (Hsu et al. 2021, section IV-B).

Shapes: B batch, T samples, F frames, D channels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from speechkit.core.checkpoint import MODEL_FILE
from speechkit.core.errors import CheckpointError, ConfigError, DataError

SAMPLE_RATE_HZ = 16_000
WINDOW_SAMPLES = 400
"""25 ms: also what one frame of the convolutions of wav2vec 2.0 sees."""
MFCC_RATE_HZ = 100
MFCC_CHANNELS = 39
BATCH_SAMPLES = 120 * SAMPLE_RATE_HZ
"""Samples of a batch on a GPU, padding included."""


def whole_frames(samples: int, hop_samples: int) -> int:
    """Number of whole 25 ms windows: 0 for a clip that is shorter than one."""
    return 0 if samples < WINDOW_SAMPLES else 1 + (samples - WINDOW_SAMPLES) // hop_samples


def mfcc(wave_T: Tensor) -> Tensor:
    """`mfcc_FD` float32, D = 39: 13 Kaldi MFCCs (C0, not energy), slopes, and slopes of slopes.

    `wave_T` is 16 kHz in [-1, 1), not scaled to 16 bits, and no mean is taken out, as in fairseq's
    k-means recipe. Dither is 0: Kaldi adds noise so that digital silence has a logarithm, but the
    same clip would then get other units each time; here the mel energies have a floor instead.
    Raises DataError for less than one window.
    """
    from torchaudio.compliance import kaldi
    from torchaudio.functional import compute_deltas

    if wave_T.ndim != 1 or wave_T.shape[0] < WINDOW_SAMPLES:
        raise DataError(
            f"MFCCs need one row of at least {WINDOW_SAMPLES} samples, not {tuple(wave_T.shape)}."
        )
    static_FD: Tensor = kaldi.mfcc(
        wave_T[None].float(), sample_frequency=SAMPLE_RATE_HZ, use_energy=False, dither=0.0
    )
    static_DF = static_FD.T
    slope_DF = compute_deltas(static_DF)
    return torch.cat([static_DF, slope_DF, compute_deltas(slope_DF)]).T.contiguous()


class LayerStates(Protocol):
    """What an encoder makes of waves."""

    @property
    def layers(self) -> Sequence[Tensor]:
        """`[B, F, D]` each: the input of the first block, then the output of every block."""


class Encoder(Protocol):
    """A pre-trained model."""

    @property
    def rate_hz(self) -> int:
        """Frames a second."""

    def hidden_states(self, wave_BT: Tensor, lengths_B: Sequence[int] | None = None) -> LayerStates:
        """States of waves at 16 kHz; `lengths_B` are the samples of padded rows."""


class Features:
    """MFCCs, or the states of a layer."""

    def __init__(
        self,
        encoder: Encoder | None,
        source: dict[str, Any],
        *,
        device: torch.device | None = None,
        batched: bool = False,
    ) -> None:
        """Hold what `mfcc_features` or `encoder_features` made.

        `batched` is True for an encoder to which the padding of a batch makes no difference.
        """
        self._encoder = encoder
        self._device, self._batched = device or torch.device("cpu"), batched
        self.source = source
        self.rate_hz = MFCC_RATE_HZ if encoder is None else encoder.rate_hz

    def frames(self, samples: int) -> int:
        """Frames of a clip of so many samples; 0 = too short."""
        return whole_frames(samples, SAMPLE_RATE_HZ // self.rate_hz)

    def frames_of(self, samples_N: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Frames of many clips."""
        frames_N = 1 + (samples_N - WINDOW_SAMPLES) // (SAMPLE_RATE_HZ // self.rate_hz)
        return np.where(samples_N < WINDOW_SAMPLES, 0, frames_N)

    def of(self, wave_T: Tensor) -> Tensor:
        """`features_FD` float32 of one clip at 16 kHz, F = `frames(T)`.

        Raises DataError where the encoder gives another number of frames.
        """
        if self._encoder is None:
            return mfcc(wave_T)
        with torch.inference_mode():
            states = self._encoder.hidden_states(wave_T[None].to(self._device))
        return self._checked(states.layers[self.source["layer"]][0], wave_T)

    def of_many(self, waves: Sequence[Tensor]) -> list[Tensor]:
        """`of` each of some clips, in batches of like lengths where that is quicker: on a GPU."""
        if self._encoder is None or not self._batched or self._device.type == "cpu":
            return [self.of(wave_T) for wave_T in waves]
        order = sorted(range(len(waves)), key=lambda place: -len(waves[place]))
        found: dict[int, Tensor] = {}
        while order:
            size = max(1, BATCH_SAMPLES // max(1, len(waves[order[0]])))
            places, order = order[:size], order[size:]
            padded_BT = torch.nn.utils.rnn.pad_sequence(
                [waves[place] for place in places], batch_first=True
            )
            lengths_B = [len(waves[place]) for place in places]
            with torch.inference_mode():
                states = self._encoder.hidden_states(padded_BT.to(self._device), lengths_B)
            states_BFD = states.layers[self.source["layer"]].float().cpu()
            for row, place in enumerate(places):
                frames = self.frames(lengths_B[row])
                found[place] = self._checked(states_BFD[row, :frames], waves[place])
        return [found[place] for place in range(len(waves))]

    def _checked(self, features_FD: Tensor, wave_T: Tensor) -> Tensor:
        """The features of a wave on the CPU; raises DataError for another number of frames."""
        if features_FD.shape[0] != self.frames(wave_T.shape[0]):
            raise DataError(
                f"The encoder gives {features_FD.shape[0]} frames for {wave_T.shape[0]} samples "
                f"instead of {self.frames(wave_T.shape[0])}: its frames are not 25 ms windows."
            )
        return features_FD.float().cpu()


def mfcc_features() -> Features:
    """39 MFCCs."""
    return Features(None, {"kind": "mfcc"})


def encoder_features(
    folder: str | Path, layer: int, device: str | torch.device = "cpu"
) -> Features:
    """States of a layer of the encoder in a model folder: 0 is the input of the first block.

    Layer 6 of the first iteration is HuBERT's choice, layer 5 of wav2vec 2.0 DiffS4L's. Raises
    CheckpointError for a folder without weights and ConfigError for a layer it does not have.
    """
    weights = Path(folder) / MODEL_FILE
    if not weights.is_file():
        raise CheckpointError(f"There is no {weights}: give the folder of a pre-trained encoder.")
    # Late, because MFCCs need no encoder.
    from speechkit.ssl.checkpoints import load_encoder

    device = torch.device(device)
    encoder = load_encoder(folder).to(device)
    # GroupNorm runs over time: what is padded would be heard in every frame.
    batched = encoder.config.front == "log-mel" or encoder.config.conv_norm == "layer"
    return features_of(encoder, layer, file_sha256(weights), device, batched=batched)


def features_of(
    encoder: Encoder,
    layer: int,
    sha256: str,
    device: torch.device | None = None,
    *,
    batched: bool = False,
) -> Features:
    """States of a layer of an encoder in memory; raises ConfigError for a layer it lacks."""
    with torch.inference_mode():
        second_BT = torch.zeros(1, SAMPLE_RATE_HZ, device=device)
        last = len(encoder.hidden_states(second_BT).layers) - 1
    if not 0 <= layer <= last:
        raise ConfigError(f"The encoder has no layer {layer}: give one from 0 to {last}.")
    source = {"kind": "encoder", "layer": layer, "encoder_sha256": sha256}
    return Features(encoder, source, device=device, batched=batched)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
