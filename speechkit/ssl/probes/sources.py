"""What probes read: the layers of an encoder, or plain features in their place, at 50 Hz.

Shapes: T samples, F frames, L layers, D channels, M mel bands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from speechkit.core.errors import ConfigError
from speechkit.core.mel import LogMel, MelConfig
from speechkit.core.rng import derive
from speechkit.ssl.checkpoints import load_encoder
from speechkit.ssl.encoder import SslEncoder, build_encoder
from speechkit.ssl.units.features import MFCC_CHANNELS, mfcc, whole_frames

HOP_SAMPLES = 320
"""One frame: 20 ms at 16 kHz, as in the phone alignment."""
CONTEXT_FRAMES = 2
"""Frames either side that the log-mel baseline sees."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """Something that turns a wave into frames."""

    name: str
    """How tables call it."""
    layers: int
    """L."""
    channels: int
    """D."""
    states: Callable[[Tensor], Tensor]
    """states_FLD float32 of wave_T at 16 kHz; frame i is centred near sample 320 i + 200."""

    def gigabytes(self, frames: int) -> float:
        """Return what so many frames take in half precision."""
        return 2e-9 * frames * self.layers * self.channels


def encoder_sources(
    folders: Sequence[str | Path],
    layers: Sequence[int] | None,
    seed: int,
    device: str | torch.device = "cpu",
) -> list[Source]:
    """Return the encoders, and one with random weights for each size among them.

    Raises CheckpointError for a folder without an encoder, and ConfigError for one whose frames
    are not of whole 20 ms or that lacks a layer.
    """
    encoders = [(str(folder), load_encoder(folder)) for folder in folders]
    sizes = list(dict.fromkeys(encoder.config for _, encoder in encoders))
    for number, config in enumerate(sizes, start=1):
        name = "random weights" if len(sizes) == 1 else f"random weights {number}"
        encoders.append((name, build_encoder(config, derive(seed, "probe", number)).eval()))
    return [encoder_source(name, encoder.to(device), layers) for name, encoder in encoders]


def encoder_source(name: str, encoder: SslEncoder, layers: Sequence[int] | None) -> Source:
    """Return some or all levels of an encoder as a source; raises ConfigError.

    What an encoder of 25 Hz says between two frames lies on the line between them.
    """
    config = encoder.config
    times, rest = divmod(config.hop_samples, HOP_SAMPLES)
    if rest or not times:
        raise ConfigError(
            f"{name} has a frame each {config.hop_samples} samples; phones are aligned to frames "
            f"of {HOP_SAMPLES}: probe an encoder whose strides multiply to that, or to a multiple."
        )
    chosen = range(config.layers + 1) if layers is None else layers
    if max(chosen) > config.layers:
        raise ConfigError(
            f"{name} has no layer {max(chosen)}: give some from 0 to {config.layers}."
        )

    def states(wave_T: Tensor) -> Tensor:
        with torch.inference_mode():
            found = encoder.hidden_states(wave_T[None].to(encoder.mask_D.device)).layers
            states_FLD = torch.stack([found[layer][0] for layer in chosen], dim=1).float().cpu()
            return oftener(states_FLD, times, whole_frames(len(wave_T), HOP_SAMPLES))

    return Source(
        name=name,
        layers=len(chosen),
        channels=config.model_dim,
        states=states,
    )


def oftener(states_FLD: Tensor, times: int, frames: int) -> Tensor:
    """Return so many frames, `times` as many a second, by linear interpolation.

    Frame `i` of the result stands at `i / times`; what is behind the last frame is like it.
    """
    if times == 1:
        return states_FLD
    place_F = (torch.arange(frames) / times).clamp(max=len(states_FLD) - 1)
    before_F = place_F.long()
    after_F = (before_F + 1).clamp(max=len(states_FLD) - 1)
    return torch.lerp(
        states_FLD[before_F], states_FLD[after_F], (place_F - before_F)[:, None, None]
    )


def plain_sources() -> list[Source]:
    """Return log-mel with its neighbours, and MFCCs with their slopes."""
    log_mel = LogMel(MelConfig(hop_length=HOP_SAMPLES))

    def mel_states(wave_T: Tensor) -> Tensor:
        frames = whole_frames(len(wave_T), HOP_SAMPLES)
        mel_FM = log_mel(wave_T[None])[0].T[:frames]
        places_F = torch.arange(frames)
        shifts = range(-CONTEXT_FRAMES, CONTEXT_FRAMES + 1)
        near = [mel_FM[(places_F + shift).clamp(0, frames - 1)] for shift in shifts]
        return torch.cat(near, dim=1)[:, None]

    def mfcc_states(wave_T: Tensor) -> Tensor:
        # At 100 Hz every second frame is centred on a frame of an encoder.
        return mfcc(wave_T)[::2, None]

    return [
        Source(name=name, layers=1, channels=channels, states=states)
        for name, channels, states in (
            ("log-mel", log_mel.config.n_mels * (2 * CONTEXT_FRAMES + 1), mel_states),
            ("MFCC", MFCC_CHANNELS, mfcc_states),
        )
    ]
