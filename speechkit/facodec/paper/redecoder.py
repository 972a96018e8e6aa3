"""A second decoder for voice conversion: the codec's codes in a timbre they were not spoken in.

Shapes: B batch, T samples, F frames, K codebooks, D channels.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from speechkit.core.checkpoint import build_and_load, load_checkpoint
from speechkit.core.config import from_dict
from speechkit.core.errors import CheckpointError
from speechkit.core.results import Codes
from speechkit.facodec.paper.config import RedecoderConfig
from speechkit.facodec.paper.convolution import Generator
from speechkit.facodec.paper.transformer import ConditionalLayerNorm, TransformerEncoder


class Redecoder(nn.Module):
    """Reads codes with embeddings of its own; prosody is re-read in the light of the timbre."""

    def __init__(self, config: RedecoderConfig) -> None:
        super().__init__()
        self.config = config
        quant, width = config.quantizer, config.channels

        def tables(count: int) -> nn.ModuleList:
            made = [nn.Embedding(quant.codebook_size, width) for _ in range(count)]
            for table in made:
                nn.init.normal_(table.weight, std=1e-5)
            return nn.ModuleList(made)

        self.prosody_tables = tables(quant.prosody_codebooks)
        self.content_tables = tables(quant.content_codebooks)
        self.detail_tables = tables(quant.detail_codebooks)
        self.generator = Generator(width, config.generator_channels, config.strides)
        self.timbre_norm = ConditionalLayerNorm(width, width)
        self.prosody_encoder = TransformerEncoder(
            width,
            config.transformer,
            batch_index_position=config.batch_index_position,
            conditional=True,
        )

    def forward(
        self,
        codes_BKF: Tensor,
        timbre_BD: Tensor,
        rng: torch.Generator | None = None,
        *,
        detail: bool = False,
    ) -> Tensor:
        """`wave_BT` of codes in a timbre; `rng` draws the dropout of training, None drops none."""
        z_BDF = self.embed(codes_BKF, timbre_BD, rng, detail=detail)
        conditioned_BFD = self.timbre_norm(z_BDF.transpose(1, 2), timbre_BD)
        wave_BT: Tensor = self.generator(conditioned_BFD.transpose(1, 2))
        return wave_BT

    def embed(
        self,
        codes_BKF: Tensor,
        timbre_BD: Tensor,
        rng: torch.Generator | None = None,
        *,
        detail: bool = False,
    ) -> Tensor:
        """`z_BDF` of codes, with prosody fitted to a timbre."""
        counts = list(self.config.quantizer.counts)
        prosody_BKF, content_BKF, detail_BKF = torch.split(codes_BKF, counts, dim=1)
        z_BFD: Tensor = self.prosody_encoder(
            _looked_up(self.prosody_tables, prosody_BKF), condition_BD=timbre_BD, rng=rng
        )
        z_BFD = z_BFD + _looked_up(self.content_tables, content_BKF)
        if detail:
            z_BFD = z_BFD + _looked_up(self.detail_tables, detail_BKF)
        return z_BFD.transpose(1, 2)

    @torch.no_grad()
    def decode(
        self, codes: Codes, timbre_D: Tensor, rng: torch.Generator, *, detail: bool = False
    ) -> Tensor:
        """`wave_T` of codes in a timbre; nothing is drawn from `rng`.

        The detail part carries some of the voice it was spoken in, so it is left out here unless
        asked for.
        """
        wave_BT: Tensor = self(codes.stacked()[None], timbre_D[None], detail=detail)
        return wave_BT[0]


def _looked_up(tables: nn.ModuleList, codes_BKF: Tensor) -> Tensor:
    """The sum of all codebooks' embeddings, `z_BFD`."""
    return torch.stack([table(codes_BKF[:, k]) for k, table in enumerate(tables)]).sum(0)


def build_redecoder(config: RedecoderConfig) -> Redecoder:
    """A redecoder with fresh weights."""
    return Redecoder(config)


def load_redecoder(folder: str | Path) -> Redecoder:
    """The redecoder of a folder with model.safetensors and config.json, ready for inference.

    Raises CheckpointError or ConfigError for a folder that does not hold one.
    """
    checkpoint = load_checkpoint(folder)
    part = checkpoint.config.get("paper_redecoder")
    if not isinstance(part, dict):
        raise CheckpointError(
            f"{folder} holds no redecoder: its config.json has no part named paper_redecoder."
        )
    config = from_dict(RedecoderConfig, part)
    return build_and_load(lambda: build_redecoder(config), checkpoint.state).eval()
