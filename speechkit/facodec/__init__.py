"""FACodec: speech as timbre, prosody, content and detail."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from speechkit.facodec.codec import Codec
    from speechkit.facodec.pretrained import Version


def from_pretrained(
    name_or_folder: str | Path | None = None,
    *,
    version: Version | None = None,
    cache_folder: str | Path | None = None,
    device: str | torch.device = "cpu",
) -> Codec:
    """A codec ready for inference: the small one or the paper's, whichever is found.

    `None` is the bundled one. A folder is one of ours (an ONNX export's `codec` too), or holds the
    public `.bin` files; a name
    such as `amphion/naturalspeech3_facodec` is downloaded where `huggingface_hub` is installed and
    the network lets it. `version` says which public files are wanted (V1 where both are there).
    Public files are converted once, into `cache_folder` (~/.cache/speechkit). `device` is `auto`,
    `cpu`, `cuda`, `mps`.

        codec = speechkit.facodec.from_pretrained()
        codes, timbre_D = codec.encode(read_audio("me.wav", codec.sample_rate_hz))

    Raises CheckpointError, with what to do instead, and ConfigError.
    """
    from speechkit.facodec.pretrained import load_pretrained

    return load_pretrained(
        name_or_folder, version=version, cache_folder=cache_folder, device=device
    ).codec
