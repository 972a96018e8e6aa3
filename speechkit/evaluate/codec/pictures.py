"""Pictures of a report, as PNG files in its folder; matplotlib is imported when one is drawn.

Legend: T samples at 16 kHz, G frames of 10 ms, K code books, F code frames, V entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechkit.core.audio import read_audio
from speechkit.data.f0 import F0_HOP_SAMPLES, extract_f0
from speechkit.evaluate.codec import charts
from speechkit.evaluate.codec.findings import Findings
from speechkit.evaluate.codec.material import CodedClip
from speechkit.evaluate.codec.reconstruction import CODEC, NO_DETAIL, RECORDINGS, wave_path
from speechkit.evaluate.pairs import SAMPLE_RATE_HZ
from speechkit.evaluate.table import ClipRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN_SYSTEMS = (RECORDINGS, CODEC, NO_DETAIL, "opus 6")
"""Spectrograms from top to bottom, as far as the report has them."""

_SHOWN_SECONDS = 4.0
_WINDOW_SAMPLES = 512
_RANGE_DB = 70.0


def draw_all(
    folder: Path,
    chosen: Sequence[CodedClip],
    coded: Sequence[CodedClip],
    books: Sequence[str],
    entries: Sequence[int],
    rows: Sequence[ClipRow],
    findings: Findings,
) -> list[Path]:
    """Draw what there is to draw and return the files.

    `chosen` are the scored clips, `coded` all of them; `books` and `entries` name and size the
    books; `rows` are the scored rows of reconstruction.
    """
    shown = min(chosen, key=lambda one: abs(len(one.clip.wave_T) / SAMPLE_RATE_HZ - _SHOWN_SECONDS))
    drawn = []
    if any(row.system == CODEC for row in rows):
        drawn.append(draw_spectrograms(folder / "spectrograms.png", folder, shown))
        drawn.append(charts.draw_reconstruction(folder / "reconstruction.png", rows))
    drawn.append(draw_codes(folder / "codes.png", shown, books))
    drawn.append(draw_usage(folder / "usage.png", coded, books, entries))
    if findings.probes is not None:
        drawn.append(charts.draw_probes(folder / "probes.png", findings.probes))
    if findings.swaps is not None:
        drawn.append(charts.draw_swaps(folder / "swaps.png", findings.swaps))
    return drawn


def spectrogram_db(wave_T: Tensor) -> NDArray[np.float32]:
    """Power in dB, `[bins, G]`, a frame each 10 ms."""
    spectrum = torch.stft(
        wave_T,
        _WINDOW_SAMPLES,
        hop_length=F0_HOP_SAMPLES,
        window=torch.hann_window(_WINDOW_SAMPLES),
        return_complex=True,
    )
    power: NDArray[np.float32] = (20 * torch.log10(spectrum.abs() + 1e-5)).numpy()
    return power


def _show_spectrogram(axes: Axes, wave_T: Tensor) -> None:
    """A wave's spectrogram, 0 to 8 kHz, its loudest 70 dB."""
    power = spectrogram_db(wave_T)
    seconds = len(wave_T) / SAMPLE_RATE_HZ
    axes.imshow(
        power,
        origin="lower",
        aspect="auto",
        cmap="magma",
        extent=(0, seconds, 0, SAMPLE_RATE_HZ / 2000),
        vmin=power.max() - _RANGE_DB,
        vmax=power.max(),
    )
    axes.set_ylabel("kHz")


def draw_spectrograms(path: Path, folder: Path, shown: CodedClip) -> Path:
    """Spectrogram and pitch of one clip in each system that has a wave of it in `folder`."""
    systems = [s for s in SHOWN_SYSTEMS if wave_path(folder, s, shown.clip.id).is_file()]
    figure = charts.new_figure(10, 2.1 * len(systems) + 0.6)
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
    return charts.save(figure, path)


def draw_codes(path: Path, shown: CodedClip, books: Sequence[str]) -> Path:
    """The code streams of one clip below its spectrogram; the colour of a code has no order."""
    codes_KF = shown.codes.stacked().numpy()
    figure = charts.new_figure(10, 2.4 + 0.45 * len(books))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 0.42 * len(books)])
    _show_spectrogram(above, shown.clip.wave_T)
    above.set_title(f"codes of {shown.clip.id}", loc="left", fontsize=10)
    seconds = len(shown.clip.wave_T) / SAMPLE_RATE_HZ
    below.imshow(
        codes_KF,
        aspect="auto",
        cmap="nipy_spectral",
        interpolation="nearest",
        extent=(0, seconds, len(books) - 0.5, -0.5),
    )
    below.set_yticks(range(len(books)), books)
    for line in range(1, len(books)):
        below.axhline(line - 0.5, color="white", linewidth=2)
    below.set_xlabel("seconds")
    return charts.save(figure, path)


def draw_usage(
    path: Path, coded: Sequence[CodedClip], books: Sequence[str], entries: Sequence[int]
) -> Path:
    """How often each entry was used, most used first, beside an even use of all."""
    columns = min(3, len(books))
    lines = -(-len(books) // columns)
    figure = charts.new_figure(10, 2.4 * lines + 0.4)
    panels = figure.subplots(lines, columns, squeeze=False).reshape(-1)
    codes_KN = torch.cat([one.codes.stacked() for one in coded], 1)
    for axes, name, size, code_N in zip(panels, books, entries, codes_KN, strict=False):
        count_V = torch.bincount(code_N, minlength=size).sort(descending=True).values.numpy()
        axes.fill_between(range(size), count_V, step="mid", color="tab:blue")
        axes.axhline(len(code_N) / size, color="tab:orange", linewidth=1)
        dead = int((count_V == 0).sum())
        axes.set_title(f"{name}: {dead} dead of {size}", loc="left", fontsize=10)
        axes.set_xlim(0, size)
        axes.set_ylim(bottom=0)
    for axes in panels[len(books) :]:
        axes.set_visible(False)
    figure.supxlabel("entries, most used first (line: even use)", fontsize=10)
    figure.supylabel("frames", fontsize=10)
    return charts.save(figure, path)
