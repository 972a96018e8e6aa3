"""The networks of the generator as exported graphs; sampler, stages and draws are those of torch.

Shapes: as in `denoiser`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from speechkit.core.checkpoint import Checkpoint
from speechkit.core.onnx import Graphs
from speechkit.diffusion.config import FRAME_STAGES, DenoiserConfig
from speechkit.diffusion.denoiser import Denoiser, DenoiserInputs
from speechkit.diffusion.generator import Generator, generator_config


def exported_generator(folder: Path, made: Checkpoint) -> Generator:
    """The generator of a folder of exported graphs, in as many threads as torch has now.

    Raises CheckpointError or ConfigError for a folder that is damaged, MissingPackageError without
    the extra `onnx`.
    """
    config, graphs = generator_config(made.config), Graphs(folder, made)
    codebooks = [config.codebooks_of(name) for name in config.stages]
    phone_stages, frame_stages = codebooks[: -len(FRAME_STAGES)], codebooks[-len(FRAME_STAGES) :]
    networks = (
        OnnxDenoiser(config.duration, graphs, "duration", phone_stages),
        OnnxDenoiser(config.frame, graphs, "frame", frame_stages),
    )
    return Generator(config, networks).eval()


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
            timbre["timbre_BD"] = (
                torch.zeros(size) if timbre_BD is None else timbre_BD[:, -size[1] :]
            )
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
