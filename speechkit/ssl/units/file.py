"""Units of corpora: a folder with what they stand for, and a file for each shard.

`units.json` says rate, clusters and what was clustered; `kmeans/` holds the centroids where they
were fitted here; `HASH.safetensors`, named by the shard's clip ids, holds `units_U` int16 (all
clips end to end) and `offsets_N1` int64 (an empty range for a clip that was left out, or is too
short for one unit). One folder can hold the units of several corpora, by the same centroids.

Shapes: U units of a shard, N clips, F units of one clip.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.core.files import write_json
from speechkit.data.packed import PackedCorpus
from speechkit.data.shard import Shard
from speechkit.data.sidecar import Kind, Sidecars, write_sidecar

UNITS_FORMAT = "speechkit-units-2"
UNITS_FILE = "units.json"
RATES_HZ = (25, 50, 100)
MAX_CLUSTERS = 32_767
"""What int16 can name."""
UNITS = Kind(
    name="units",
    format=UNITS_FORMAT,
    dtypes={"units_U": (torch.int16, 1), "offsets_N1": (torch.int64, 1)},
    verb="ssl units",
)


def begin_units(
    folder: Path, *, rate_hz: int, clusters: int, kmeans_sha256: str, features: Mapping[str, Any]
) -> None:
    """Write `units.json`.

    Raises DataError for a rate or number of clusters the format has no place for.
    """
    if rate_hz not in RATES_HZ or not 1 <= clusters <= MAX_CLUSTERS:
        raise DataError(
            f"Units are at 25, 50 or 100 Hz with 1 to {MAX_CLUSTERS} clusters, not at {rate_hz} Hz "
            f"with {clusters}."
        )
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "format": UNITS_FORMAT,
        "rate_hz": rate_hz,
        "clusters": clusters,
        "kmeans": kmeans_sha256,
        "features": dict(features),
    }
    write_json(folder / UNITS_FILE, content)


def units_path(folder: Path, shard: Shard) -> Path:
    """The file of a shard's units."""
    return folder / f"{shard.ids_sha256[:16]}.safetensors"


def write_units(
    folder: Path,
    shard: Shard,
    units: Mapping[int, Tensor],
    *,
    clusters: int,
    kmeans_sha256: str,
    distance: float = 0.0,
    made_by: Any = None,
) -> None:
    """Write the units `[F]` of the clips of a shard by their places there; others have none.

    `distance` is the sum of squared distances to the centroids, `made_by` what the units follow
    from. Raises DataError for units that are not whole numbers from 0 to clusters - 1.
    """
    for place, units_F in units.items():
        if units_F.ndim != 1 or units_F.is_floating_point():
            raise DataError(f"The units of clip {place} must be one row of whole numbers.")
        if len(units_F) and not 0 <= int(units_F.min()) <= int(units_F.max()) < clusters:
            raise DataError(f"Clip {place} has units outside 0 to {clusters - 1}.")
    none = torch.zeros(0, dtype=torch.int16)
    rows = [units.get(place, none).to(torch.int16) for place in range(len(shard))]
    tensors = {
        "units_U": torch.cat([none, *rows]),
        "offsets_N1": torch.cumsum(torch.tensor([0, *map(len, rows)]), 0),
    }
    metadata = {"kmeans": kmeans_sha256, "distance": distance, "made_by": made_by}
    write_sidecar(units_path(folder, shard), UNITS, shard, tensors, metadata)


class Units(Sidecars):
    """Read access to the units of a corpus; they stay on disk until a clip is asked for."""

    kind = UNITS

    def __init__(self, path: str | Path, corpus: PackedCorpus) -> None:
        """Map the files of the corpus' shards in the folder `path`.

        Raises DataError where one is missing, damaged, of other clips or by other centroids.
        """
        self.path = Path(path)
        file = self.path / UNITS_FILE
        if not file.is_file():
            raise DataError(f"There are no units at '{path}'; make them with ssl units.")
        try:
            about = json.loads(file.read_text(encoding="utf-8"))
            if about["format"] != UNITS_FORMAT:
                raise ValueError(f"its format is not {UNITS_FORMAT}")
            self.rate_hz, self.clusters = int(about["rate_hz"]), int(about["clusters"])
            self.features: dict[str, Any] = dict(about["features"])
            self.kmeans_sha256 = str(about["kmeans"])
            if self.rate_hz not in RATES_HZ or not 1 <= self.clusters <= MAX_CLUSTERS:
                raise ValueError(f"{self.rate_hz} Hz, {self.clusters} clusters")
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise DataError(f"'{file}' is damaged ({error!r}): make the units again.") from error
        super().__init__(corpus)
        if corpus.shards and self._common("kmeans") != self.kmeans_sha256:
            raise DataError(f"Units in '{path}' are by other centroids: run ssl units again.")

    def __reduce__(self) -> tuple[Any, ...]:
        """Worker processes map the files for themselves."""
        return Units, (self.path, self.corpus)

    def _path(self, shard: Shard) -> Path:
        return units_path(self.path, shard)

    def of(self, clip: int) -> Tensor:
        """`units_F` int64 of a clip; raises DataError for a clip without units or with bad ones."""
        part, first, end = self._span(clip)
        if end == first:
            raise DataError(f"'{self.path}' has no units of '{self.corpus.clips[clip]['id']}'.")
        units_F: Tensor = part.tensors["units_U"][first:end].long()
        if not 0 <= int(units_F.min()) <= int(units_F.max()) < self.clusters:
            raise DataError(f"Clip {clip} has units outside its clusters: make them again.")
        return units_F

    def distance(self) -> float:
        """Sum of squared distances to the centroids over all units."""
        return sum(float(part.metadata.get("distance", "0")) for part in self.parts)
