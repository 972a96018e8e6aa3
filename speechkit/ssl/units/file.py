"""Units of a whole corpus in one safetensors file.

`units_U` int16 (all clips end to end) and `offsets_N1` int64 (an empty range for a clip too short
for one unit). Metadata: `format`, `rate_hz`, `clusters`, `clips` (JSON list of ids), `kmeans`
(SHA-256 of the centroids), `features` (JSON: what was clustered).

Shapes: U units of the corpus, N clips, F units of one clip.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.core.files import write_atomically
from speechkit.ssl.units.features import SAMPLE_RATE_HZ, whole_frames

UNITS_FORMAT = "speechkit-units-1"
RATES_HZ = (25, 50, 100)
MAX_CLUSTERS = 32_767
"""What int16 can name."""
_NAMES_IN_ERROR = 5


def write_units(
    path: str | Path,
    units: Mapping[str, Tensor],
    *,
    rate_hz: int,
    clusters: int,
    kmeans_sha256: str,
    features: Mapping[str, Any],
) -> None:
    """Write the units `[F]` of clips by id, in the mapping's order.

    Raises DataError for a rate or number of clusters the format has no place for, and for units
    that are not whole numbers from 0 to clusters - 1.
    """
    if rate_hz not in RATES_HZ or not 1 <= clusters <= MAX_CLUSTERS or not units:
        raise DataError(
            f"A file of units holds clips at 25, 50 or 100 Hz with 1 to {MAX_CLUSTERS} clusters, "
            f"not {len(units)} clips at {rate_hz} Hz with {clusters}."
        )
    for name, units_F in units.items():
        if units_F.ndim != 1 or units_F.is_floating_point():
            raise DataError(f"The units of clip {name} must be one row of whole numbers.")
        if len(units_F) and not 0 <= int(units_F.min()) <= int(units_F.max()) < clusters:
            raise DataError(f"Clip {name} has units outside 0 to {clusters - 1}.")
    lengths = torch.tensor([0, *(len(units_F) for units_F in units.values())])
    tensors = {
        "units_U": torch.cat([units_F.to(torch.int16) for units_F in units.values()]),
        "offsets_N1": torch.cumsum(lengths, 0),
    }
    metadata = {
        "format": UNITS_FORMAT,
        "rate_hz": str(rate_hz),
        "clusters": str(clusters),
        "clips": json.dumps(list(units)),
        "kmeans": kmeans_sha256,
        "features": json.dumps(dict(features)),
    }
    data = _with_sorted_header(save(tensors, metadata))

    def write(place: Path) -> None:
        place.write_bytes(data)

    write_atomically(path, write)


def _with_sorted_header(data: bytes) -> bytes:
    """The same safetensors file with its metadata in order of names, so same units, same bytes."""
    length = int.from_bytes(data[:8], "little")
    text = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


class Units:
    """Read access to the units of a corpus; they stay on disk until a clip is asked for."""

    def __init__(self, path: str | Path) -> None:
        """Map the file; raises DataError where it is missing, truncated or inconsistent."""
        self.path = Path(path)
        if not self.path.is_file():
            raise DataError(f"There is no file of units at '{path}'; make it with ssl units.")
        try:
            # The tensors of this reader are views of a memory map, not copies.
            with safe_open(str(self.path), framework="pt") as stored:
                metadata = stored.metadata() or {}
                self._units_U: Tensor = stored.get_tensor("units_U")
                self._offsets_N1: Tensor = stored.get_tensor("offsets_N1")
            self.clip_ids: tuple[str, ...] = tuple(json.loads(metadata.get("clips", "null")))
            self.features: dict[str, Any] = json.loads(metadata.get("features", "null"))
            self.rate_hz = int(metadata.get("rate_hz", "0"))
            self.clusters = int(metadata.get("clusters", "0"))
        except (SafetensorError, OSError, ValueError, TypeError, RecursionError) as error:
            raise self._broken(str(error)) from error
        self.kmeans_sha256 = metadata.get("kmeans", "")
        self._check(metadata.get("format"))
        self._index = {name: index for index, name in enumerate(self.clip_ids)}
        if len(self._index) != len(self.clip_ids):
            raise self._broken("a clip id comes twice")

    def _broken(self, why: str) -> DataError:
        return DataError(f"'{self.path}' is no usable file of units: {why}. Make it again.")

    def _check(self, stored_format: str | None) -> None:
        """Raise DataError where the parts of the file disagree."""
        units_U, offsets_N1 = self._units_U, self._offsets_N1
        if stored_format != UNITS_FORMAT:
            raise self._broken(f"its format is not {UNITS_FORMAT}")
        if self.rate_hz not in RATES_HZ or not 1 <= self.clusters <= MAX_CLUSTERS:
            raise self._broken(f"{self.rate_hz} Hz, {self.clusters} clusters")
        if not isinstance(self.features, dict) or units_U.dtype != torch.int16:
            raise self._broken("its units are not int16 or it does not say what was clustered")
        if not all(isinstance(name, str) for name in self.clip_ids):
            raise self._broken("its clip ids are not text")
        if offsets_N1.dtype != torch.int64 or offsets_N1.shape != (len(self.clip_ids) + 1,):
            raise self._broken("its tables do not list the same number of clips")
        fits = (
            int(offsets_N1[0]) == 0
            and int(offsets_N1[-1]) == units_U.numel()
            and units_U.ndim == 1
            and not bool((offsets_N1.diff() < 0).any())
        )
        if not fits:
            raise self._broken("its clip offsets do not fit its units")

    def __len__(self) -> int:
        """Number of clips, too short ones included."""
        return len(self.clip_ids)

    def has(self, clip_id: str) -> bool:
        """True when the clip has at least one unit."""
        index = self._index.get(clip_id)
        return index is not None and bool(self._offsets_N1[index + 1] > self._offsets_N1[index])

    def of(self, clip_id: str) -> Tensor:
        """`units_F` int64 of a clip; raises DataError for a clip without units or with bad ones."""
        if not self.has(clip_id):
            raise DataError(f"'{self.path}' has no units of clip '{clip_id}'.")
        first, end = self._offsets_N1[self._index[clip_id] :][:2].tolist()
        units_F: Tensor = self._units_U[first:end].long()
        if not 0 <= int(units_F.min()) <= int(units_F.max()) < self.clusters:
            raise self._broken(f"clip '{clip_id}' has units outside its clusters")
        return units_F

    def missing(self, clip_ids: Iterable[str]) -> list[str]:
        """Those of the clips that have no units."""
        return [name for name in clip_ids if not self.has(name)]

    def require(self, clip_ids: Sequence[str], samples_N: Sequence[int]) -> None:
        """Raise DataError unless every clip is here with as many units as its 16 kHz samples have.

        The message counts the clips that are missing or differ, and names the first of them.
        """
        missing = self.missing(clip_ids)
        hop_samples = SAMPLE_RATE_HZ // self.rate_hz
        other = [
            name
            for name, samples in zip(clip_ids, samples_N, strict=True)
            if self.has(name) and len(self.of(name)) != whole_frames(samples, hop_samples)
        ]
        for names, what in ((missing, "have no units"), (other, "have another length")):
            if names:
                raise DataError(
                    f"{len(names)} of {len(clip_ids)} clips {what} in '{self.path}' "
                    f"({', '.join(names[:_NAMES_IN_ERROR])}): make the units of this corpus."
                )
