"""The JSON of several `speechkit bench` runs as one Markdown table: `table.py bench-*.json`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def columns(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The benches in a file, with their names."""
    found = json.loads(path.read_text(encoding="utf-8"))
    name = path.stem.removeprefix("bench-")
    yield name, found
    if "compared" in found:
        yield f"{name}: the other format", found["compared"]


def figures(bench: dict[str, Any]) -> dict[str, str]:
    """Rows of one bench."""
    rows = {}
    for one in bench["lengths"]:
        rows[f"real-time factor, {one['name']}"] = f"{one['real_time_factor_p50']:.3f}"
        rows[f"CPU factor, {one['name']}"] = f"{one['cpu_factor_p50']:.3f}"
    if first := bench.get("first_sound"):
        rows["first sound, s"] = f"{first['seconds_p50']:.3f}"
    if batch := bench.get("batch"):
        rows[f"{batch['texts']} texts together, hours an hour"] = f"{batch['hours_per_hour']:.1f}"
        rows["one by one, hours an hour"] = f"{batch['alone_hours_per_hour']:.1f}"
    rows["peak memory, MiB"] = f"{bench['peak_memory_mib']:.0f}"
    if bench.get("device_memory_mib"):
        rows["peak memory of the GPU, MiB"] = f"{bench['device_memory_mib']:.0f}"
    return rows


def table(paths: list[Path]) -> str:
    """All of it, with what was drawn the same below."""
    benches = [column for path in paths for column in columns(path)]
    rows = [figures(bench) for _, bench in benches]
    names = list(dict.fromkeys(name for one in rows for name in one))
    lines = [
        "| | " + " | ".join(name for name, _ in benches) + " |",
        "| --- |" + " --- |" * len(benches),
        *(f"| {name} | " + " | ".join(one.get(name, "") for one in rows) + " |" for name in names),
    ]
    for _, bench in benches:
        if same := bench.get("agreement"):
            shares = ", ".join(f"{stage} {share:.3f}" for stage, share in same["forced"].items())
            alone = ", ".join(f"{stage} {share:.3f}" for stage, share in same["free"].items())
            lines.append(
                f"\n{same['dtype']}, {same['frames']} frames, same codes: {shares}; "
                f"by itself: {alone}"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table([Path(name) for name in sys.argv[1:]]))
