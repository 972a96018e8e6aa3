"""Files written whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path


def write_atomically(path: str | Path, write: Callable[[Path], None]) -> None:
    """Call ``write`` with a temporary name beside ``path``, then give that file its final name.

    A reader sees the old file or the complete new one, also after a crash. When ``write`` raises,
    the temporary file is gone and ``path`` is as before. Raises what ``write`` raises, and OSError.
    """
    path = Path(path)
    # Not built from the final name, which may be as long as the file system allows.
    temporary = path.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
