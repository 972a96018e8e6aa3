"""Figures of numbers: bars of reconstruction, the probe matrix, the swap matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from speechkit.core.files import write_atomically
from speechkit.evaluate.codec.differences import LOWER_IS_BETTER, MEASURES, column_of
from speechkit.evaluate.codec.leaks import HOME, find_leaks
from speechkit.evaluate.codec.parts import PARTS
from speechkit.evaluate.codec.probes import REFERENCES, TARGETS, Probes
from speechkit.evaluate.codec.swaps import NOTHING, Swaps
from speechkit.evaluate.codec.verdicts import ASPECTS, EXPECTED, REGISTER, moved
from speechkit.evaluate.table import RATES, ClipRow, bootstrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DOTS_AN_INCH = 110
_DARK = 0.75
_LEAK_COLOURS = {"strong": "red", "some": "orange"}


def new_figure(width_inches: float, height_inches: float) -> Figure:
    """An empty figure drawn by Agg, which needs no screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, whole or not at all."""
    write_atomically(path, lambda part: figure.savefig(str(part), format="png", dpi=_DOTS_AN_INCH))
    return path


def draw_reconstruction(path: Path, rows: Sequence[ClipRow]) -> Path:
    """Every measure of every system, with its 95 % interval over speakers."""
    systems = list(dict.fromkeys(row.system for row in rows))
    measures = [m for m in MEASURES if any(m in row.values for row in rows)]
    columns = 3
    lines = -(-len(measures) // columns)
    figure = new_figure(11, 0.4 + lines * (0.7 + 0.27 * len(systems)))
    panels = figure.subplots(lines, columns, squeeze=False).reshape(-1)
    for axes, measure in zip(panels, measures, strict=False):
        _bars(axes, measure, systems, rows)
    for i, axes in enumerate(panels):
        axes.set_visible(i < len(measures))
        axes.set_yticks(range(len(systems)), systems if i % columns == 0 else [""] * len(systems))
        axes.set_ylim(len(systems) - 0.5, -0.5)
    return save(figure, path)


def _bars(axes: Axes, measure: str, systems: Sequence[str], rows: Sequence[ClipRow]) -> None:
    """One measure, a bar a system."""
    column = column_of(measure)
    for place, system in enumerate(systems):
        own = [row for row in rows if row.system == system and measure in row.values]
        if not own:
            continue
        above, below = RATES.get(measure, (measure, ""))
        top = [row.values[above] for row in own]
        bottom = [row.values[below] if below else 1.0 for row in own]
        value = column.scale * sum(top) / max(1e-9, sum(bottom))
        interval = bootstrap(top, bottom, [row.speaker for row in own])
        low, high = column.scale * interval.low, column.scale * interval.high
        colour = "tab:blue" if system.startswith("codec,") or system == "codec" else "tab:gray"
        axes.barh(place, value, color=colour, height=0.7)
        axes.plot([low, high], [place, place], color="black", linewidth=1.2)
        axes.text(high, place, f" {value:.{column.digits}f}", va="center", fontsize=8)
    axes.margins(x=0.22)
    axes.set_xlim(left=0)
    wanted = "lower" if measure in LOWER_IS_BETTER else "higher"
    axes.set_title(f"{column.title} ({wanted} is better)", loc="left", fontsize=10)


def _grid(axes: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    """Names of rows and columns of a matrix."""
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(range(len(columns)), columns)
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    for side in axes.spines.values():
        side.set_visible(False)


def _frame(axes: Axes, row: int, column: int, colour: str) -> None:
    """A coloured frame around one cell."""
    from matplotlib.patches import Rectangle

    corner = (column - 0.47, row - 0.45)
    axes.add_patch(Rectangle(corner, 0.94, 0.9, fill=False, edgecolor=colour, linewidth=2.5))


def draw_probes(path: Path, probes: Probes) -> Path:
    """The probe matrix; leaks are framed in red and orange, what belongs there in green."""
    names = [*(part for part in PARTS if part in probes.figures), *REFERENCES, "chance"]
    rows = {**probes.figures, "chance": probes.chance}
    table = np.array([[rows[name][target] for target in TARGETS] for name in names])
    figure = new_figure(8, 0.9 + 0.45 * len(names))
    axes = figure.subplots()
    axes.imshow(np.clip(table, 0, 1), cmap="Blues", vmin=0, vmax=1.3, aspect="auto")
    for i, row in enumerate(table):
        for j, value in enumerate(row):
            colour = "white" if value > _DARK else "black"
            axes.text(
                j,
                i,
                f"{max(value, 0.0) if value > -0.005 else value:.2f}",
                ha="center",
                va="center",
                color=colour,
            )
    for j, target in enumerate(TARGETS):
        if HOME[target] in names:
            _frame(axes, names.index(HOME[target]), j, "green")
    for leak in find_leaks(probes):
        if leak.size in _LEAK_COLOURS:
            place = names.index(leak.part), TARGETS.index(leak.target)
            _frame(axes, *place, _LEAK_COLOURS[leak.size])
    _grid(axes, names, TARGETS)
    axes.set_xlabel(
        "green: where it belongs, red: strong leak, orange: some\n"
        "share right (phone, voicing, speaker) or R² (pitch, energy)"
    )
    return save(figure, path)


def draw_swaps(path: Path, swaps: Swaps) -> Path:
    """How far each aspect went over to the donor, and the figures beside A and B behind it."""
    shares = moved(swaps)
    parts, aspects = list(shares), list(ASPECTS)
    table = np.array([[shares[p].get(a, np.nan) for a in aspects] for p in parts])
    figure = new_figure(10, 1.1 + 0.75 * len(parts))
    axes = figure.subplots()
    axes.imshow(np.clip(table, 0, 1), cmap="Greens", vmin=0, vmax=1.3, aspect="auto")
    base = swaps.figures[NOTHING]
    for i, part in enumerate(parts):
        for j, aspect in enumerate(aspects):
            if aspect not in shares[part]:
                continue
            row, (to_a, to_b) = swaps.figures[part], ASPECTS[aspect]
            axes.text(j, i - 0.14, f"{round(100 * table[i, j])} %", ha="center", va="center")
            detail = f"{base[to_b]:.2f} → {row[to_b]:.2f}"
            if aspect != REGISTER:
                detail = f"A {base[to_a]:.2f} → {row[to_a]:.2f}, B {detail}"
            axes.text(j, i + 0.2, detail, ha="center", va="center", fontsize=8)
        for home in EXPECTED[part]:
            _frame(axes, i, aspects.index(home), "green")
    _grid(axes, [f"{part} of B" for part in parts], aspects)
    axes.set_xlabel(
        f"way from A (0 %) to the donor B (100 %), {swaps.pairs} pairs\n"
        "green: what the part should carry; all else should stay near 0 %"
    )
    return save(figure, path)
