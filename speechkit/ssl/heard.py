"""Which clips an encoder was pre-trained on: what a probe should not be asked about.

`heard.json` beside the weights holds short hashes of clip ids. Synthetic clips count as their
parents, whose words they say.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from speechkit.core.errors import CheckpointError
from speechkit.core.files import write_text

HEARD_FILE = "heard.json"
HEARD_FORMAT = "speechkit-heard-1"
_DIGITS = 12


def clip_key(clip_id: str) -> str:
    """A short hash of a clip's name, or of its parent's."""
    parent = clip_id.partition("~level")[0]
    return hashlib.sha256(parent.encode()).hexdigest()[:_DIGITS]


def write_heard(folder: str | Path, clip_ids: Iterable[str]) -> None:
    """Write down what was heard, beside the weights."""
    content = {"format": HEARD_FORMAT, "clips": sorted({clip_key(name) for name in clip_ids})}
    write_text(Path(folder) / HEARD_FILE, json.dumps(content) + "\n")


def read_heard(folder: str | Path) -> frozenset[str] | None:
    """Keys of the clips; None where nobody wrote them down, as for imported encoders.

    Raises CheckpointError for a damaged file.
    """
    path = Path(folder) / HEARD_FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != HEARD_FORMAT:
            raise ValueError(f"format {content['format']!r}")
        return frozenset(map(str, content["clips"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}): delete it, or train again.") from error
