"""Vocoders that turn log-mel frames and pitch into a wave: two candidates behind one interface.

Both take `mel_BMF` (100 frames/s), `f0_BF` in Hz (continuous, positive), `voiced_BF` (0 to 1)
and a `torch.Generator`, and return `wave_BT` with T = hop · F. `speak` takes phase and noise from
outside instead, for a part of a longer recording, or for items of unlike length: those have
`lengths_B` frames, after which the inputs repeat the last one and the excitation is silent.

Shapes: B batch, T samples, F mel frames, J filter frames, M mel bands, N frequency bins.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from speechkit.core.devices import in_float32
from speechkit.core.mel import MelConfig, mel_centres_hz
from speechkit.facodec.convnext import ConvNeXtStack
from speechkit.facodec.lengths import kept
from speechkit.facodec.small.config import VocoderConfig
from speechkit.facodec.small.source import Excitation, excitation, pulse_train

NOISE_LOG_MEL = -0.24
"""Log-mel of white noise of unit power under `MelConfig()`'s window and filters."""


def band_interpolation(mel: MelConfig, bins: int) -> Tensor:
    """Matrix [bins, n_mels] that reads a curve given at the band centres at `bins` frequencies."""
    centres = mel_centres_hz(mel)
    grid = np.linspace(0.0, mel.sample_rate_hz / 2, bins)
    eye = np.eye(mel.n_mels)
    rows = [np.interp(grid, centres, eye[band]) for band in range(mel.n_mels)]
    return torch.from_numpy(np.stack(rows, axis=1).astype(np.float32))


def minimum_phase(log_magnitude_BJN: Tensor, n_fft: int) -> Tensor:
    """Complex response with the given log magnitude and minimum phase (folded cepstrum)."""
    cepstrum = torch.fft.irfft(log_magnitude_BJN, n=n_fft)
    fold = torch.zeros(n_fft, device=cepstrum.device, dtype=cepstrum.dtype)
    fold[0] = fold[n_fft // 2] = 1.0
    fold[1 : n_fft // 2] = 2.0
    log_response = torch.fft.rfft(cepstrum * fold, n=n_fft)
    # The exponential of complex numbers takes six times as long on a CPU.
    size, angle = log_response.real.exp(), log_response.imag
    return torch.complex(size * angle.cos(), size * angle.sin())


def overlap_add(frames_BJW: Tensor, hop: int) -> Tensor:
    """Sum of frames laid `hop` samples apart, [B, hop · (J − 1) + W]."""
    batch, count, width = frames_BJW.shape
    total = hop * (count - 1) + width
    return nn.functional.fold(
        frames_BJW.transpose(1, 2), (1, total), (1, width), stride=(1, hop)
    ).reshape(batch, total)


class VocoderInputs(nn.Module):
    """What both vocoders read: scaled log-mel, log pitch and voicing, [B, F, M + 2]."""

    def forward(self, mel_BMF: Tensor, f0_BF: Tensor, voiced_BF: Tensor) -> Tensor:
        """Feature frames of the vocoder networks."""
        pitch = torch.log(f0_BF / 150.0) * voiced_BF
        return torch.cat(
            [(mel_BMF.transpose(1, 2) + 5.0) / 3.0, pitch[..., None], voiced_BF[..., None]], dim=-1
        )


class SourceFilterVocoder(nn.Module):
    """Harmonic pulses and noise, each through a time-varying minimum-phase filter.

    The filters start as the mel envelope itself and a network corrects them, so the vocoder speaks
    from the first step on (Wang et al. 2019 "Neural source-filter"; Engel et al. 2020 "DDSP").
    """

    bands_to_bins: Tensor
    window: Tensor

    def __init__(self, config: VocoderConfig, mel: MelConfig) -> None:
        super().__init__()
        self.mel = mel
        self.n_fft = config.n_fft
        self.hop = mel.hop_length // 2
        self.inputs = VocoderInputs()
        self.net = ConvNeXtStack(mel.n_mels + 2, config.channels, config.blocks)
        self.out = nn.Linear(config.channels, 4 * mel.n_mels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        bins = config.n_fft // 2 + 1
        self.register_buffer("bands_to_bins", band_interpolation(mel, bins), persistent=False)
        self.register_buffer(
            "window", torch.hann_window(2 * self.hop, device="cpu"), persistent=False
        )

    def forward(
        self, mel_BMF: Tensor, f0_BF: Tensor, voiced_BF: Tensor, rng: torch.Generator
    ) -> Tensor:
        """The wave of the given frames."""
        hop, rate_hz = self.mel.hop_length, self.mel.sample_rate_hz
        source = excitation(f0_BF, voiced_BF, rng, hop, rate_hz)
        return self.speak(mel_BMF, f0_BF, voiced_BF, source)

    def speak(
        self,
        mel_BMF: Tensor,
        f0_BF: Tensor,
        voiced_BF: Tensor,
        source: Excitation,
        lengths_B: Tensor | None = None,
    ) -> Tensor:
        """The wave of the given frames, driven by `source`."""
        assert source.noise_BT is not None
        keep_BF1 = None if lengths_B is None else kept(lengths_B, mel_BMF.shape[-1])[..., None]
        hidden = self.net(self.inputs(mel_BMF, f0_BF, voiced_BF), None, keep_BF1)
        correction = self.out(hidden).float().unflatten(-1, (2, 2, self.mel.n_mels))
        base = nn.functional.interpolate(mel_BMF.float(), scale_factor=2, mode="linear")
        base_BJM = base.transpose(1, 2) - NOISE_LOG_MEL
        # Two filter frames a mel frame, each with a harmonic and a noise curve.
        harmonic_BJM = base_BJM + correction[..., 0, :].flatten(1, 2)
        voiced_BJ1 = voiced_BF.repeat_interleave(2, dim=1)[..., None]
        noise_BJM = base_BJM + correction[..., 1, :].flatten(1, 2) - 1.5 * voiced_BJ1
        hop, rate_hz = self.mel.hop_length, self.mel.sample_rate_hz
        pulses = pulse_train(source.phase_BT, f0_BF.float(), hop, rate_hz)
        keep_BJ1 = None if keep_BF1 is None else keep_BF1.repeat_interleave(2, dim=1)
        voice = self._filter(pulses * source.gate_BT, harmonic_BJM, keep_BJ1)
        return voice + self._filter(source.noise_BT, noise_BJM, keep_BJ1)

    def _filter(self, source_BT: Tensor, log_gain_BJM: Tensor, keep_BJ1: Tensor | None) -> Tensor:
        # Half precision would round the filters by tenths of a decibel, and GPUs refuse its FFT.
        with in_float32(log_gain_BJM):
            log_gain_BJN = log_gain_BJM.float() @ self.bands_to_bins.T
        response = minimum_phase(log_gain_BJN, self.n_fft)
        half = self.hop // 2
        padded = nn.functional.pad(source_BT, (half, half + self.hop))
        frames = padded.unfold(-1, 2 * self.hop, self.hop)[:, : log_gain_BJM.shape[1]]
        if keep_BJ1 is not None:
            # The frame after an item's last would hear the end of it.
            frames = frames * keep_BJ1
        spectrum = torch.fft.rfft(frames * self.window, n=self.n_fft)
        shaped = torch.fft.irfft(spectrum * response, n=self.n_fft)
        return overlap_add(shaped, self.hop)[:, half : half + source_BT.shape[-1]]


class InverseSTFTVocoder(nn.Module):
    """Magnitude and phase of an inverse STFT (Siuzdak 2023, "Vocos").

    Given the phase of the first harmonics at each frame centre, which Vocos has to guess
    (Li et al. 2023, "HiFTNet").
    """

    bands_to_bins: Tensor
    window: Tensor
    HARMONICS = 8

    def __init__(self, config: VocoderConfig, mel: MelConfig) -> None:
        super().__init__()
        self.mel = mel
        self.n_fft = 4 * mel.hop_length
        self.inputs = VocoderInputs()
        self.net = ConvNeXtStack(
            mel.n_mels + 2 + 2 * self.HARMONICS, config.channels, config.blocks
        )
        bins = self.n_fft // 2 + 1
        self.out = nn.Linear(config.channels, 3 * bins)
        nn.init.normal_(self.out.weight, std=0.02)
        nn.init.zeros_(self.out.bias)
        self.register_buffer("bands_to_bins", band_interpolation(mel, bins), persistent=False)
        self.register_buffer(
            "window", torch.hann_window(self.n_fft, device="cpu"), persistent=False
        )

    def forward(
        self, mel_BMF: Tensor, f0_BF: Tensor, voiced_BF: Tensor, rng: torch.Generator
    ) -> Tensor:
        """The wave of the given frames; `rng` is not used, this vocoder has no noise."""
        hop, rate_hz = self.mel.hop_length, self.mel.sample_rate_hz
        source = excitation(f0_BF, voiced_BF, None, hop, rate_hz)
        return self.speak(mel_BMF, f0_BF, voiced_BF, source)

    def speak(
        self,
        mel_BMF: Tensor,
        f0_BF: Tensor,
        voiced_BF: Tensor,
        source: Excitation,
        lengths_B: Tensor | None = None,
    ) -> Tensor:
        """The wave of the given frames at the phase of `source`."""
        hop = self.mel.hop_length
        phase = source.phase_BT[:, hop // 2 :: hop]
        multiples = phase[..., None] * torch.arange(1, self.HARMONICS + 1, device=phase.device)
        cues = torch.cat([multiples.cos(), multiples.sin()], dim=-1) * voiced_BF[..., None]
        features = torch.cat([self.inputs(mel_BMF, f0_BF, voiced_BF), cues], dim=-1)
        keep_BF1 = None if lengths_B is None else kept(lengths_B, mel_BMF.shape[-1])[..., None]
        hidden = self.net(features, None, keep_BF1)
        log_gain, real, imaginary = self.out(hidden).float().chunk(3, dim=-1)
        envelope = (mel_BMF.float().transpose(1, 2) - NOISE_LOG_MEL) @ self.bands_to_bins.T
        scale = math.sqrt(self.n_fft * 3 / 8)
        magnitude = torch.exp((envelope + log_gain).clamp(max=6.0)) * scale
        norm = torch.sqrt(real**2 + imaginary**2 + 1e-8)
        spectrum = torch.complex(magnitude * real / norm, magnitude * imaginary / norm)
        frames = torch.fft.irfft(spectrum, n=self.n_fft) * self.window
        weights = (self.window**2).expand(1, frames.shape[1], -1)
        if keep_BF1 is not None:
            frames, weights = frames * keep_BF1, weights * keep_BF1
        left = (self.n_fft - hop) // 2
        total = hop * mel_BMF.shape[-1]
        energy = overlap_add(weights, hop)
        wave = overlap_add(frames, hop) / energy.clamp_min(1e-3)
        return wave[:, left : left + total]


Vocoder = SourceFilterVocoder | InverseSTFTVocoder


def build_vocoder(config: VocoderConfig, mel: MelConfig) -> Vocoder:
    """The vocoder that `config.kind` names."""
    if config.kind == "source_filter":
        return SourceFilterVocoder(config, mel)
    return InverseSTFTVocoder(config, mel)
