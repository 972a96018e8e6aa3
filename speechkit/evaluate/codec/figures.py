"""Figures of a report, as PNG files in its folder; matplotlib is imported when one is drawn.

Legend: T samples at 16 kHz, G frames of 10 ms, K codebooks, F code frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from speechkit.core.audio import read_audio
from speechkit.core.f0 import F0_HOP_SAMPLES, extract_f0
from speechkit.core.files import write_atomically
from speechkit.core.timebase import SAMPLE_RATE_HZ
from speechkit.evaluate.codec.parts import CodedClip
from speechkit.evaluate.codec.probes import TARGETS, ProbeReport
from speechkit.evaluate.codec.reconstruction import (
    CODEC,
    LOWER_IS_BETTER,
    MEASURES,
    NO_DETAIL,
    wave_path,
)
from speechkit.evaluate.codec.swaps import ASPECTS, EXPECTED, NOTHING, SwapReport
from speechkit.evaluate.scoring import RECORDINGS
from speechkit.evaluate.table import COLUMNS, ClipRow, Figure, by_system

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

SHOWN_SYSTEMS = (RECORDINGS, CODEC, NO_DETAIL, "opus 6")
"""Spectrograms from top to bottom, as far as the report has them."""
HOME = {
    "phone": "content",
    "pitch": "prosody",
    "voicing": "prosody",
    "energy": "prosody",
    "speaker": "timbre",
}
"""The part that each target of the probes belongs to."""

_SHOWN_SECONDS = 4.0
_WINDOW_SAMPLES = 512
_RANGE_DB = 70.0
_DOTS_AN_INCH = 110


def draw_report(
    folder: Path,
    clips: Sequence[CodedClip],
    rows: Sequence[ClipRow],
    codebooks: Mapping[str, int],
    probes: ProbeReport | None,
    swaps: SwapReport | None,
) -> list[Path]:
    """Draw what there is to draw and return the files.

    `rows` are the scored rows of reconstruction, `codebooks` the sizes of the codebooks by name.
    """
    scored = {row.id for row in rows}
    chosen = [one for one in clips if one.clip.id in scored] or clips
    shown = min(chosen, key=lambda one: abs(len(one.clip.wave_T) / SAMPLE_RATE_HZ - _SHOWN_SECONDS))
    drawings: dict[str, Callable[[], Canvas]] = {
        "codes": lambda: draw_codes(shown, list(codebooks)),
        "usage": lambda: draw_usage(clips, codebooks),
    }
    if any(row.system == CODEC for row in rows):
        drawings["spectrograms"] = lambda: draw_spectrograms(folder, shown)
        drawings["reconstruction"] = lambda: draw_reconstruction(rows)
    if probes is not None:
        drawings["probes"] = lambda: draw_probes(probes)
    if swaps is not None:
        drawings["swaps"] = lambda: draw_swaps(swaps)
    return [_save(draw(), folder / f"{name}.png") for name, draw in drawings.items()]


def _canvas(width_inches: float, height_inches: float) -> Canvas:
    """An empty figure drawn by Agg, which needs no screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    figure = Canvas(figsize=(width_inches, height_inches), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Canvas, path: Path) -> Path:
    """Write a figure as PNG, whole or not at all."""
    write_atomically(path, lambda part: figure.savefig(str(part), format="png", dpi=_DOTS_AN_INCH))
    return path


def draw_reconstruction(rows: Sequence[ClipRow]) -> Canvas:
    """Every measure of every system, with its 95 % interval over speakers."""
    systems = by_system(rows)
    measures = [m for m in MEASURES if any(m in row.values for row in rows)]
    columns = 3
    lines = max(1, -(-len(measures) // columns))
    figure = _canvas(11, 0.4 + lines * (0.7 + 0.27 * len(systems)))
    panels = figure.subplots(lines, columns, squeeze=False).reshape(-1)
    for axes, measure in zip(panels, measures, strict=False):
        column = COLUMNS[measure]
        for place, (system, own) in enumerate(systems.items()):
            found = Figure.of(own, measure)
            if not found.tops:
                continue
            value, interval = column.scale * found.value, found.interval()
            low, high = column.scale * interval.low, column.scale * interval.high
            axes.barh(place, value, color="tab:blue" if CODEC in system else "tab:gray", height=0.7)
            axes.plot([low, high], [place, place], color="black", linewidth=1.2)
            axes.text(high, place, f" {value:.{column.digits}f}", va="center", fontsize=8)
        axes.margins(x=0.22)
        axes.set_xlim(left=0)
        wanted = "lower" if measure in LOWER_IS_BETTER else "higher"
        axes.set_title(f"{column.title} ({wanted} is better)", loc="left", fontsize=10)
    for i, axes in enumerate(panels):
        axes.set_visible(i < len(measures))
        axes.set_yticks(
            range(len(systems)), list(systems) if i % columns == 0 else [""] * len(systems)
        )
        axes.set_ylim(len(systems) - 0.5, -0.5)
    return figure


def _matrix(
    figure: Canvas, table: Any, rows: Sequence[str], columns: Sequence[str], below: str
) -> Axes:
    """Coloured cells from 0 (white) to 1, with their names."""
    axes: Axes = figure.subplots()
    axes.imshow(np.clip(table, 0, 1), cmap="Blues", vmin=0, vmax=1.8, aspect="auto")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(range(len(columns)), columns)
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_xlabel(below)
    return axes


def _frame(axes: Axes, row: int, column: int) -> None:
    """A green frame around one cell."""
    from matplotlib.patches import Rectangle

    corner = (column - 0.47, row - 0.45)
    axes.add_patch(Rectangle(corner, 0.94, 0.9, fill=False, edgecolor="green", linewidth=2.5))


def draw_probes(probes: ProbeReport) -> Canvas:
    """The probe matrix; what belongs there is framed."""
    names = list(probes.figures)
    table = np.array([[probes.figures[name][target] for target in TARGETS] for name in names])
    figure = _canvas(8, 0.9 + 0.45 * len(names))
    below = (
        "framed: the part that this is to be read from; elsewhere the less the better\n"
        "share right (phone, voicing, speaker) or R² (pitch, energy)"
    )
    axes = _matrix(figure, table, names, TARGETS, below)
    for i, row in enumerate(table):
        for j, value in enumerate(row):
            axes.text(j, i, f"{value:.2f}", ha="center", va="center")
    for j, target in enumerate(TARGETS):
        if HOME[target] in names:
            _frame(axes, names.index(HOME[target]), j)
    return figure


def draw_swaps(swaps: SwapReport) -> Canvas:
    """How far each aspect went over to the donor, and the figures beside A and B behind it."""
    shares, base = swaps.moved, swaps.figures[NOTHING]
    parts, aspects = list(shares), list(ASPECTS)
    table = np.array([[shares[part].get(aspect, np.nan) for aspect in aspects] for part in parts])
    figure = _canvas(10, 1.1 + 0.75 * len(parts))
    below = (
        f"way from A (0 %) to the donor B (100 %), {swaps.pairs} pairs\n"
        "framed: what the part should carry; all else should stay near 0 %"
    )
    axes = _matrix(figure, table, [f"{part} of B" for part in parts], aspects, below)
    for i, part in enumerate(parts):
        for j, aspect in enumerate(aspects):
            if aspect in shares[part]:
                told = [
                    f"{key[-1].upper()} {base[key]:.2f} → {swaps.figures[part][key]:.2f}"
                    for key in dict.fromkeys(ASPECTS[aspect])
                ]
                axes.text(j, i - 0.14, f"{100 * table[i, j]:.0f} %", ha="center", va="center")
                axes.text(j, i + 0.2, ", ".join(told), ha="center", va="center", fontsize=8)
        for home in EXPECTED[part]:
            _frame(axes, i, aspects.index(home))
    return figure


def _show_spectrogram(axes: Axes, wave_T: Tensor) -> None:
    """A wave's spectrogram, 0 to 8 kHz, its loudest 70 dB."""
    spectrum = torch.stft(
        wave_T,
        _WINDOW_SAMPLES,
        hop_length=F0_HOP_SAMPLES,
        window=torch.hann_window(_WINDOW_SAMPLES),
        return_complex=True,
    )
    power_db = (20 * torch.log10(spectrum.abs() + 1e-5)).numpy()
    axes.imshow(
        power_db,
        origin="lower",
        aspect="auto",
        cmap="magma",
        extent=(0, len(wave_T) / SAMPLE_RATE_HZ, 0, SAMPLE_RATE_HZ / 2000),
        vmin=power_db.max() - _RANGE_DB,
        vmax=power_db.max(),
    )
    axes.set_ylabel("kHz")


def draw_spectrograms(folder: Path, shown: CodedClip) -> Canvas:
    """Spectrogram and pitch of one clip in each system that has a wave of it in `folder`."""
    systems = [s for s in SHOWN_SYSTEMS if wave_path(folder, s, shown.clip.id).is_file()]
    figure = _canvas(10, 2.1 * len(systems) + 0.6)
    panels = figure.subplots(len(systems), 1, sharex=True, squeeze=False)[:, 0]
    for axes, system in zip(panels, systems, strict=True):
        wave_T = read_audio(wave_path(folder, system, shown.clip.id), SAMPLE_RATE_HZ)
        _show_spectrogram(axes, wave_T)
        axes.set_title(system, loc="left", fontsize=10)
        f0_G = extract_f0(wave_T.numpy())
        pitch = axes.twinx()
        time_G = (np.arange(len(f0_G)) + 0.5) * F0_HOP_SAMPLES / SAMPLE_RATE_HZ
        pitch.plot(time_G, np.where(f0_G > 0, f0_G, np.nan), color="cyan", linewidth=1.6)
        pitch.set_ylim(50, 450)
        pitch.set_ylabel("pitch, Hz", color="teal")
    panels[-1].set_xlabel(f"seconds of {shown.clip.id}")
    return figure


def draw_codes(shown: CodedClip, names: Sequence[str]) -> Canvas:
    """The code streams of one clip below its spectrogram; the colour of a code has no order."""
    figure = _canvas(10, 2.4 + 0.45 * len(names))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 0.42 * len(names)])
    _show_spectrogram(above, shown.clip.wave_T)
    above.set_title(f"codes of {shown.clip.id}", loc="left", fontsize=10)
    below.imshow(
        shown.codes.stacked().numpy(),
        aspect="auto",
        cmap="nipy_spectral",
        interpolation="nearest",
        extent=(0, len(shown.clip.wave_T) / SAMPLE_RATE_HZ, len(names) - 0.5, -0.5),
    )
    below.set_yticks(range(len(names)), names)
    for line in range(1, len(names)):
        below.axhline(line - 0.5, color="white", linewidth=2)
    below.set_xlabel("seconds")
    return figure


def draw_usage(clips: Sequence[CodedClip], codebooks: Mapping[str, int]) -> Canvas:
    """How often each code was used, most used first, beside an even use of all."""
    columns = min(3, len(codebooks))
    lines = -(-len(codebooks) // columns)
    figure = _canvas(10, 2.4 * lines + 0.4)
    panels = figure.subplots(lines, columns, squeeze=False).reshape(-1)
    codes_KN = torch.cat([one.codes.stacked() for one in clips], 1)
    for axes, (name, size), code_N in zip(panels, codebooks.items(), codes_KN, strict=False):
        counts = torch.bincount(code_N, minlength=size).sort(descending=True).values.numpy()
        axes.fill_between(range(size), counts, step="mid", color="tab:blue")
        axes.axhline(len(code_N) / size, color="tab:orange", linewidth=1)
        dead = int((counts == 0).sum())
        axes.set_title(f"{name}: {dead} dead of {size}", loc="left", fontsize=10)
        axes.set_xlim(0, size)
        axes.set_ylim(bottom=0)
    for axes in panels[len(codebooks) :]:
        axes.set_visible(False)
    figure.supxlabel("codes, most used first (line: even use)", fontsize=10)
    figure.supylabel("frames", fontsize=10)
    return figure
