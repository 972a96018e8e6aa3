"""What the small codec is, whether torch computes it or an exported graph does.

Shapes: B batch, T samples, G mel frames (100/s), D channels of the timbre vector, M mel bands.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from speechkit.core.results import Codes
from speechkit.facodec.base import ConfiguredCodec
from speechkit.facodec.small.config import FACodecConfig
from speechkit.facodec.small.source import Excitation, excitation
from speechkit.facodec.small.spectrum import CLASSES, QUIETER, equalise, sharpen, spectrum_channels


@dataclass(frozen=True, kw_only=True)
class Acoustics:
    """What the vocoder speaks from."""

    mel_BMG: Tensor
    """Log-mel at the codec's level."""

    f0_BG: Tensor
    """Pitch in Hz, positive also where unvoiced."""

    voiced_BG: Tensor
    """Voicing, 0 or 1."""

    lengths_B: Tensor | None = None
    """Mel frames of each item, the last of which goes on beyond its end; None where all fill the
    batch."""


def told(codes: Sequence[Codes]) -> Tensor:
    """`phone_BF` of items, −1 where they tell none and after their ends."""
    longest = max(item.frames for item in codes)
    phone_BF = torch.full((len(codes), longest), -1, dtype=torch.long, device="cpu")
    for row, item in enumerate(codes):
        if item.phone_F is not None:
            phone_BF[row, : item.frames] = item.phone_F.cpu()
    return phone_BF


class SmallCodec(ConfiguredCodec):
    """The small codec by its configuration; a subclass computes `acoustics`, `speak`, `encode`."""

    config: FACodecConfig

    @property
    def draws_noise(self) -> bool:
        """Whether its vocoder is driven by noise beside the pitch."""
        return self.config.vocoder.kind == "source_filter"

    @property
    def voice_channels(self) -> int:
        """Width of the timbre vector with the spectrum of the voice before it."""
        return self.voice_widths[-1]

    @property
    def voice_widths(self) -> tuple[int, ...]:
        """Widths without a spectrum, with offsets alone and with the whole spectrum."""
        bands, shapes = self.config.mel.n_mels, self.config.voice_shapes
        known = sorted({0, shapes}) if self.config.voice_spectrum else []
        extra = [spectrum_channels(bands, count) for count in known]
        return tuple(before + self.timbre_channels for before in (0, *extra))

    def equalised(self, mel_BMG: Tensor, voiced_BG: Tensor, timbre_BD: Tensor) -> Tensor:
        """Decoded log-mel with the spectrum of the voice, where its timbre vector carries one."""
        spectrum_BS = timbre_BD[:, : -self.timbre_channels]
        if not spectrum_BS.shape[1]:
            return mel_BMG
        return equalise(mel_BMG, voiced_BG, spectrum_BS)

    def quiet(self, timbre_D: Tensor) -> Tensor:
        """The voice with pauses lower by `QUIETER`, where it carries a spectrum."""
        if len(timbre_D) == self.timbre_channels:
            return timbre_D
        bands = self.config.mel.n_mels
        quiet_D, start = timbre_D.clone(), len(timbre_D) - self.timbre_channels - CLASSES * bands
        quiet_D[start : start + bands] -= QUIETER  # silence is the first class
        return quiet_D

    def finished(self, mel_BMG: Tensor, voiced_BG: Tensor, timbre_BD: Tensor) -> Tensor:
        """Decoded log-mel as the vocoder hears it: `equalised`, and as sharp as is configured."""
        mel_BMG = self.equalised(mel_BMG, voiced_BG, timbre_BD)
        if not self.config.sharpness:
            return mel_BMG
        return sharpen(mel_BMG, voiced_BG, self.config.sharpness)

    def encode(self, wave_T: Tensor, f0_G: Tensor | None = None) -> tuple[Codes, Tensor]:
        """`(codes, timbre_D)` of a mono wave at `sample_rate_hz`."""
        raise NotImplementedError

    def encode_batch(
        self, waves: Sequence[Tensor], f0s: Sequence[Tensor] | None = None, *, whole: bool = True
    ) -> list[tuple[Codes, Tensor]]:
        """`encode` of each wave."""
        known = [None] * len(waves) if f0s is None else f0s
        return [self.encode(wave_T, f0_G) for wave_T, f0_G in zip(waves, known, strict=True)]

    def acoustics(
        self, codes: Codes, timbre_D: Tensor, *, without: Collection[str] = ()
    ) -> Acoustics:
        """Log-mel, pitch and voicing of codes in a timbre: `decode` before the vocoder."""
        raise NotImplementedError

    def excite(self, f0_BG: Tensor, voiced_BG: Tensor, rng: torch.Generator) -> Excitation:
        """What drives the vocoder: the phase of the pitch and, where it draws any, noise."""
        mel = self.config.mel
        noise = rng if self.draws_noise else None
        return excitation(f0_BG, voiced_BG, noise, mel.hop_length, mel.sample_rate_hz)

    def speak(self, heard: Acoustics, driven: Excitation) -> Tensor:
        """The vocoder's `wave_BT`."""
        raise NotImplementedError

    def decode(
        self,
        codes: Codes,
        timbre_D: Tensor,
        rng: torch.Generator,
        *,
        without: Collection[str] = (),
    ) -> Tensor:
        """`wave_T` of codes in a timbre, the factors in `without` left out; see `Codec.decode`."""
        return self.decode_batch([codes], timbre_D[None], [rng], without=without)[0]

    def decode_batch(
        self,
        codes: Sequence[Codes],
        timbre_BD: Tensor,
        rngs: Sequence[torch.Generator],
        *,
        without: Collection[str] = (),
    ) -> list[Tensor]:
        """`decode` of each item, one after the other."""
        waves = []
        for item, timbre_D, rng in zip(codes, timbre_BD, rngs, strict=True):
            heard = self.acoustics(item, timbre_D, without=without)
            driven = self.excite(heard.f0_BG, heard.voiced_BG, rng)
            waves.append(self.speak(heard, driven)[0].clamp(-1, 1))
        return waves
