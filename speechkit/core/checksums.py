"""Checksums of model folders, in the format that `sha256sum --check` reads.

The file lies beside the folders it speaks of: ``weights/SHA256SUMS`` names ``codec/config.json``.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from speechkit.core.errors import CheckpointError
from speechkit.core.files import write_text

SUMS_FILE = "SHA256SUMS"
SUMMED_FILES = ("config.json", "model.safetensors")
"""What decides how a model sounds; cards are prose and may be corrected."""

_HASH_DIGITS = 64


def sha256_of(path: Path) -> str:
    """Hash of a file, in hexadecimal; raises OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_sums(folder: Path) -> dict[str, str]:
    """Hashes by name relative to ``folder``, as its SHA256SUMS has them.

    Raises CheckpointError where the file is missing or a line is not a hash and a name.
    """
    path = folder / SUMS_FILE
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"Cannot read {path}: install speechkit again.") from error
    sums = {}
    for line in lines:
        digest, _, name = line.partition("  ")
        if len(digest) != _HASH_DIGITS or not name:
            raise CheckpointError(f"{path} has a line that is no checksum: install it again.")
        sums[name] = digest
    return sums


def record_sums(model_folder: Path) -> None:
    """Write the hashes of one model into the SHA256SUMS beside its folder; others stay.

    Raises CheckpointError as `read_sums` does, and OSError where a file cannot be read or written.
    """
    model_folder = model_folder.resolve()
    path = model_folder.parent / SUMS_FILE
    sums = read_sums(path.parent) if path.exists() else {}
    for name in SUMMED_FILES:
        sums[f"{model_folder.name}/{name}"] = sha256_of(model_folder / name)
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
    write_text(path, text)
