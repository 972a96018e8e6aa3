"""Codecs by name: a folder of ours, a folder with the public files, or a name on the model hub."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from speechkit.core.checkpoint import (
    CONFIG_FILE,
    MODEL_FILE,
    WEIGHTS,
    Checkpoint,
    load_checkpoint,
    read_config,
)
from speechkit.core.devices import pick_device
from speechkit.core.errors import CheckpointError
from speechkit.core.onnx import Origin, check_exported_place, is_export, origin_of
from speechkit.facodec.codec import Codec
from speechkit.facodec.small.codec import codec_of

Version = Literal["v1", "v2"]
"""Of the public weights."""

PUBLIC_FILES: Mapping[Version, tuple[str, str]] = {
    "v1": ("ns3_facodec_encoder.bin", "ns3_facodec_decoder.bin"),
    "v2": ("ns3_facodec_encoder_v2.bin", "ns3_facodec_decoder_v2.bin"),
}
"""Names of the public encoder and decoder."""

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A codec that was found, and which one it is."""

    codec: Codec
    """Ready for inference."""

    origin: Origin
    """Its weights."""

    @property
    def sha256(self) -> str:
        """Hash of its weights file, in hexadecimal."""
        return self.origin.sha256

    @property
    def trained(self) -> bool:
        """False for random weights."""
        return self.origin.trained

    @property
    def name(self) -> str:
        """What to call its weights."""
        return f"codec {self.sha256[:8]}{' in ONNX' if self.origin.exported else ''}"


def load_pretrained(
    name_or_folder: str | Path | None = None,
    *,
    version: Version | None = None,
    cache_folder: str | Path | None = None,
    device: str | torch.device = "cpu",
) -> Pretrained:
    """What `speechkit.facodec.from_pretrained` finds, with the hash of its weights, on a device."""
    place = pick_device(device)
    folder = _find(name_or_folder, version, cache_folder)
    # The small file first: which codec it is, before weights of any size are read.
    config = read_config(folder)
    small, paper = (isinstance(config.get(part), dict) for part in ("codec", "paper_codec"))
    if not small and not paper:
        raise CheckpointError(
            f"{folder} holds no codec: its config.json has no part named codec or paper_codec."
        )
    if is_export(config):
        check_exported_place(device, "auto")
        place = torch.device("cpu")
    checkpoint = load_checkpoint(folder)
    codec = _codec(folder, checkpoint)
    return Pretrained(codec=codec.to(place), origin=origin_of(checkpoint))


def _codec(folder: Path, checkpoint: Checkpoint) -> Codec:
    """The codec of a folder that was read, on the CPU."""
    if is_export(checkpoint.config):
        from speechkit.facodec.small.onnx import exported_codec

        return exported_codec(folder, checkpoint)
    if "codec" in checkpoint.config:
        return codec_of(checkpoint)
    from speechkit.facodec.paper.codec import paper_codec_of

    return paper_codec_of(checkpoint)


def _find(
    name_or_folder: str | Path | None, version: Version | None, cache_folder: str | Path | None
) -> Path:
    """A codec's folder: the one named, in it, or the one that public files were converted into."""
    if name_or_folder is None:
        return WEIGHTS / "codec"
    folder = Path(name_or_folder)
    if folder.is_dir():
        for place in (folder, folder / "codec"):
            if (place / CONFIG_FILE).is_file():
                return place
        encoder, decoder = _public_files(folder, version)
    elif isinstance(name_or_folder, str) and _HUB_NAME.fullmatch(name_or_folder):
        encoder, decoder = _download(name_or_folder, version or "v1")
    else:
        raise CheckpointError(
            f"{name_or_folder} is neither a folder nor a name on the model hub such as "
            "amphion/naturalspeech3_facodec."
        )
    cache = Path(cache_folder) if cache_folder else Path.home() / ".cache" / "speechkit"
    return _converted(encoder, decoder, cache)


def _public_files(folder: Path, version: Version | None) -> tuple[Path, Path]:
    """The public encoder and decoder in a folder."""
    for each in PUBLIC_FILES if version is None else (version,):
        encoder, decoder = (folder / name for name in PUBLIC_FILES[each])
        if encoder.is_file() and decoder.is_file():
            return encoder, decoder
    wanted = " and ".join(PUBLIC_FILES[version or "v1"])
    raise CheckpointError(f"{folder} holds neither {CONFIG_FILE} nor {wanted}: download them.")


def _download(name: str, version: Version) -> tuple[Path, Path]:
    """The public encoder and decoder from the model hub, through its own cache."""
    files = PUBLIC_FILES[version]
    by_hand = (
        f"Download {files[0]} and {files[1]} from {name} by hand, run `speechkit "
        f"convert-checkpoint {files[0]} {files[1]} -o FOLDER`, and give that FOLDER."
    )
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise CheckpointError(f"huggingface_hub is not installed. {by_hand}") from error
    try:
        encoder, decoder = (Path(hf_hub_download(name, file)) for file in files)
    except Exception as error:
        # The hub's client lets through whatever the network, the disk or the server raise.
        raise CheckpointError(
            f"{name} cannot be downloaded ({type(error).__name__}). {by_hand}"
        ) from error
    return encoder, decoder


def _converted(encoder: Path, decoder: Path, cache: Path) -> Path:
    """The folder that holds these files converted, made where it is not there yet."""
    from speechkit.facodec.paper.convert import convert_checkpoint
    from speechkit.facodec.paper.public_files import PICKLE_WARNING

    key = hashlib.sha256()
    for path in (encoder, decoder):
        with path.open("rb") as file:
            key.update(hashlib.file_digest(file, "sha256").digest())
    folder = cache / f"facodec-{key.hexdigest()[:16]}"
    if not all((folder / name).is_file() for name in (CONFIG_FILE, MODEL_FILE)):
        warnings.warn(f"{encoder.name} and {decoder.name}: {PICKLE_WARNING}", stacklevel=5)
        convert_checkpoint(encoder, decoder, folder)
    return folder
