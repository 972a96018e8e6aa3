"""The pictures of the demo: matplotlib figures without pyplot, so none outlives its request.

They are dark like an audio editor, whatever the page is: what is written in them reads well there.

Shapes: T samples, F frames, K code streams, G frames of 10 ms, N bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from speechkit.core.f0 import F0_HOP_SAMPLES, F0_SAMPLE_RATE_HZ, extract_f0
from speechkit.text.vocab import is_boundary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

Array = npt.NDArray[Any]

GROUND, INK = "#18181b", "#c9ccd3"
"""Background, and text and axes: contrast 10."""
BEFORE, AFTER = "#f0933f", "#6aa5f8"
PHONE_BOXES = ("#2f6fd0", "#b65a17")
"""Dark enough for white letters."""

ROW_SECONDS = 6.0
"""What one row of a spectrogram shows."""
MAX_ROWS = 4
_WINDOW, _HOP, _RANGE_DB = 400, 100, 70.0
_MAX_PHONES = 60
_LABEL_INCHES = 0.3
"""Left free at the top, where the page puts its label over the picture."""


def _figure(width: float, height: float) -> Figure:
    """An empty figure."""
    from matplotlib.figure import Figure

    height += _LABEL_INCHES
    figure = Figure(figsize=(width, height), dpi=110)
    figure.set_layout_engine("constrained", rect=(0, 0, 1, 1 - _LABEL_INCHES / height))
    figure.patch.set_facecolor(GROUND)
    return figure


def _style(axes: Axes, *, grid: bool = False) -> None:
    """Colours of one pair of axes."""
    axes.patch.set_facecolor(GROUND)
    axes.tick_params(colors=INK, labelsize=8)
    for spine in axes.spines.values():
        spine.set_color(INK)
        spine.set_linewidth(0.6)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(INK)
        label.set_fontsize(9)
    if grid:
        axes.grid(color=INK, alpha=0.25, linewidth=0.5)
        axes.set_axisbelow(True)


def _legend(axes: Axes) -> None:
    """Above the axes, where it hides nothing."""
    axes.legend(
        frameon=False,
        labelcolor=INK,
        fontsize=8,
        ncols=2,
        loc="lower right",
        bbox_to_anchor=(1, 1),
        borderaxespad=0.1,
    )


def phone_label(symbol: str) -> str:
    """A phone without its stress; a dot for a pause."""
    return "·" if is_boundary(symbol) else symbol.rstrip("012")


def spectrogram_db(wave_T: Tensor) -> Array:
    """Magnitudes `[N, F]` in dB below the loudest, 0 to −70; 25 ms windows, 6.25 ms apart."""
    wave = wave_T.numpy().astype(np.float32)
    wave = np.pad(wave, (0, max(0, _WINDOW - len(wave))))
    cut_FN = np.lib.stride_tricks.sliding_window_view(wave, _WINDOW)[::_HOP]
    power_FN = np.abs(np.fft.rfft(cut_FN * np.hanning(_WINDOW).astype(np.float32), 512)) ** 2
    level = 10 * np.log10(power_FN + 1e-10)
    return np.asarray(np.maximum(level - level.max(), -_RANGE_DB).T)


def _draw_spectrogram(axes: Axes, level: Array, seconds: float, rate_hz: int) -> None:
    axes.imshow(
        level,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=-_RANGE_DB,
        vmax=0,
        extent=(0, seconds, 0, rate_hz / 2000),
    )
    axes.set_ylabel("kHz")


def trim_figure(
    wave_T: Tensor, rate_hz: int, parts_seconds: Sequence[tuple[float, float]]
) -> Figure:
    """A waveform, with the parts that are kept marked."""
    figure = _figure(7, 1.5)
    axes = figure.add_subplot()
    step = max(1, len(wave_T) // 1400)
    whole = len(wave_T) // step * step
    peak = np.abs(wave_T[:whole].numpy().reshape(-1, step)).max(axis=1)
    peak = peak / max(float(peak.max()), 1e-6)
    times = np.arange(len(peak)) * step / rate_hz
    axes.fill_between(times, -peak, peak, color=INK, alpha=0.55, linewidth=0)
    for start, end in parts_seconds:
        inside = (times >= start) & (times <= end)
        axes.fill_between(times, -peak, peak, where=inside.tolist(), color=AFTER, linewidth=0)
        axes.axvspan(start, end, color=AFTER, alpha=0.15, linewidth=0)
    axes.set_xlim(0, len(wave_T) / rate_hz)
    axes.set_ylim(-1.05, 1.05)
    axes.set_yticks([])
    axes.set_xlabel("seconds")
    _style(axes)
    return figure


def speech_figure(
    wave_T: Tensor, rate_hz: int, phones: Sequence[str], ends_seconds: Sequence[float]
) -> Figure:
    """Spectrogram in rows of 6 s with the phones under it; of long speech the first four rows."""
    level = spectrogram_db(wave_T)
    seconds = len(wave_T) / rate_hz
    rows = min(MAX_ROWS, max(1, int(np.ceil(seconds / ROW_SECONDS - 0.05))))
    row_seconds = max(ROW_SECONDS if rows > 1 else seconds, 0.5)
    figure = _figure(9, 0.4 + 2.0 * rows)
    grid = figure.add_gridspec(2 * rows, 1, height_ratios=[5, 1] * rows, hspace=0)
    starts = [0.0, *ends_seconds[:-1]]
    for row in range(rows):
        picture = figure.add_subplot(grid[2 * row])
        _draw_spectrogram(picture, level, seconds, rate_hz)
        strip = figure.add_subplot(grid[2 * row + 1], sharex=picture)
        _draw_phones(strip, phones, starts, ends_seconds)
        picture.tick_params(labelbottom=False)
        picture.set_xlim(row * row_seconds, (row + 1) * row_seconds)
        _style(picture)
        _style(strip)
    strip.set_xlabel("seconds")
    return figure


def _draw_phones(
    axes: Axes, phones: Sequence[str], starts: Sequence[float], ends: Sequence[float]
) -> None:
    """One box a phone, with its symbol where it fits."""
    lasting = [row for row in zip(phones, starts, ends, strict=True) if row[2] > row[1]]
    for number, (phone, start, end) in enumerate(lasting):
        axes.axvspan(start, end, color=PHONE_BOXES[number % 2], linewidth=0)
        label = phone_label(phone)
        if end - start >= 0.018 * len(label) + 0.012:
            axes.text(
                (start + end) / 2,
                0.5,
                label,
                ha="center",
                va="center",
                fontsize=6.5,
                color="white",
                clip_on=True,
            )
    axes.set_ylim(0, 1)
    axes.set_yticks([])


def _f0(wave_T: Tensor, rate_hz: int) -> tuple[Array, Array]:
    """Times and pitch in Hz, NaN where unvoiced."""
    f0_G = np.zeros(1, np.float32)
    if rate_hz == F0_SAMPLE_RATE_HZ:
        f0_G = extract_f0(wave_T.numpy())
    times = (np.arange(len(f0_G)) + 0.5) * F0_HOP_SAMPLES / F0_SAMPLE_RATE_HZ
    return times, np.where(f0_G > 0, f0_G, np.nan)


def pair_figure(before_T: Tensor, after_T: Tensor, rate_hz: int, names: tuple[str, str]) -> Figure:
    """Pitch of two waves in one picture, and the spectrogram of each."""
    figure = _figure(9, 5.4)
    grid = figure.add_gridspec(3, 1, height_ratios=[1.2, 1, 1])
    waves = (before_T, after_T)
    longest = max(len(wave_T) for wave_T in waves) / rate_hz
    pitch = figure.add_subplot(grid[0])
    for wave_T, name, colour in zip(waves, names, (BEFORE, AFTER), strict=True):
        pitch.plot(*_f0(wave_T, rate_hz), color=colour, linewidth=1.8, label=name)
    pitch.set_ylabel("pitch, Hz")
    pitch.set_xlim(0, longest)
    pitch.set_ylim(bottom=50)
    _style(pitch, grid=True)
    _legend(pitch)
    for row, (wave_T, name) in enumerate(zip(waves, names, strict=True), start=1):
        axes = figure.add_subplot(grid[row], sharex=pitch)
        _draw_spectrogram(axes, spectrogram_db(wave_T), len(wave_T) / rate_hz, rate_hz)
        axes.set_xlim(0, longest)
        axes.set_title(name, loc="left", color=INK, fontsize=9)
        _style(axes)
    axes.set_xlabel("seconds")
    return figure


def durations_figure(
    phones: Sequence[str], before_ms: Sequence[float], after_ms: Sequence[float]
) -> Figure:
    """Two bars a phone: how long it lasts before and after; the first 60 phones that last."""
    rows = [row for row in zip(phones, before_ms, after_ms, strict=True) if row[1] or row[2]]
    rows = rows[:_MAX_PHONES]
    figure = _figure(9, 2.2)
    axes = figure.add_subplot()
    place = np.arange(len(rows))
    axes.bar(place - 0.2, [row[1] for row in rows], 0.4, color=BEFORE, label="before")
    axes.bar(place + 0.2, [row[2] for row in rows], 0.4, color=AFTER, label="after")
    axes.set_xticks(place, [phone_label(row[0]) for row in rows])
    axes.set_xlim(-0.8, max(len(rows), 12) - 0.2)
    axes.set_ylabel("ms")
    _style(axes, grid=True)
    axes.tick_params(axis="x", labelsize=6.5 if len(rows) > 30 else 8, length=0)
    axes.grid(visible=False, axis="x")
    _legend(axes)
    return figure


def codes_figure(colours_KF3: Array, names: Sequence[str], seconds: float) -> Figure:
    """Each code stream as a strip of colours over time."""
    figure = _figure(9, 0.7 + 0.55 * len(names))
    rows = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for axes, colours_F3, name in zip(rows, colours_KF3, names, strict=True):
        axes.imshow(
            colours_F3[None], aspect="auto", interpolation="nearest", extent=(0, seconds, 0, 1)
        )
        axes.set_yticks([])
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
        _style(axes)
    rows[-1].set_xlabel("seconds")
    return figure


def code_colours(codebooks_VC: Sequence[Array], codes_KF: Array) -> Array:
    """A colour `[K, F, 3]` for each code: where its vector lies in its codebook.

    The first three principal components of a codebook's vectors are red, green and blue, so codes
    that sound alike look alike.
    """
    rows = []
    for codebook_VC, codes_F in zip(codebooks_VC, codes_KF, strict=True):
        centred = codebook_VC - codebook_VC.mean(axis=0)
        axes = np.linalg.svd(centred, full_matrices=False)[2][:3]
        place_V3 = np.zeros((len(codebook_VC), 3))
        place_V3[:, : len(axes)] = centred @ axes.T
        spread = np.maximum(place_V3.std(axis=0), 1e-6)
        rows.append((0.5 + place_V3 / (4 * spread)).clip(0, 1)[codes_F])
    return np.stack(rows)
