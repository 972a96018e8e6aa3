"""The networks as graphs of real numbers: plain tensors in and out, no draws, no complex numbers.

Fourier transforms are matrices here: the exporter knows none with a length of its own, and a matrix
takes in windows and filters. What is random (phase and noise of the excitation) comes from outside.

Shapes: B batch, L frames (prompt, separator, target), K codebooks, M frames asked about, E frame
channels, T samples, F code frames, G mel frames, J filter frames, N frequency bins, D timbre
channels, W samples of a window, V entries.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from speechkit.core.errors import ConfigError
from speechkit.diffusion.denoiser import Denoiser, DenoiserInputs
from speechkit.facodec.small.codec import Analysis, FACodec
from speechkit.facodec.small.features import TIMBRE_PITCH_SCALE, pitch_hz
from speechkit.facodec.small.vocoder import NOISE_LOG_MEL, SourceFilterVocoder


class Trunk(nn.Module):
    """`Denoiser.forward`; a timbre of zeros is none."""

    def __init__(self, network: Denoiser) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        phones_BL: Tensor,
        position_BL2: Tensor,
        codes_BKL: Tensor,
        stage_B: Tensor,
        time_B: Tensor,
        prompt_BL: Tensor,
        keep_BL: Tensor,
        timbre_BD: Tensor | None = None,
    ) -> Tensor:
        """Hidden states `h_BLE`."""
        hidden_BLE: Tensor = self.network(
            DenoiserInputs(
                phones_BL=phones_BL,
                position_BL2=position_BL2,
                codes_BKL=codes_BKL,
                stage_B=stage_B,
                time_B=time_B,
                prompt_BL=prompt_BL,
                keep_BL=keep_BL,
                timbre_BD=timbre_BD,
            )
        )
        return hidden_BLE


class Predictor(nn.Module):
    """`Denoiser.logits` of one codebook of the stage that begins with the codebook `first`."""

    def __init__(self, network: Denoiser, codebook: int, first: int) -> None:
        super().__init__()
        self.network, self.codebook, self.first = network, codebook, first

    def forward(self, hidden_ME: Tensor, earlier_KM: Tensor | None = None) -> Tensor:
        """`logits_MV`, given the codes of the codebooks of the stage before this one."""
        codes_KM = hidden_ME
        if earlier_KM is not None:
            # The network counts from the first codebook of all; those before are not looked at.
            codes_KM = nn.functional.pad(earlier_KM, (0, 0, self.first, 0))
        return self.network.logits(hidden_ME, codes_KM, self.codebook, self.first)


def fourier(samples: int, bins: int) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of `exp(-2πi·nw/samples)`: two matrices [bins, samples], double."""
    turns = torch.arange(bins)[:, None] * torch.arange(samples)[None] % samples
    angle = 2 * math.pi / samples * turns.double()
    return angle.cos(), -angle.sin()


class RealLogMel(nn.Module):
    """`LogMel`, its Fourier transform a convolution with the windowed waves."""

    basis_N1W: Tensor
    filters: Tensor

    def __init__(self, codec: FACodec) -> None:
        super().__init__()
        self.config = config = codec.mel.config
        real, imaginary = fourier(config.n_fft, config.n_fft // 2 + 1)
        # `stft` puts the window in the middle of the transform; outside it everything is 0.
        self.offset = (config.n_fft - config.win_length) // 2
        inside = slice(self.offset, self.offset + config.win_length)
        window_W = codec.mel.window.double()
        basis_NW = torch.cat([real[:, inside] * window_W, imaginary[:, inside] * window_W])
        self.register_buffer("basis_N1W", basis_NW[:, None].float())
        self.register_buffer("filters", codec.mel.filters.clone())

    def forward(self, wave_BT: Tensor) -> Tensor:
        """Log-mel `mel_BMG` of whole mel frames."""
        config = self.config
        left = config.n_fft // 2 - config.hop_length // 2 - self.offset
        right = config.win_length - config.hop_length - left
        padded = nn.functional.pad(wave_BT, (left, right))[:, None]
        spectrum = nn.functional.conv1d(padded, self.basis_N1W, stride=config.hop_length)
        real, imaginary = spectrum.chunk(2, dim=1)
        magnitude = torch.sqrt(real**2 + imaginary**2 + 1e-12)
        return torch.log((self.filters @ magnitude).clamp_min(config.floor))


class Encoder(nn.Module):
    """A wave at the codec's level and its pitch to codes and timbre: `FACodec.encode`."""

    def __init__(self, codec: FACodec) -> None:
        super().__init__()
        self.codec, self.mel = codec, RealLogMel(codec)

    def forward(
        self, wave_BT: Tensor, contour_BG: Tensor, voiced_BG: Tensor, median_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`(codes_BKF, timbre_BD)`, the codes of prosody, content and detail in this order."""
        analysis = Analysis(
            mel_BMG=self.mel(wave_BT),
            contour_BG=contour_BG,
            voiced_BG=voiced_BG,
            median_B=median_B,
        )
        parts = self.codec.quantize(analysis)
        codes = [part.codes_BKF for part in (parts.prosody, parts.content, parts.detail)]
        return torch.cat(codes, dim=1), self.codec.timbre(analysis)


class PhoneLogits(nn.Module):
    """`FACodec.phone_logits`."""

    def __init__(self, codec: FACodec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, content_BKF: Tensor) -> Tensor:
        """Logits `[B, F, phone classes]` of content codes."""
        return self.codec.phone_logits(content_BKF)


class AcousticDecoder(nn.Module):
    """Codes in a timbre to what the vocoder speaks from: `FACodec.acoustics`."""

    def __init__(self, codec: FACodec) -> None:
        super().__init__()
        self.codec = codec

    def forward(
        self,
        codes_BKF: Tensor,
        timbre_BD: Tensor,
        share_3: Tensor,
        phone_BF: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`(mel_BMG, f0_BG, voiced_BG)`; `share_3` is 1, or 0 where a factor is left out."""
        codec, sizes = self.codec, self.codec.quantizer
        content = sizes.prosody_codebooks
        detail = content + sizes.content_codebooks
        z_prosody = codec.prosody_codebooks.embed(codes_BKF[:, :content]) * share_3[0]
        z_BFD = z_prosody + codec.content_codebooks.embed(codes_BKF[:, content:detail]) * share_3[1]
        z_BFD = z_BFD + codec.detail_codebooks.embed(codes_BKF[:, detail:]) * share_3[2]
        mel_BMG = codec.decode_mel(z_BFD, timbre_BD, None, phone_BF)
        predicted = codec.predict_prosody(z_prosody)
        f0_BG = pitch_hz(predicted.contour_BG, timbre_BD[:, -1] * TIMBRE_PITCH_SCALE)
        return mel_BMG, f0_BG, (predicted.voiced_logit_BG > 0).to(f0_BG.dtype)


class Vocoder(nn.Module):
    """`SourceFilterVocoder.speak` with its filters as matrices."""

    phase_MN: Tensor
    bands_MN: Tensor
    analysis_N1W: Tensor
    synthesis_N1W: Tensor

    def __init__(self, codec: FACodec) -> None:
        super().__init__()
        vocoder = codec.vocoder
        if not isinstance(vocoder, SourceFilterVocoder):
            raise ConfigError(
                "The vocoder of this codec is an inverse STFT, which export cannot write: give a "
                "codec with a source-filter vocoder."
            )
        self.vocoder, n_fft = vocoder, vocoder.n_fft
        bins = n_fft // 2 + 1
        real, imaginary = fourier(n_fft, bins)
        # Weights of the bins in the inverse transform: those between the ends stand for two.
        twice_N1 = torch.full((bins, 1), 2.0, dtype=torch.double)
        twice_N1[0] = twice_N1[-1] = 1.0
        inverse_NW = twice_N1 / n_fft * real
        fold_W = torch.zeros(n_fft, dtype=torch.double)
        fold_W[1 : n_fft // 2] = 2.0
        # Log magnitude to minimum phase: to the cepstrum, folded, and back (Hilbert transform).
        hilbert_NN = (inverse_NW * fold_W) @ imaginary.T
        bands_MN = vocoder.bands_to_bins.T
        self.register_buffer("bands_MN", bands_MN.clone())
        self.register_buffer("phase_MN", (bands_MN.double() @ hilbert_NN).float())
        width, window_W = len(vocoder.window), vocoder.window.double()
        frame_NW = torch.cat([real[:, :width] * window_W, imaginary[:, :width] * window_W])
        self.register_buffer("analysis_N1W", frame_NW[:, None].float())
        back_NW = torch.cat([inverse_NW, twice_N1 / n_fft * imaginary])
        self.register_buffer("synthesis_N1W", back_NW[:, None].float())

    def forward(
        self,
        mel_BMG: Tensor,
        f0_BG: Tensor,
        voiced_BG: Tensor,
        pulses_BT: Tensor,
        noise_BT: Tensor,
    ) -> Tensor:
        """`wave_BT` of gated pulses and noise through the filters that the frames ask for."""
        vocoder, mels = self.vocoder, self.vocoder.mel.n_mels
        hidden = vocoder.net(vocoder.inputs(mel_BMG, f0_BG, voiced_BG))
        correction = vocoder.out(hidden).unflatten(-1, (2, 2, mels))
        base = nn.functional.interpolate(mel_BMG, scale_factor=2, mode="linear")
        base_BJM = base.transpose(1, 2) - NOISE_LOG_MEL
        voiced_BJ1 = torch.stack([voiced_BG, voiced_BG], dim=-1).flatten(1)[..., None]
        harmonic_BJM = base_BJM + correction[..., 0, :].flatten(1, 2)
        noise_BJM = base_BJM + correction[..., 1, :].flatten(1, 2) - 1.5 * voiced_BJ1
        # Filtered in one go: both are linear, and one synthesis serves their sum.
        spectrum = self._shape(pulses_BT, harmonic_BJM) + self._shape(noise_BT, noise_BJM)
        wave_B1T = nn.functional.conv_transpose1d(spectrum, self.synthesis_N1W, stride=vocoder.hop)
        half = vocoder.hop // 2
        return wave_B1T[:, 0, half : half + pulses_BT.shape[-1]]

    def _shape(self, source_BT: Tensor, log_gain_BJM: Tensor) -> Tensor:
        """The filtered spectrum of each frame, real parts, then imaginary ones, [B, 2 N, J]."""
        hop = self.vocoder.hop
        padded = nn.functional.pad(source_BT, (hop // 2, hop // 2 + hop))[:, None]
        frames_BNJ = nn.functional.conv1d(padded, self.analysis_N1W, stride=hop)
        # As many filter frames as there are; the padding may hold one frame more.
        real, imaginary = frames_BNJ[..., : log_gain_BJM.shape[1]].chunk(2, dim=1)
        gain = torch.exp(log_gain_BJM @ self.bands_MN).transpose(1, 2)
        phase = (log_gain_BJM @ self.phase_MN).transpose(1, 2)
        cos, sin = gain * phase.cos(), gain * phase.sin()
        return torch.cat([real * cos - imaginary * sin, real * sin + imaginary * cos], dim=1)
