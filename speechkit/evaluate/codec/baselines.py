"""Opus and Codec 2 on the same clips, through the programs that Debian ships.

Opus (RFC 6716) at a hard constant bit rate in frames of 20 ms, Codec 2 at 3200 bit/s. The size is
that of the payload: container and header are not counted, for Opus they would add a third.

Legend: T samples at 16 kHz.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechkit.core.audio import read_audio, write_audio
from speechkit.core.errors import DataError
from speechkit.core.timebase import SAMPLE_RATE_HZ

_TIMEOUT_SECONDS = 300
_LONGEST_DELAY_SAMPLES = SAMPLE_RATE_HZ // 10
_SMOOTH_SAMPLES = 160
_CODEC2_RATE_HZ = 8000


@dataclass(frozen=True, kw_only=True, eq=False)
class Coded:
    """What a codec makes of a recording."""

    wave_T: Tensor
    """The decoded wave, on the recording's time and of its length."""
    payload_bytes: int
    """Size of the coded speech."""


Transcode = Callable[[Tensor, Path], Coded]
"""(wave_T, empty folder) to what the program makes of it, its delay still in it."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A speech codec to stand beside ours."""

    name: str
    """Row of the table."""
    programs: tuple[str, ...]
    """What must be on the PATH."""
    package: str
    """Debian's package with these programs."""
    transcode: Transcode
    """How to run it."""
    delay_samples: int = 0
    """Constant delay, taken off."""

    def raw(self, wave_T: Tensor) -> Coded:
        """`wave_T` coded and decoded as the program does it, delay and all."""
        with tempfile.TemporaryDirectory() as folder:
            return self.transcode(wave_T, Path(folder))

    def __call__(self, wave_T: Tensor) -> Coded:
        """`wave_T` coded and decoded; raises DataError where the program fails."""
        coded = self.raw(wave_T)
        wave = shift(coded.wave_T, -self.delay_samples, len(wave_T))
        return Coded(wave_T=wave, payload_bytes=coded.payload_bytes)


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """Those that can run here."""

    usable: tuple[Baseline, ...]
    """With their delays measured."""
    notes: tuple[str, ...]
    """What is left out, and how to get it; the delays that were found."""


def _opus(kilobits: int) -> Baseline:
    """Opus at a constant rate."""

    def transcode(wave_T: Tensor, folder: Path) -> Coded:
        source, coded, result = (str(folder / name) for name in ("in.wav", "coded", "out.wav"))
        write_audio(source, wave_T, SAMPLE_RATE_HZ)
        asked = ["--bitrate", str(kilobits), "--hard-cbr", "--framesize", "20"]
        _run(["opusenc", "--quiet", *asked, "--discard-comments", source, coded])
        _run(["opusdec", "--quiet", "--rate", str(SAMPLE_RATE_HZ), coded, result])
        payload = sum(map(len, ogg_packets(Path(coded).read_bytes())[2:]))
        return Coded(wave_T=read_audio(result, SAMPLE_RATE_HZ), payload_bytes=payload)

    return Baseline(
        name=f"opus {kilobits}",
        programs=("opusenc", "opusdec"),
        package="opus-tools",
        transcode=transcode,
    )


def _codec2(mode: int) -> Baseline:
    """Codec 2, which works at 8 kHz."""

    def transcode(wave_T: Tensor, folder: Path) -> Coded:
        import soxr

        # Without the suffix .c2 the file has no header.
        source, coded, result = (str(folder / name) for name in ("in.raw", "coded.bin", "out.raw"))
        narrow_T = soxr.resample(wave_T.numpy(), SAMPLE_RATE_HZ, _CODEC2_RATE_HZ)
        (narrow_T.clip(-1, 1) * 32767).round().astype("<i2").tofile(source)
        _run(["c2enc", str(mode), source, coded])
        _run(["c2dec", str(mode), coded, result])
        decoded_T = np.fromfile(result, "<i2").astype(np.float32) / 32768
        wide_T = soxr.resample(decoded_T, _CODEC2_RATE_HZ, SAMPLE_RATE_HZ)
        size = Path(coded).stat().st_size
        return Coded(wave_T=torch.from_numpy(wide_T.copy()), payload_bytes=size)

    return Baseline(
        name=f"codec2 {mode / 1000:g}",
        programs=("c2enc", "c2dec"),
        package="codec2",
        transcode=transcode,
    )


BASELINES = (_opus(6), _opus(12), _codec2(3200))
"""The rows beside ours."""


def usable_baselines(
    samples: Sequence[Tensor], wanted: Sequence[Baseline] = BASELINES
) -> Baselines:
    """Those of `wanted` whose programs are here; a note for each of the others.

    Their delays are measured on `samples`, a few recordings.
    """
    usable: list[Baseline] = []
    notes: list[str] = []
    for one in wanted:
        missing = [name for name in one.programs if shutil.which(name) is None]
        if missing:
            notes.append(
                f"{one.name} is left out: {' and '.join(missing)} not found "
                f"(Debian: apt-get install {one.package})."
            )
            continue
        delay = constant_delay([(one.raw(wave_T).wave_T, wave_T) for wave_T in samples])
        usable.append(replace(one, delay_samples=delay))
        notes.append(f"{one.name}: a delay of {1000 * delay / SAMPLE_RATE_HZ:.1f} ms is taken off.")
    return Baselines(usable=tuple(usable), notes=tuple(notes))


def _run(command: Sequence[str]) -> None:
    """Run a program; raises DataError with its last words where it fails."""
    try:
        done = subprocess.run(  # noqa: S603  # a list of arguments, no shell
            command, capture_output=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DataError(f"{command[0]} could not be run: {error}.") from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise DataError(f"{command[0]} failed ({' '.join(said)}): leave the baselines out.")


def ogg_packets(data: bytes) -> list[bytes]:
    """The packets of an Ogg file with one stream (RFC 3533), headers included.

    Raises DataError where the pages do not follow each other.
    """
    packets: list[bytes] = []
    open_packet = b""
    at = 0
    while at < len(data):
        if data[at : at + 4] != b"OggS" or at + 27 > len(data):
            raise DataError("The coded file is no Ogg file: its pages do not follow each other.")
        table = data[at + 27 : at + 27 + data[at + 26]]
        at += 27 + len(table)
        for lacing in table:
            open_packet += data[at : at + lacing]
            at += lacing
            # A lacing value of 255 says that the packet goes on.
            if lacing < 255:
                packets.append(open_packet)
                open_packet = b""
    return packets


def envelope(wave_T: NDArray[np.floating]) -> NDArray[np.float64]:
    """Loudness of each sample's surroundings of 10 ms, less its mean."""
    power_T = np.convolve(
        wave_T.astype(np.float64) ** 2, np.full(_SMOOTH_SAMPLES, 1 / _SMOOTH_SAMPLES), "same"
    )
    loud_T = np.sqrt(power_T)
    centred: NDArray[np.float64] = loud_T - loud_T.mean()
    return centred


def signal_delay(wave_T: Tensor, sent_T: Tensor, longest: int = _LONGEST_DELAY_SAMPLES) -> int:
    """Samples by which `wave_T` lags behind `sent_T`, at most `longest` either way.

    Found in the loudness and not in the waves: a codec that keeps no phase, such as Codec 2,
    correlates best at whichever whole pitch period its phases happen to fit.
    """
    ours, theirs = envelope(wave_T.numpy()), envelope(sent_T.numpy())
    size = 1 << (2 * max(len(ours), len(theirs)) - 1).bit_length()
    product = np.fft.irfft(np.fft.rfft(ours, size) * np.conj(np.fft.rfft(theirs, size)), size)
    around = np.concatenate([product[-longest:], product[: longest + 1]])
    return int(around.argmax()) - longest


def constant_delay(pairs: Sequence[tuple[Tensor, Tensor]]) -> int:
    """Median of `signal_delay` over pairs of a decoded wave and the wave that was sent.

    Held against STOI on held-out speech, the best delay of Codec 2 is 300 to 325 samples; this
    finds 302, the correlation of the waves anything from 140 to 400.
    """
    return round(float(np.median([signal_delay(ours, sent) for ours, sent in pairs])))


def shift(wave_T: Tensor, by_samples: int, length: int) -> Tensor:
    """`wave_T` moved later by `by_samples` (earlier where negative), cut or filled to `length`."""
    start = max(0, -by_samples)
    moved = torch.nn.functional.pad(wave_T[start:], (max(0, by_samples), 0))[:length]
    return torch.nn.functional.pad(moved, (0, length - len(moved)))
