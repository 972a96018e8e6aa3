"""The bundled weights, against the checksums that came with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import speechkit
from speechkit.core.checksums import SUMS_FILE, read_sums, sha256_of
from speechkit.core.errors import CheckpointError
from speechkit.doctor.finding import Finding, ok, problem

WEIGHTS = Path(speechkit.__file__).parent / "weights"
AGAIN = "Install speechkit again, or restore the files from the repository."


def check_weights(folder: Path | None = None) -> Iterator[Finding]:
    """One finding for each model that is there or should be."""
    folder = WEIGHTS if folder is None else folder
    try:
        sums = read_sums(folder)
    except CheckpointError as error:
        yield problem("weights", str(error), AGAIN)
        return
    there = {path.parent.name for path in folder.glob("*/model.safetensors")}
    for model in sorted(there | {name.split("/")[0] for name in sums}):
        own = {name: digest for name, digest in sums.items() if name.split("/")[0] == model}
        yield _judged(folder, model, own)


def _judged(folder: Path, model: str, sums: dict[str, str]) -> Finding:
    """What is to be said of one model."""
    name = f"weights {model}"
    if not sums:
        return problem(name, f"{SUMS_FILE} does not know these weights.", AGAIN)
    faults = []
    size_bytes = 0
    for file, digest in sums.items():
        path = folder / file
        try:
            size_bytes += path.stat().st_size
            found = sha256_of(path)
        except OSError as error:
            faults.append(f"{path} cannot be read ({error.strerror})")
            continue
        if found != digest:
            faults.append(f"{path} is not the file that was released")
    if faults:
        return problem(name, f"{'; '.join(faults)}.", AGAIN)
    digest = sums.get(f"{model}/model.safetensors", "")[:8]
    return ok(name, f"{digest}, {size_bytes / 1e6:.1f} MB, as released.")
