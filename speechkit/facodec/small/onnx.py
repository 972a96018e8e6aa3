"""The small codec as exported graphs, on onnxruntime; all draws are ours.

Shapes: T samples, G mel frames (100/s), F code frames, K codebooks, V entries or phone classes,
D channels of the timbre vector, B batch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from speechkit.core.checkpoint import Checkpoint
from speechkit.core.errors import ConfigError
from speechkit.core.mel import LogMel
from speechkit.core.onnx import Graphs
from speechkit.core.results import Codes
from speechkit.facodec.codec import FACTORS, check_factors
from speechkit.facodec.small.base import Acoustics, SmallCodec, told
from speechkit.facodec.small.codec import codec_config
from speechkit.facodec.small.config import FACodecConfig
from speechkit.facodec.small.features import prepare
from speechkit.facodec.small.source import Excitation, pulse_train
from speechkit.facodec.small.spectrum import missed


class OnnxCodec(SmallCodec):
    """The small codec; items of a batch go one after the other, for the graphs know no lengths."""

    def __init__(
        self, config: FACodecConfig, graphs: Graphs, vectors: Mapping[str, Tensor]
    ) -> None:
        """`vectors` are the entries of each codebook."""
        self.config, self.graphs, self.vectors = config, graphs, vectors

    def phone_logits(self, content_BKF: Tensor) -> Tensor:
        """Phone class logits `[B, F, V]` of content codes."""
        (logits_BFV,) = self.graphs.run("phones", content_BKF=content_BKF)
        return logits_BFV

    def code_vectors(self) -> list[Tensor]:
        """The entries `[V, C]` of each codebook: prosody, content, detail."""
        return [self.vectors[str(k)] for k in range(len(self.vectors))]

    def to(self, device: str | torch.device) -> OnnxCodec:
        """Itself; raises ConfigError for anything but the CPU, where onnxruntime computes."""
        if torch.device(device).type != "cpu":
            raise ConfigError("An exported codec computes on the CPU: leave it there.")
        return self

    def encode(self, wave_T: Tensor, f0_G: Tensor | None = None) -> tuple[Codes, Tensor]:
        """`(codes, timbre_D)` of a mono wave at `sample_rate_hz`."""
        ready = prepare(wave_T, f0_G, self.config.level_rms, self.config.hop_samples)
        codes_BKF, timbre_BD = self.graphs.run(
            "encoder",
            wave_BT=ready.wave_T[None],
            contour_BG=ready.pitch.contour_G[None],
            voiced_BG=ready.pitch.voiced_G[None],
            median_B=torch.tensor([ready.pitch.median]),
        )
        codes = Codes.of(codes_BKF[0], self.quantizer.counts)
        if self.config.voice_spectrum:
            recorded_BMG = LogMel(self.config.mel)(ready.wave_T[None])
            made_BMG, _, _ = self._decoded(codes, timbre_BD[0])
            voiced_BG, shapes = ready.pitch.voiced_G[None], self.config.voice_shapes
            found = missed(recorded_BMG, made_BMG, voiced_BG, shapes=shapes)
            timbre_BD = torch.cat([found.spectrum(), timbre_BD], dim=-1)
        return codes, timbre_BD[0]

    def acoustics(
        self, codes: Codes, timbre_D: Tensor, *, without: Collection[str] = ()
    ) -> Acoustics:
        """Log-mel, pitch and voicing of codes in a timbre."""
        mel_BMG, f0_BG, voiced_BG = self._decoded(codes, timbre_D, without)
        mel_BMG = self.finished(mel_BMG, voiced_BG, timbre_D.float()[None])
        return Acoustics(mel_BMG=mel_BMG, f0_BG=f0_BG, voiced_BG=voiced_BG)

    def _decoded(
        self, codes: Codes, timbre_D: Tensor, without: Collection[str] = ()
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Log-mel without the spectrum of the voice, pitch and voicing."""
        check_factors(without)
        told_BF = told([replace(codes, phone_F=None)] if "content" in without else [codes])
        mel_BMG, f0_BG, voiced_BG = self.graphs.run(
            "acoustics",
            codes_BKF=codes.stacked()[None],
            timbre_BD=timbre_D.float()[None, -self.timbre_channels :],
            share_3=torch.tensor([float(factor not in without) for factor in FACTORS]),
            **({"phone_BF": told_BF} if self.config.told_phones else {}),
        )
        return mel_BMG, f0_BG, voiced_BG

    def speak(self, heard: Acoustics, driven: Excitation) -> Tensor:
        """The vocoder's `wave_BT`."""
        assert driven.noise_BT is not None
        mel = self.config.mel
        pulses_BT = pulse_train(driven.phase_BT, heard.f0_BG, mel.hop_length, mel.sample_rate_hz)
        (wave_BT,) = self.graphs.run(
            "vocoder",
            mel_BMG=heard.mel_BMG,
            f0_BG=heard.f0_BG,
            voiced_BG=heard.voiced_BG,
            pulses_BT=pulses_BT * driven.gate_BT,
            noise_BT=driven.noise_BT,
        )
        return wave_BT


def exported_codec(folder: Path, made: Checkpoint) -> OnnxCodec:
    """The codec of a folder of exported graphs, in as many threads as torch has now.

    Raises CheckpointError or ConfigError for a folder that is damaged, MissingPackageError without
    the extra `onnx`.
    """
    return OnnxCodec(codec_config(made.config), Graphs(folder, made), made.state)
