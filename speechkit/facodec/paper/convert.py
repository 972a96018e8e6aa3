"""Public checkpoints into model folders."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from speechkit.core.checkpoint import save_checkpoint
from speechkit.core.config import to_dict
from speechkit.facodec.paper.amphion import codec_layout, redecoder_layout, to_ours
from speechkit.facodec.paper.config import PaperCodecConfig, RedecoderConfig
from speechkit.facodec.paper.public_config import check_public, codec_config, redecoder_config
from speechkit.facodec.paper.public_files import read_pickled_tensors

REDECODER_FOLDER = "redecoder"
"""Folder of the redecoder inside that of its codec."""


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What was written."""

    folder: Path
    """Folder of the codec."""

    config: PaperCodecConfig
    """What the codec is."""

    tensors: int
    """Tensors of the codec."""

    parameters: int
    """Numbers in them."""

    redecoder: RedecoderConfig | None
    """What the redecoder is, where one was given."""

    @property
    def redecoder_folder(self) -> Path:
        """Where a redecoder is written."""
        return self.folder / REDECODER_FOLDER

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {
            "out": str(self.folder),
            "redecoder": None if self.redecoder is None else str(self.redecoder_folder),
            "parameters": self.parameters,
            "tensors": self.tensors,
            "config": asdict(self.config),
        }

    def text(self) -> str:
        """A few lines for people."""
        config = self.config
        lines = [
            f"version     {config.version.upper()}",
            f"hop         {config.hop_samples} samples at {config.sample_rate_hz} Hz",
            f"codebooks   {config.quantizer.codebooks} of {config.quantizer.codebook_size} entries",
            f"parameters  {self.parameters} in {self.tensors} tensors",
            f"wrote       {self.folder}",
        ]
        if self.redecoder is not None:
            lines.append(f"wrote       {self.redecoder_folder}")
        return "\n".join(lines)


def convert_checkpoint(
    encoder: str | Path,
    decoder: str | Path,
    folder: str | Path,
    *,
    redecoder: str | Path | None = None,
) -> Converted:
    """Write public .bin files as a model folder that `speechkit.facodec.from_pretrained` reads.

    A redecoder goes into the folder's own folder `redecoder`. Everything is checked before
    anything is written. Raises CheckpointError for files that are damaged, not of this codec, or
    not of one version.
    """
    folder = Path(folder)
    encoder_state, decoder_state = read_pickled_tensors(encoder), read_pickled_tensors(decoder)
    config = codec_config(encoder_state, decoder_state)
    layout = codec_layout(config)
    check_public(layout, {"encoder": encoder_state, "decoder": decoder_state})
    state = to_ours(layout, {"encoder": encoder_state, "decoder": decoder_state})
    second = None if redecoder is None else _read_redecoder(redecoder)
    source = {"encoder": _named(encoder), "decoder": _named(decoder)}
    save_checkpoint(folder, state, {"paper_codec": to_dict(config), "converted_from": source})
    if second is not None and redecoder is not None:
        save_checkpoint(
            folder / REDECODER_FOLDER,
            second[1],
            {
                "paper_redecoder": to_dict(second[0]),
                "converted_from": {"redecoder": _named(redecoder)},
            },
        )
    return Converted(
        folder=folder,
        config=config,
        tensors=len(state),
        parameters=sum(tensor.numel() for tensor in state.values()),
        redecoder=None if second is None else second[0],
    )


def _read_redecoder(path: str | Path) -> tuple[RedecoderConfig, dict[str, Tensor]]:
    """A public redecoder's configuration and its weights under our names."""
    public = read_pickled_tensors(path)
    config = redecoder_config(public)
    layout = redecoder_layout(config)
    check_public(layout, {"redecoder": public})
    return config, to_ours(layout, {"redecoder": public})


def _named(path: str | Path) -> dict[str, str]:
    """A file's name and hash, so that the weights' origin can be checked later."""
    path = Path(path)
    with path.open("rb") as file:
        return {"name": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
