"""Writing the watermark: magnitudes of short frames, up or down by a few dB, phases untouched.

Shapes: T samples, F frames, N samples of a frame, R bins of its spectrum, S slots, W bands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

import torch
from torch import Tensor

from speechkit.core.errors import AudioError
from speechkit.watermark.code import (
    BAND_HZ,
    BANDS,
    DEFAULT_PAYLOAD,
    LOW_HZ,
    SLOT_SECONDS,
    SLOTS,
    Watermark,
    code_word,
)

GAIN_DB = 1.4
"""Of a chip where its band is loud, up or down."""

QUIET_GAIN_DB = 3.0
"""Of a chip `QUIET_DB` below the recent peak of its band, where it is heard least and suffers most;
in between the gain is in proportion."""

QUIET_DB = 30.0
_FALL_DB = 0.1
"""How fast the peak is forgotten, a frame: 6 dB a second."""

MIN_RATE_HZ = 8_000
"""Lowest sample rate whose spectrum holds all bands."""

MAX_RATE_HZ = 384_000
_BLOCK_SAMPLES = 1 << 19


def check_wave(wave_T: Tensor, sample_rate_hz: int) -> None:
    """Raise AudioError unless this is a mono wave of a rate that a watermark fits in."""
    if not isinstance(wave_T, Tensor) or wave_T.ndim != 1 or not wave_T.is_floating_point():
        shape = tuple(wave_T.shape) if isinstance(wave_T, Tensor) else type(wave_T).__name__
        raise AudioError(f"A watermark wants a mono wave of floating-point samples, not {shape}.")
    if not MIN_RATE_HZ <= sample_rate_hz <= MAX_RATE_HZ:
        raise AudioError(
            f"A watermark does not fit in {sample_rate_hz} samples a second: give {MIN_RATE_HZ} to "
            f"{MAX_RATE_HZ}."
        )
    if not bool(wave_T.isfinite().all()):
        raise AudioError("The wave holds values that are not finite (NaN or infinity).")


def embed(wave_T: Tensor, sample_rate_hz: int, payload: int = DEFAULT_PAYLOAD) -> Tensor:
    """The wave with a watermark, as long as it was, float32 within ±1.

    The same input gives the same bytes; silence stays silence. Raises AudioError for what is no
    mono wave of 8 kHz or more, ConfigError for a payload beyond 16 bits.
    """
    embedder = StreamingEmbedder(sample_rate_hz, payload)
    check_wave(wave_T, sample_rate_hz)
    pieces = [embedder.push(piece) for piece in torch.split(wave_T, _BLOCK_SAMPLES)]
    return torch.cat([*pieces, embedder.flush()])


def embed_pieces(
    waves: Iterable[Tensor], sample_rate_hz: int, watermark: Watermark
) -> Iterator[Tensor]:
    """A wave that comes in pieces, with one watermark that runs on over them."""
    embedder = StreamingEmbedder(sample_rate_hz, watermark.payload)
    for wave_T in waves:
        ready_T = embedder.push(wave_T)
        if len(ready_T):
            yield ready_T
    rest_T = embedder.flush()
    if len(rest_T):
        yield rest_T


class StreamingEmbedder:
    """Watermarks a wave in pieces: what comes out, joined, is what `embed` makes of it."""

    def __init__(self, sample_rate_hz: int, payload: int = DEFAULT_PAYLOAD) -> None:
        """Raises AudioError for a rate below 8 kHz, ConfigError for a payload beyond 16 bits."""
        check_wave(torch.zeros(0), sample_rate_hz)
        self.sample_rate_hz, self.payload = sample_rate_hz, Watermark(payload=payload).payload
        self._hop = hop_samples(sample_rate_hz)
        self._start()

    def _start(self) -> None:
        """Forget all that came."""
        self._waiting_T = torch.zeros(self._hop)
        self._tail_N = torch.zeros(self._hop)
        self._peak_W = torch.full((BANDS,), -120.0)
        self._frame = 0
        self._owed = 0

    def push(self, wave_T: Tensor) -> Tensor:
        """Take more samples; returns those that are ready, at most 32 ms behind."""
        check_wave(wave_T, self.sample_rate_hz)
        self._owed += len(wave_T)
        return self._ready(wave_T.detach().to("cpu", torch.float32))

    def flush(self) -> Tensor:
        """The samples still owed; after it a new wave may begin."""
        last_T = self._ready(torch.zeros(2 * self._hop))[: self._owed]
        self._start()
        return last_T

    def _ready(self, wave_T: Tensor) -> Tensor:
        """Watermark all whole frames; overlap-add at half a frame, where the windows' squares sum
        to 1 (Princen and Bradley 1986)."""
        hop = self._hop
        self._waiting_T = torch.cat([self._waiting_T, wave_T])
        frames = len(self._waiting_T) // hop - 1
        if frames < 1:
            return torch.zeros(0)
        window_N = _window(hop)
        frames_FN = self._waiting_T[: (frames + 1) * hop].unfold(0, 2 * hop, hop)
        slot_F = slots(torch.arange(self._frame, self._frame + frames), self.sample_rate_hz)
        spectrum_FR = torch.fft.rfft(frames_FN * window_N)
        band_RW = _bands(self.sample_rate_hz)
        gain_FW = code_word(self.payload)[slot_F] * self._gains_db(spectrum_FR, band_RW)
        spectrum_FR = spectrum_FR * 10 ** (gain_FW @ (band_RW.T / 20))
        watermarked_FN = torch.fft.irfft(spectrum_FR, n=2 * hop) * window_N
        before_FN = torch.cat([self._tail_N[None], watermarked_FN[:-1, hop:]])
        out_T: Tensor = (watermarked_FN[:, :hop] + before_FN).flatten().clamp(-1, 1)
        # The first block lies before the wave: it is the padding that the first frame needs.
        out_T = out_T[hop:] if self._frame == 0 else out_T
        self._waiting_T, self._tail_N = self._waiting_T[frames * hop :], watermarked_FN[-1, hop:]
        self._frame += frames
        self._owed -= len(out_T)
        return out_T

    def _gains_db(self, spectrum_FR: Tensor, band_RW: Tensor) -> Tensor:
        """How far each chip goes, [F, W]."""
        level_FW = 10 * (spectrum_FR.abs().square() @ band_RW + 1e-12).log10()
        # The highest of levels that fall with time is that of levels on a rising floor.
        fall_F1 = _FALL_DB * torch.arange(1, len(level_FW) + 1)[:, None]
        rising_FW = torch.cat([self._peak_W[None], level_FW + fall_F1]).cummax(0).values[1:]
        peak_FW = rising_FW - fall_F1
        self._peak_W = peak_FW[-1]
        depth_FW: Tensor = ((peak_FW - level_FW) / QUIET_DB).clamp(0, 1)
        return GAIN_DB + (QUIET_GAIN_DB - GAIN_DB) * depth_FW


def hop_samples(sample_rate_hz: int) -> int:
    """Samples from one frame to the next."""
    return round(SLOT_SECONDS * sample_rate_hz)


def slots(frame_F: Tensor, sample_rate_hz: int) -> Tensor:
    """The slot of each frame, by the time of its middle: hops are whole samples, slots need not."""
    position_F = frame_F.double() * (hop_samples(sample_rate_hz) / (SLOT_SECONDS * sample_rate_hz))
    slot_F: Tensor = position_F.round().long() % SLOTS
    return slot_F


@lru_cache(maxsize=8)
def _window(hop: int) -> Tensor:
    return torch.hann_window(2 * hop).sqrt()


@lru_cache(maxsize=8)
def _bands(sample_rate_hz: int) -> Tensor:
    """Which bins belong to which band, [R, W] of ones and zeros."""
    hop = hop_samples(sample_rate_hz)
    hz_R = torch.arange(hop + 1) * (sample_rate_hz / (2 * hop))
    band_R = ((hz_R - LOW_HZ) / BAND_HZ).floor()
    return (band_R[:, None] == torch.arange(BANDS)).float()
