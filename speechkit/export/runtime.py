"""Runs exported models on onnxruntime behind the interfaces of the torch ones.

Sampler, stages and voices are those of torch; all draws are ours.

Shapes: as in `graphs`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from speechkit.core.checkpoint import Checkpoint, load_checkpoint, read_config
from speechkit.core.config import from_dict
from speechkit.core.errors import CheckpointError
from speechkit.core.extras import missing_package
from speechkit.core.results import Codes
from speechkit.diffusion.config import STAGES, DenoiserConfig
from speechkit.diffusion.denoiser import Denoiser, DenoiserInputs
from speechkit.diffusion.generator import Generator, generator_config
from speechkit.facodec.codec import FACTORS, check_factors
from speechkit.facodec.quantizer import QuantizerConfig
from speechkit.facodec.small.config import FACodecConfig
from speechkit.facodec.small.features import prepare
from speechkit.facodec.small.source import excitation, pulse_train
from speechkit.tts import ZeroShotTTS

if TYPE_CHECKING:
    import onnxruntime


class Graphs:
    """The sessions of a folder of exported graphs, by name."""

    def __init__(self, folder: Path, made: Checkpoint) -> None:
        """Raises CheckpointError for a file that is missing or not the one that was exported,
        MissingPackageError without onnxruntime."""
        try:
            import onnxruntime
        except ImportError as error:
            raise missing_package(error) or error from error
        about = made.config.get("onnx")
        files = about.get("files") if isinstance(about, dict) else None
        if not isinstance(files, dict):
            raise CheckpointError(
                f"{folder} holds no exported model: write one with speechkit export onnx."
            )
        self.sessions: dict[str, onnxruntime.InferenceSession] = {}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Threads that spin while they wait slow down everything beside them.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        for name, sha256 in files.items():
            data = _read(folder, str(name))
            if hashlib.sha256(data).hexdigest() != sha256:
                raise CheckpointError(f"{folder / name} is not the file that was exported.")
            self.sessions[Path(name).stem] = onnxruntime.InferenceSession(
                data, options, providers=["CPUExecutionProvider"]
            )

    def run(self, graph: str, **inputs: Tensor) -> list[Tensor]:
        """The outputs of a graph, on the CPU; raises CheckpointError where it is not there."""
        if graph not in self.sessions:
            raise CheckpointError(f"The exported model has no graph {graph}: export it again.")
        given = {name: tensor.cpu().numpy() for name, tensor in inputs.items()}
        return [torch.from_numpy(found) for found in self.sessions[graph].run(None, given)]


def _read(folder: Path, name: str) -> bytes:
    """A graph that lies in the folder itself."""
    path = folder / name
    if Path(name).name != name or path.is_symlink() or not path.is_file():
        raise CheckpointError(f"{folder} has no file {name}: export the model again.")
    return path.read_bytes()


class OnnxDenoiser(Denoiser):
    """A network of the generator; inference alone."""

    def __init__(
        self, config: DenoiserConfig, graphs: Graphs, name: str, stages: Sequence[range]
    ) -> None:
        """`stages` are the codebooks of each of its stages."""
        nn.Module.__init__(self)  # no layers: they are in the graphs
        self.config, self.graphs, self.name = config, graphs, name
        self.first = {k: codebooks.start for codebooks in stages for k in codebooks}

    def forward(self, inputs: DenoiserInputs) -> Tensor:
        """Hidden states of all frames `h_BLE`."""
        timbre = {}
        if self.config.timbre_channels:
            size = (len(inputs.stage_B), self.config.timbre_channels)
            timbre_BD = inputs.timbre_BD
            timbre["timbre_BD"] = torch.zeros(size) if timbre_BD is None else timbre_BD
        (hidden_BLE,) = self.graphs.run(
            self.name,
            phones_BL=inputs.phones_BL,
            position_BL2=inputs.position_BL2,
            codes_BKL=inputs.codes_BKL,
            stage_B=inputs.stage_B,
            time_B=inputs.time_B,
            prompt_BL=inputs.prompt_BL,
            keep_BL=inputs.keep_BL,
            **timbre,
        )
        return hidden_BLE.to(inputs.phones_BL.device)

    def logits(self, hidden_ME: Tensor, codes_KM: Tensor, codebook: int, first: int) -> Tensor:
        """`logits_MV`; see `Denoiser.logits`."""
        assert first == self.first[codebook]
        earlier = {"earlier_KM": codes_KM[first:codebook]} if codebook > first else {}
        graph = f"{self.name}-{codebook}"
        (logits_MV,) = self.graphs.run(graph, hidden_ME=hidden_ME, **earlier)
        return logits_MV.to(hidden_ME.device)


class OnnxCodec:
    """The small codec; see `Codec`."""

    def __init__(
        self, config: FACodecConfig, graphs: Graphs, vectors: Mapping[str, Tensor]
    ) -> None:
        """`vectors` are the entries of each codebook."""
        self.config, self.graphs, self.vectors = config, graphs, vectors

    @property
    def sample_rate_hz(self) -> int:
        """Samples a second."""
        return self.config.mel.sample_rate_hz

    @property
    def hop_samples(self) -> int:
        """Samples a code frame."""
        return self.config.hop_samples

    @property
    def quantizer(self) -> QuantizerConfig:
        """Its codebooks."""
        return self.config.quantizer

    @property
    def timbre_channels(self) -> int:
        """Width of the timbre vector."""
        return self.config.timbre_channels

    @property
    def phone_symbols(self) -> tuple[str, ...]:
        """What the classes of `phone_logits` stand for."""
        return self.config.phone_symbols

    def phone_logits(self, content_BKF: Tensor) -> Tensor:
        """Phone class logits `[B, F, V]` of content codes."""
        (logits_BFV,) = self.graphs.run("phones", content_BKF=content_BKF)
        return logits_BFV

    def code_vectors(self) -> list[Tensor]:
        """The entries `[V, C]` of each codebook: prosody, content, detail."""
        return [self.vectors[str(k)] for k in range(len(self.vectors))]

    def to(self, device: str | torch.device) -> OnnxCodec:
        """Itself: onnxruntime computes on the CPU."""
        return self

    def encode(self, wave_T: Tensor, f0_G: Tensor | None = None) -> tuple[Codes, Tensor]:
        """`(codes, timbre_D)` of a mono wave at `sample_rate_hz`."""
        prepared = prepare(wave_T, f0_G, self.config.level_rms, self.config.hop_samples)
        codes_BKF, timbre_BD = self.graphs.run(
            "encoder",
            wave_BT=prepared.wave_T[None],
            contour_BG=prepared.pitch.contour_G[None],
            voiced_BG=prepared.pitch.voiced_G[None],
            median_B=torch.tensor([prepared.pitch.median]),
        )
        sizes = self.quantizer
        counts = [sizes.prosody_codebooks, sizes.content_codebooks, sizes.detail_codebooks]
        prosody_KF, content_KF, detail_KF = torch.split(codes_BKF[0], counts)
        codes = Codes(prosody_KF=prosody_KF, content_KF=content_KF, detail_KF=detail_KF)
        return codes, timbre_BD[0]

    def decode(
        self,
        codes: Codes,
        timbre_D: Tensor,
        rng: torch.Generator,
        *,
        without: Collection[str] = (),
    ) -> Tensor:
        """`wave_T` of codes in a timbre, the factors in `without` left out; see `Codec.decode`."""
        check_factors(without)
        mel_BMG, f0_BG, voiced_BG = self.graphs.run(
            "acoustics",
            codes_BKF=codes.stacked()[None],
            timbre_BD=timbre_D.float()[None],
            share_3=torch.tensor([float(factor not in without) for factor in FACTORS]),
        )
        hop, rate_hz = self.config.mel.hop_length, self.sample_rate_hz
        source = excitation(f0_BG, voiced_BG, rng, hop, rate_hz)
        assert source.noise_BT is not None
        pulses_BT = pulse_train(source.phase_BT, f0_BG, hop, rate_hz) * source.gate_BT
        (wave_BT,) = self.graphs.run(
            "vocoder",
            mel_BMG=mel_BMG,
            f0_BG=f0_BG,
            voiced_BG=voiced_BG,
            pulses_BT=pulses_BT,
            noise_BT=source.noise_BT,
        )
        return wave_BT[0].clamp(-1, 1)


def is_onnx(folder: str | Path) -> bool:
    """Whether a model folder was written by `export_onnx`; errors as `read_config` has."""
    part = Path(folder) / "generator"
    return part.is_dir() and isinstance(read_config(part).get("onnx"), dict)


def load_onnx(
    folder: str | Path, *, lexicon: Mapping[str, Sequence[str]] | None = None
) -> ZeroShotTTS:
    """The model that `export_onnx` wrote into a folder, computed by onnxruntime on the CPU, in as
    many threads as torch has now.

    Raises CheckpointError or ConfigError for a folder that does not hold one, MissingPackageError
    without the extra `onnx`.
    """
    root = Path(folder)
    made = {part: load_checkpoint(root / part) for part in ("codec", "generator")}
    graphs = {part: Graphs(root / part, made[part]) for part in made}
    config = generator_config(made["generator"].config)
    durations, *frame_stages = [config.codebooks_of(name) for name in STAGES]
    networks = (
        OnnxDenoiser(config.duration, graphs["generator"], "duration", [durations]),
        OnnxDenoiser(config.frame, graphs["generator"], "frame", frame_stages),
    )
    codec = OnnxCodec(
        from_dict(FACodecConfig, _part(made["codec"], "codec")),
        graphs["codec"],
        made["codec"].state,
    )
    about = {part: _part(checkpoint, "onnx") for part, checkpoint in made.items()}
    names = [f"{part} {str(one.get('weights_sha256'))[:8]}" for part, one in about.items()]
    return ZeroShotTTS(
        codec,
        Generator(config, networks).eval(),
        lexicon=lexicon,
        weights=f"{', '.join(names)} in ONNX",
        trained=all(one.get("trained") is True for one in about.values()),
    )


def _part(made: Checkpoint, name: str) -> dict[str, Any]:
    """A part of config.json; raises CheckpointError where it is missing."""
    part = made.config.get(name)
    if not isinstance(part, dict):
        raise CheckpointError(f"This config.json has no part named {name}: export the model again.")
    return part
