"""Where a pool of synthetic speech comes from and how it lies on the disk.

A pool is a folder: `pool.json` says what it was made from, `00000.safetensors` and so on are packed
corpora of one level each, and the `00000.jsonl` beside each, written last, tells every clip's
history. A shard without its manifest does not count, and is made again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechkit.core.errors import ConfigError, DataError
from speechkit.core.files import is_partial, write_json, write_text
from speechkit.data.packed import PackedClip, write_packed

POOL_FILE = "pool.json"
POOL_FORMAT = "speechkit-pool-1"


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What speech is made from."""

    corpus: Path
    """Packed corpus: the seed, with its codes beside its shards."""
    units: Path
    """Its units."""
    codec: Path
    """Folder of the codec that made the codes."""
    generator: Path | None
    """Folder of a generator that speaks from these units."""
    device: str = "cpu"
    """Where synthesis runs."""


def shard_path(pool: Path, shard: int) -> Path:
    """The packed file of a shard."""
    return pool / f"{shard:05d}.safetensors"


def manifest_path(pool: Path, shard: int) -> Path:
    """Its manifest."""
    return pool / f"{shard:05d}.jsonl"


def is_made(pool: Path, shard: int) -> bool:
    """Whether a shard is complete."""
    return manifest_path(pool, shard).is_file() and shard_path(pool, shard).is_file()


def write_shard(
    pool: Path, shard: int, clips: Sequence[PackedClip], lines: Sequence[Mapping[str, Any]]
) -> None:
    """Write a packed file, then its manifest."""
    manifest_path(pool, shard).unlink(missing_ok=True)
    write_packed(shard_path(pool, shard), clips)
    text = "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines)
    write_text(manifest_path(pool, shard), text)


def begin_pool(pool: Path, identity: Mapping[str, Any]) -> None:
    """Make the folder, or check that it is of the same corpus, models and settings.

    Raises ConfigError where it holds another pool.
    """
    pool.mkdir(parents=True, exist_ok=True)
    content = {"format": POOL_FORMAT, **json.loads(json.dumps(dict(identity)))}
    path = pool / POOL_FILE
    if path.is_file():
        before = read_pool(pool)
        changed = sorted(k for k in before | content if before.get(k) != content.get(k))
        if changed:
            raise ConfigError(
                f"{pool} holds speech made with another {', '.join(changed)}: choose another "
                "folder, or give the same to go on."
            )
        return
    if not all(map(is_partial, pool.iterdir())):
        raise ConfigError(f"{pool} is not empty and holds no pool: choose another folder.")
    write_json(path, content)


def read_pool(pool: Path) -> dict[str, Any]:
    """What `pool.json` says; raises DataError where there is none."""
    path = pool / POOL_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: make the pool with ssl augment.") from error
    if not isinstance(content, dict) or content.get("format") != POOL_FORMAT:
        raise DataError(f"{path} does not describe a pool: make it again with ssl augment.")
    return content


def read_manifest(pool: Path, shard: int) -> list[dict[str, Any]]:
    """The lines of a shard's manifest; raises DataError where it is broken."""
    path = manifest_path(pool, shard)
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: delete it and run ssl augment again.") from error


def require_space(pool: Path, hours: float) -> None:
    """Raise DataError where the disk has no room for so many hours, plus a tenth."""
    needed = round(1.1 * 3600 * hours * (16_000 * 2 + 100 * 2))
    home = next(place for place in (pool, *pool.resolve().parents) if place.exists())
    free = shutil.disk_usage(home).free
    if free < needed:
        raise DataError(
            f"{hours:.2f} h of speech need {needed / 1e9:.2f} GB, and {home} has "
            f"{free / 1e9:.2f} GB free: make room, or ask for fewer hours."
        )
