"""Files written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from safetensors import SafetensorError

_REFUSED = re.compile(r"\(os error (\d+)\)")
"""How safetensors tells what the system refused."""

_READ_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def open_regular(path: str | Path) -> BinaryIO:
    """Open a file for reading, without waiting: opening a named pipe would hang until it is fed.

    Raises OSError, also for what is not a regular file, and ValueError for an impossible name.
    """
    descriptor = os.open(path, _READ_FLAGS)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return os.fdopen(descriptor, "rb")


def check_replaceable(path: str | Path) -> None:
    """Raise OSError, with the path, where a file is that must not be replaced.

    That is a read-only one, also for root, and one that is not regular, such as a device.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "there is something that is not a regular file", str(path))
    if not mode & 0o222 or not os.access(path, os.W_OK):
        raise OSError(errno.EACCES, "the file that is there is read-only", str(path))


def write_atomically(path: str | Path, write: Callable[[Path], object]) -> None:
    """Call ``write`` with a temporary name beside ``path``, then give that file its final name.

    A reader sees the old file or the complete new one, also after a crash. When ``write`` raises,
    the temporary file is gone and ``path`` is as before. A link stays one, and the file it leads to
    is replaced; the new file has the permissions of the old one. Raises what ``write`` raises, and
    OSError with the path, also for what safetensors could not write and as `check_replaceable`.
    """
    check_replaceable(path)
    told, path = path, Path(os.path.realpath(path))
    # Not built from the final name, which may be as long as the file system allows.
    temporary = path.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if path.exists():
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))
        os.replace(temporary, path)
    except OSError as error:
        if error.filename not in (None, str(temporary), temporary):
            raise
        raise OSError(error.errno, error.strerror or str(error), str(told)) from error
    except SafetensorError as error:
        if not (found := _REFUSED.search(str(error))):
            raise
        number = int(found[1])
        raise OSError(number, os.strerror(number), str(told)) from error
    finally:
        temporary.unlink(missing_ok=True)


def is_partial(path: Path) -> bool:
    """Whether a file is what a killed process left of one that `write_atomically` wrote."""
    return path.name.startswith(".") and path.suffix == ".partial"


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all; raises OSError."""
    write_atomically(path, lambda temporary: temporary.write_bytes(data))


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path``, whole or not at all; raises OSError."""
    write_bytes(path, text.encode("utf-8"))


def json_text(value: Any) -> str:
    """``value`` as indented JSON; raises TypeError or ValueError for what JSON cannot hold."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON to ``path``, whole or not at all.

    Raises OSError, and TypeError or ValueError, before anything is written, as `json_text` does.
    """
    write_text(path, json_text(value))
