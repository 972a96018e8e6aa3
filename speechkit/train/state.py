"""Saved training states: folders that appear whole, the newest of which can be read."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from speechkit.core.config import from_dict
from speechkit.core.errors import ConfigError

TENSORS_FILE = "tensors.safetensors"
STATE_FILE = "state.json"
FORMAT_VERSION = 1

_logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Counters:
    """Where a run stands, apart from its tensors."""

    step: int = 0
    """Steps done."""
    elapsed_seconds: float = 0.0
    """Time taken, over all resumed parts."""
    skipped_steps: int = 0
    """Steps without an update because something was not finite."""
    skipped_in_a_row: int = 0
    """The same, since the last good step."""
    best_score: float | None = None
    """Highest validation score so far."""


def save_state(
    root: Path,
    tensors: Mapping[str, Tensor],
    counters: Counters,
    identity: Mapping[str, Any],
    keep: int,
) -> Path:
    """Write a new state below ``root``, remove all but the ``keep`` newest ones, return its folder.

    The folder gets its final name last, when everything in it is on the disk; whatever happens
    before that, the states already there stay as they are. Raises OSError.
    """
    root.mkdir(parents=True, exist_ok=True)
    for leftover in root.glob(".*.partial"):
        shutil.rmtree(leftover)
    states = _folders(root)
    # A number that only rises: going back to an older state must not make newer ones look older.
    serial = _serial(states[-1]) + 1 if states else 1
    temporary = root / f".{uuid.uuid4().hex}.partial"
    temporary.mkdir()
    # Copies, because safetensors refuses tensors that share memory (tied weights).
    on_cpu = {name: t.detach().to("cpu", copy=True).contiguous() for name, t in tensors.items()}
    safetensors.torch.save_file(on_cpu, str(temporary / TENSORS_FILE))
    text = json.dumps(
        {
            "format": FORMAT_VERSION,
            "tensors_bytes": (temporary / TENSORS_FILE).stat().st_size,
            "counters": dataclasses.asdict(counters),
            "identity": dict(identity),
        },
        indent=2,
    )
    (temporary / STATE_FILE).write_text(text + "\n", encoding="utf-8")
    for path in (temporary / TENSORS_FILE, temporary / STATE_FILE, temporary):
        _sync(path)
    final = root / f"{serial:06d}-step{counters.step}"
    os.rename(temporary, final)
    _sync(root)
    for old in states[: len(states) + 1 - keep]:
        shutil.rmtree(old)
    return final


@dataclass(frozen=True, kw_only=True)
class SavedState:
    """What `save_state` wrote."""

    tensors: dict[str, Tensor]
    """Weights, moments and averages by name."""
    counters: Counters
    """Where the run stood."""
    identity: dict[str, Any] | None
    """Settings and data that it was trained with; None in states that do not say."""


def load_state(root: Path) -> SavedState | None:
    """Return the newest state below ``root`` that is whole, or None when there is none.

    Warns of damaged states that it passes over.
    """
    for folder in reversed(_folders(root)):
        try:
            described = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
            if described["format"] != FORMAT_VERSION:
                raise ValueError(f"it has format {described['format']}")
            if (folder / TENSORS_FILE).stat().st_size != described["tensors_bytes"]:
                raise ValueError(f"{TENSORS_FILE} is cut short")
            return SavedState(
                tensors=safetensors.torch.load_file(str(folder / TENSORS_FILE)),
                counters=from_dict(Counters, described["counters"]),
                identity=described.get("identity"),
            )
        except (
            OSError, ValueError, KeyError, TypeError, ConfigError, safetensors.SafetensorError
        ) as error:  # fmt: skip
            _logger.warning("The saved state %s is damaged and not used: %s.", folder, error)
    return None


def check_identity(saved: Mapping[str, Any] | None, now: Mapping[str, Any], out: Path) -> None:
    """Raise ConfigError, naming what differs, unless a run goes on with what it began with."""
    if saved is None:
        _logger.warning("%s does not say what its run began with: it goes on unchecked.", out)
        return
    before, after = _flat(saved), _flat(json.loads(json.dumps(now)))
    changed = sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
    if changed:
        raise ConfigError(
            f"{out} holds a run with another {', '.join(changed)}: choose another --out, or give "
            "the settings and data of before to resume it."
        )


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def replace_folder(target: Path, write: Callable[[Path], None]) -> None:
    """Call ``write`` with a new empty folder, then put that in the place of ``target``.

    When ``write`` raises, ``target`` is as before. A folder cannot replace another in one move:
    a crash between the two moves leaves the old one beside it, for `recover_folder`.
    """
    temporary = target.with_name(f".{target.name}.new")
    old = _displaced(target)
    for leftover in (temporary, old):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        write(temporary)
        if target.exists():
            os.rename(target, old)
        os.rename(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def recover_folder(target: Path) -> None:
    """Undo what a crash in the middle of `replace_folder` did."""
    if not target.exists() and _displaced(target).exists():
        os.rename(_displaced(target), target)


def _displaced(target: Path) -> Path:
    """Return the name of ``target`` while it is being replaced."""
    return target.with_name(f".{target.name}.old")


def _folders(root: Path) -> list[Path]:
    """Return the folders of saved states, the newest last."""
    return sorted(root.glob("[0-9]*-step*"), key=_serial)


def _serial(folder: Path) -> int:
    """Return the number that says how new a state is."""
    return int(folder.name.partition("-")[0])


def _sync(path: Path) -> None:
    """Wait until a file, or the list of files in a folder, is on the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders, and writes their lists at once
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
