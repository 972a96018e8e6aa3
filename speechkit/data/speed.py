"""Speed perturbation: clips played slower and faster, which makes more voices of those there are.

Tempo, pitch and formants move alike, as Ko et al. (2015), "Audio augmentation for speech
recognition", have it. Names begin with the speed, as Kaldi's and lhotse's do: `sp0.9-NAME`.

Shapes: T samples.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from speechkit.core.errors import ConfigError
from speechkit.data.clips import ClipSource

SPEEDS = (0.5, 2.0)
"""Slowest and fastest speed that a clip is packed at."""
# With its point always, so that speakers who are called sp1 and sp2 stay two.
_AT_SPEED = re.compile(r"^sp[0-2]\.\d+-")


def at_speed(clip: ClipSource, speed: float) -> ClipSource:
    """The clip played `speed` times faster: a clip of another speaker."""
    if speed == 1.0:
        return clip
    mark = f"sp{float(speed)}-"
    return replace(clip, id=f"{mark}{clip.id}", speaker=f"{mark}{clip.speaker}", speed=speed)


def original(name: str) -> str:
    """Name of the speaker or clip, where `name` may be that at another speed."""
    return _AT_SPEED.sub("", name)


def check_speeds(speeds: Sequence[float]) -> None:
    """Raise ConfigError for speeds that cannot be packed."""
    slowest, fastest = SPEEDS
    if not speeds or len(set(speeds)) < len(speeds):
        raise ConfigError(f"Speeds are given once each, not as {list(speeds)}.")
    for speed in speeds:
        if not slowest <= speed <= fastest:
            raise ConfigError(f"A speed lies between {slowest} and {fastest}, not at {speed}.")


def played(pcm_T: npt.NDArray[np.int16], speed: float) -> npt.NDArray[np.int16]:
    """The samples as they are when they are played `speed` times faster."""
    if speed == 1.0:
        return pcm_T
    import soxr

    wave_T = soxr.resample(pcm_T.astype(np.float32), speed, 1.0, quality="HQ")
    rounded_T: npt.NDArray[np.float32] = np.clip(np.rint(wave_T), -32768, 32767)
    return rounded_T.astype(np.int16)
