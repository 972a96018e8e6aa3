"""Pictures: drawn, and what is written in them is readable."""

from __future__ import annotations

import io

import matplotlib.colors
import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imread
from torch import Tensor

from speechkit.demo import plots

RATE_HZ = 16_000


def pixels(figure: Figure) -> plots.Array:
    """The picture as RGBA, 0 to 1."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=40)
    buffer.seek(0)
    return np.asarray(imread(buffer))


def drawn(figure: Figure) -> plots.Array:
    """The picture, after a look at its corner, which must be ground, and its inside."""
    rgba = pixels(figure)
    ground = np.array(matplotlib.colors.to_rgb(plots.GROUND))
    assert np.allclose(rgba[0, 0, :3], ground, atol=0.01)
    assert (np.abs(rgba[..., :3] - ground).max(-1) > 0.1).mean() > 0.002
    return rgba


def contrast(colour: str, ground: str) -> float:
    """Contrast of two colours as WCAG 2 defines it."""
    levels = []
    for name in (colour, ground):
        rgb = np.array(matplotlib.colors.to_rgb(name))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        levels.append(float(linear @ [0.2126, 0.7152, 0.0722]))
    return (max(levels) + 0.05) / (min(levels) + 0.05)


def test_what_is_written_in_pictures_is_readable() -> None:
    assert contrast(plots.INK, plots.GROUND) > 7
    for colour in (plots.BEFORE, plots.AFTER):
        assert contrast(colour, plots.GROUND) > 4.5
    for box in plots.PHONE_BOXES:
        assert contrast("white", box) > 4.5


def test_every_picture_is_drawn(clip: Tensor, other: Tensor) -> None:
    phones, ends = ["^", "HH", "AH0", " ", "$"], [0.0, 1.0, 2.0, 2.0, 5.1]
    drawn(plots.trim_figure(clip, RATE_HZ, [(1.0, 2.0), (2.5, 4.0)]))
    drawn(plots.speech_figure(clip, RATE_HZ, phones, ends))
    drawn(plots.pair_figure(clip, other, RATE_HZ, ("before", "after")))
    drawn(plots.durations_figure(phones, [0, 100, 40, 0, 60], [0, 80, 40, 20, 60]))


def test_odd_inputs_are_drawn_too(clip: Tensor) -> None:
    drawn(plots.trim_figure(clip[:1], RATE_HZ, [(0.0, 1e-4)]))
    drawn(plots.speech_figure(clip[:100], RATE_HZ, ["AH0"], [0.00625]))
    drawn(plots.durations_figure([], [], []))
    drawn(plots.pair_figure(0 * clip, clip[:320], RATE_HZ, ("silence", "scrap")))


def test_long_speech_has_rows(clip: Tensor) -> None:
    long_T = clip.repeat(20)
    figure = plots.speech_figure(long_T, RATE_HZ, ["AH0"], [len(long_T) / RATE_HZ])
    assert len(figure.axes) == 2 * plots.MAX_ROWS


def test_colours_of_codes_follow_their_vectors() -> None:
    rng = np.random.default_rng(0)
    codebook_VC = rng.normal(size=(64, 8))
    codebook_VC[1] = codebook_VC[0]
    codes_KF = np.array([[0, 1, 2, 3]])
    colours = plots.code_colours([codebook_VC], codes_KF)
    assert colours.shape == (1, 4, 3)
    assert np.array_equal(colours[0, 0], colours[0, 1])
    assert not np.array_equal(colours[0, 0], colours[0, 2])
    assert (colours >= 0).all()
    assert (colours <= 1).all()
    drawn(plots.codes_figure(colours, ["prosody"], 0.08))


def test_pauses_are_dots() -> None:
    labels = [plots.phone_label(symbol) for symbol in ("AH0", "HH", " ", "$", ",")]
    assert labels == ["AH", "HH", "·", "·", "·"]
