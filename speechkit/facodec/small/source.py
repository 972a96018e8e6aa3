"""Excitation signals for the source-filter vocoder.

Shapes: B batch, T samples, F frames, H samples of one frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speechkit.core.spans import Span
from speechkit.facodec.lengths import padded

LONG_FRAMES = 3000
"""Frames, 30 s at the usual hop, up to which an index in single precision is fine enough."""


def between_frames(x_BF: Tensor, hop_samples: int) -> Tensor:
    """Values given at frame centres, and straight lines between them: `x_BT`.

    Beyond `LONG_FRAMES` a place in single precision is off by more than the phase of high
    harmonics forgives, and what is read depends on where a recording starts: see `exact_lines`.
    """
    if x_BF.shape[-1] > LONG_FRAMES:
        return exact_lines(x_BF, hop_samples)
    return nn.functional.interpolate(
        x_BF[:, None], scale_factor=hop_samples, mode="linear", align_corners=False
    )[:, 0]


def exact_lines(x_BF: Tensor, hop_samples: int) -> Tensor:
    """`between_frames` in double precision, by the place within a frame alone: `x_BT`."""
    x_BF = x_BF.double()
    place_H = (torch.arange(hop_samples, device=x_BF.device).double() + 0.5) / hop_samples - 0.5
    padded_BF = nn.functional.pad(x_BF[:, None], (1, 1), mode="replicate")[:, 0, :, None]
    before, here, after = padded_BF[:, :-2], padded_BF[:, 1:-1], padded_BF[:, 2:]
    lines = here + place_H.clamp(max=0) * (here - before) + place_H.clamp(min=0) * (after - here)
    return lines.flatten(1)


def phase_of(f0_BF: Tensor, hop_samples: int, sample_rate_hz: int) -> Tensor:
    """Running phase `phase_BT` in radians, 0 to 2π, of a pitch given at frame centres in Hz."""
    f0_BT = between_frames(f0_BF, hop_samples)
    # Single precision loses the phase after a few seconds of accumulation.
    return wrapped(torch.cumsum(f0_BT.double() / sample_rate_hz, dim=-1))


def wrapped(cycles_BT: Tensor) -> Tensor:
    """Phase in radians, 0 to 2π, single precision, of a count of cycles."""
    return ((cycles_BT - cycles_BT.floor()) * (2 * math.pi)).float()


def pulse_train(phase: Tensor, f0_BF: Tensor, hop_samples: int, sample_rate_hz: int) -> Tensor:
    """All harmonics of `f0_BF` below Nyquist, in phase, at a running phase: `wave_BT`.

    The sum of K cosines in closed form (Dirichlet kernel).
    """
    f0_BT = f0_BF.repeat_interleave(hop_samples, dim=-1)
    harmonics = torch.floor(0.5 * sample_rate_hz / f0_BT)
    half = torch.sin(phase / 2)
    near_zero = half.abs() < 1e-4
    ratio = torch.sin((harmonics + 0.5) * phase) / torch.where(near_zero, 1.0, 2 * half)
    pulses = torch.where(near_zero, harmonics, ratio - 0.5)
    return pulses * torch.sqrt(2 / harmonics)


def noise_source(shape: torch.Size | tuple[int, ...], rng: torch.Generator) -> Tensor:
    """White Gaussian noise of unit power, drawn from `rng` (on its device)."""
    return torch.randn(shape, generator=rng, device=rng.device)


@dataclass(frozen=True, kw_only=True)
class Excitation:
    """What the vocoders are driven by, sample by sample."""

    phase_BT: Tensor
    """Running phase of the pitch, radians, 0 to 2π."""

    gate_BT: Tensor
    """Voicing, 0 to 1."""

    noise_BT: Tensor | None
    """White noise of unit power; None for a vocoder that has none."""


def excitation(
    f0_BF: Tensor,
    voiced_BF: Tensor,
    rng: torch.Generator | None,
    hop_samples: int,
    sample_rate_hz: int,
) -> Excitation:
    """The excitation of a whole recording; without `rng`, no noise."""
    phase_BT = phase_of(f0_BF.float(), hop_samples, sample_rate_hz)
    return Excitation(
        phase_BT=phase_BT,
        gate_BT=between_frames(voiced_BF.float(), hop_samples).float(),
        noise_BT=None if rng is None else noise_source(phase_BT.shape, rng).to(phase_BT.device),
    )


def joined(items: Sequence[Excitation]) -> Excitation:
    """The excitations of single items as that of a batch, silent beyond the end of each."""
    noises = [item.noise_BT[0] for item in items if item.noise_BT is not None]
    return Excitation(
        phase_BT=padded([item.phase_BT[0] for item in items]),
        gate_BT=padded([item.gate_BT[0] for item in items]),
        noise_BT=padded(noises) if noises else None,
    )


class RunningSource:
    """The excitation of a recording that is spoken span by span, the same wherever it is cut.

    The count of cycles is carried on, and noise is drawn in the order of samples, which on a CPU
    gives the same numbers as one draw of all, for spans of a multiple of 16 samples.
    """

    def __init__(
        self,
        rng: torch.Generator | None,
        hop_samples: int,
        sample_rate_hz: int,
        context_frames: int,
    ) -> None:
        """Start before the first frame; no `rng`, no noise. Spans reach back `context_frames`."""
        self.hop, self.rate, self.rng = hop_samples, sample_rate_hz, rng
        self._context = context_frames
        self._cycles_T = torch.zeros(0, dtype=torch.float64)
        self._noise_T = torch.zeros(0, device=None if rng is None else rng.device)
        self._drawn = 0

    def advance(self, f0_F: Tensor, voiced_F: Tensor, span: Span) -> Excitation:
        """The excitation of the frames `span.low` to `span.high`, of this pitch and voicing.

        Spans come in order, each starting where the one before ended.
        """
        # On the CPU, where sums run in order.
        steps_T = exact_lines(f0_F[None].cpu(), self.hop)[0] / self.rate
        back = (span.start - span.low) * self.hop
        before_T = self._cycles_T[len(self._cycles_T) - back :]
        carried = self._cycles_T[-1:] if len(self._cycles_T) else torch.zeros(1).double()
        # One sum that starts from what was carried over: bit for bit the sum of all frames.
        ahead_T = torch.cumsum(torch.cat([carried, steps_T[back:]]), dim=0)[1:]
        done_T = ahead_T[: (span.end - span.start) * self.hop]
        self._cycles_T = torch.cat([self._cycles_T, done_T])[-self._context * self.hop - 1 :]
        return Excitation(
            phase_BT=wrapped(torch.cat([before_T, ahead_T]))[None].to(f0_F.device),
            gate_BT=exact_lines(voiced_F[None], self.hop).float(),
            noise_BT=None if self.rng is None else self._noise(span, self.rng).to(f0_F.device),
        )

    def _noise(self, span: Span, rng: torch.Generator) -> Tensor:
        more_T = noise_source((1, span.high * self.hop - self._drawn), rng)[0]
        self._drawn = span.high * self.hop
        noise_T = torch.cat([self._noise_T, more_T])
        self._noise_T = noise_T[-(span.high - span.end + self._context) * self.hop :]
        return noise_T[-(span.high - span.low) * self.hop :][None]
