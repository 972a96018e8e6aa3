"""Other codecs: their bytes, their delay, and what happens where they are missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.evaluate.codec.baselines import (
    BASELINES,
    Baseline,
    Coded,
    constant_delay,
    ogg_packets,
    shift,
    signal_delay,
    usable_baselines,
)


def syllables(seconds: float = 3.0, seed: int = 0) -> Tensor:
    """Bursts of a buzz, of uneven length and loudness."""
    rng = torch.Generator().manual_seed(seed)
    samples = round(seconds * 16000)
    lengths = torch.randint(1200, 5000, (samples // 1200 + 1,), generator=rng)
    gate_T = torch.rand(len(lengths), generator=rng).repeat_interleave(lengths)[:samples]
    time_T = torch.arange(samples) / 16000
    buzz_T = sum(torch.sin(2 * torch.pi * 130 * n * time_T) / n for n in range(1, 20))
    return 0.2 * gate_T * torch.as_tensor(buzz_T)


def _flipped(wave_T: Tensor, folder: Path) -> Coded:
    # A late wave with other phases, as of a codec that keeps none.
    return Coded(
        wave_T=-0.7 * shift(wave_T, 307, len(wave_T) + 100), payload_bytes=len(wave_T) // 8
    )


FLIPPED = Baseline(name="flipped", programs=("sh",), package="none", transcode=_flipped)


@settings(deadline=None, max_examples=6)
@given(st.integers(-1500, 1500))
def test_delay_is_found_whatever_the_phases(delay: int) -> None:
    """A clip may mislead, as a coder's `constant_delay` allows; most must not."""
    sent = [syllables(seed=seed) for seed in range(5)]
    found = [signal_delay(-0.5 * shift(wave_T, delay, len(wave_T)), wave_T) for wave_T in sent]
    assert sum(abs(one - delay) <= 1 for one in found) >= 3


def test_constant_delay_is_that_of_most_clips() -> None:
    waves = [syllables(seed=seed) for seed in range(3)]
    pairs = [(shift(w, d, len(w)), w) for w, d in zip(waves, (300, 301, -900), strict=True)]
    assert abs(constant_delay(pairs) - 300) <= 1


@settings(deadline=None, max_examples=50)
@given(st.integers(-20, 20), st.integers(0, 40), st.integers(0, 40))
def test_shift_moves_and_fills(by: int, length: int, samples: int) -> None:
    wave_T = torch.arange(1, samples + 1).float()
    moved = shift(wave_T, by, length)
    assert len(moved) == length
    for i, value in enumerate(moved.tolist()):
        assert value == (i - by + 1 if 0 <= i - by < samples else 0)


def _page(packets: list[bytes], *, whole: bool = True) -> bytes:
    table = b""
    for i, packet in enumerate(packets):
        table += b"\xff" * (len(packet) // 255)
        if whole or i < len(packets) - 1:
            table += bytes([len(packet) % 255])
    return b"OggS" + bytes(22) + bytes([len(table)]) + table + b"".join(packets)


def test_ogg_packets_run_over_pages() -> None:
    first, long, last = b"head", b"x" * 600, b"end"
    data = _page([first, long[:510]], whole=False) + _page([long[510:], b"", last])
    assert ogg_packets(data) == [first, long, b"", last]
    with pytest.raises(DataError, match="Ogg"):
        ogg_packets(data + b"RIFF")


def test_missing_programs_are_notes_that_name_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    found = usable_baselines([syllables()])
    assert found.usable == ()
    assert len(found.notes) == len(BASELINES)
    assert "apt-get install opus-tools" in found.notes[0]
    assert "apt-get install codec2" in found.notes[-1]


def test_delay_is_measured_once_and_taken_off() -> None:
    wave_T = syllables(seed=3)
    found = usable_baselines([syllables(), syllables(seed=1)], [FLIPPED])
    (one,) = found.usable
    assert abs(one.delay_samples - 307) <= 1
    coded = one(wave_T)
    assert len(coded.wave_T) == len(wave_T)
    assert signal_delay(coded.wave_T, wave_T) == 0
    assert "19.2 ms" in found.notes[0]


@pytest.mark.parametrize(("at", "kbps"), [(0, 6.0), (1, 12.0), (2, 3.2)])
def test_programs_code_at_their_rate(at: int, kbps: float) -> None:
    baseline = BASELINES[at]
    if any(shutil.which(name) is None for name in baseline.programs):
        pytest.skip(f"needs Debian's {baseline.package}")
    wave_T = syllables(2.0)
    coded = baseline(wave_T)
    assert len(coded.wave_T) == len(wave_T)
    assert 8 * coded.payload_bytes / 2.0 / 1000 == pytest.approx(kbps, rel=0.06)
    assert float(coded.wave_T.abs().max()) > 0.05


def test_program_that_fails_is_a_plain_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "opusenc"
    program.write_text("#!/bin/sh\necho no such bit rate >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="opusenc failed .no such bit rate"):
        BASELINES[0](syllables(0.5))
