"""What comes from a browser is checked, and messages name no path."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechkit.core.errors import AudioError, ConfigError, PromptError, TextError
from speechkit.demo import limits
from speechkit.demo.limits import Limits, PathError
from speechkit.demo.state import AppState

RATE_HZ = 16_000


def sound(path: Path, seconds: float, rate_hz: int = RATE_HZ, channels: int = 1) -> Path:
    """A file with noise in it; 24 bits."""
    noise = np.random.default_rng(0).normal(0, 0.1, (round(seconds * rate_hz), channels))
    soundfile.write(path, noise, rate_hz, subtype="PCM_24")
    return path


def hostile(outside: Path, uploads: Path) -> dict[str, str]:
    """Paths that lead out of the uploads, in ways that a browser could try."""
    secret = sound(outside / "secret.wav", 1)
    (uploads / "link.wav").symlink_to(secret)
    (uploads / "folder").symlink_to(outside)
    os.mkfifo(uploads / "pipe.wav")
    twin = outside / "uploads-2"
    twin.mkdir()
    return {
        "absolute": str(secret),
        "dots": f"{uploads}/../outside/secret.wav",
        "link": str(uploads / "link.wav"),
        "linked folder": str(uploads / "folder" / "secret.wav"),
        "sibling with the same start": str(sound(twin / "a.wav", 1)),
        "device": "/dev/zero",
        "process": "/proc/self/environ",
        "pipe": str(uploads / "pipe.wav"),
        "folder itself": str(uploads),
        "missing": str(uploads / "missing.wav"),
        "null": f"{uploads}/a\0.wav",
        "relative": "pyproject.toml",
        "address": "http://127.0.0.1/a.wav",
        "long": str(uploads / ("a" * 5000)),
    }


def test_paths_that_lead_elsewhere_are_refused(tmp_path: Path) -> None:
    uploads, outside = tmp_path / "uploads", tmp_path / "outside"
    uploads.mkdir()
    outside.mkdir()
    for name, path in hostile(outside, uploads).items():
        with pytest.raises(PathError) as caught:
            limits.read_recording(path, RATE_HZ, (uploads,), Limits(), field="The prompt")
        message = str(caught.value)
        assert message == "The prompt: this file was not uploaded here. Upload it again.", name


def test_a_linked_uploads_folder_is_the_folder_it_leads_to(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "uploads").symlink_to(real)
    path = sound(real / "a.wav", 1)
    assert limits.checked_path(str(path), (tmp_path / "uploads",), "It") == path.resolve()


def test_odd_but_good_files_are_read(app: AppState) -> None:
    path = sound(app.uploads / "naïve 声.wav", 1.5, rate_hz=48_000, channels=6)
    wave_T = app.prompt(str(path), "The prompt", "a")
    assert len(wave_T) == pytest.approx(1.5 * RATE_HZ, abs=RATE_HZ / 100)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not an audio file"),
        (b"just some text", "not an audio file"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "damaged"),
        (b"fLaC" + bytes(200), "damaged"),
    ],
)
def test_what_is_not_audio_is_refused(app: AppState, content: bytes, said: str) -> None:
    path = app.uploads / "a.wav"
    path.write_bytes(content)
    with pytest.raises(AudioError, match=said) as caught:
        app.prompt(str(path), "The prompt", "a")
    assert str(caught.value).startswith("The prompt: ")
    assert str(app.uploads) not in str(caught.value)


def test_an_hour_is_refused_by_its_header(app: AppState) -> None:
    path = app.uploads / "hour.flac"
    soundfile.write(path, np.zeros(4000 * 3600, np.int16), 4000)
    with pytest.raises(AudioError, match="3600 s long: the limit is 120 s"):
        app.prompt(str(path), "The prompt", "a")


def test_a_file_that_is_too_large_is_refused(app: AppState) -> None:
    app.limits = Limits(max_file_mb=0.0625)
    path = sound(app.uploads / "a.wav", 2)
    with pytest.raises(AudioError, match=r"larger than 0\.0625 MiB"):
        app.prompt(str(path), "The prompt", "a")


@pytest.mark.parametrize("seconds", [0.0, 0.5])
def test_silence_and_scraps_are_no_prompt(app: AppState, seconds: float) -> None:
    path = app.uploads / "a.wav"
    soundfile.write(path, np.zeros(round((seconds or 3.0) * RATE_HZ)), RATE_HZ)
    wave_T = app.prompt(str(path), "The prompt", "a")
    with pytest.raises(PromptError, match=r"silent|0\.50 s long"):
        app.models.tts.voice(wave_T)


@pytest.mark.parametrize("path", [None, ""])
def test_a_missing_recording_is_told(app: AppState, path: str | None) -> None:
    with pytest.raises(AudioError, match="The recording is missing"):
        app.recording(path, "The recording", "a")


@pytest.mark.parametrize("text", [None, "", " \n\t "])
def test_empty_text_is_refused(text: str | None) -> None:
    with pytest.raises(TextError, match="empty"):
        limits.checked_text(text, Limits())


def test_long_and_broken_text_is_refused() -> None:
    with pytest.raises(TextError, match="100000 characters"):
        limits.checked_text("x" * 100_000, Limits())
    with pytest.raises(TextError, match="not valid"):
        limits.checked_text("a \ud800 b", Limits())
    assert limits.checked_text("  Fine. ", Limits()) == "  Fine. "


def test_text_files_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffGrüße".encode())
    assert limits.read_text_file(str(path), (tmp_path,), Limits()) == "Grüße"
    path.write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(TextError, match="UTF-8"):
        limits.read_text_file(str(path), (tmp_path,), Limits())
    path.write_bytes(b"a" * 1_000_000)
    with pytest.raises(TextError, match="larger than 2000"):
        limits.read_text_file(str(path), (tmp_path,), Limits())
    with pytest.raises(PathError):
        limits.read_text_file("/etc/hostname", (tmp_path,), Limits())


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -1, 5, True, "1"])
def test_numbers_out_of_range_are_refused(value: float | None) -> None:
    with pytest.raises(ConfigError, match=r"The speed must be a number from 0\.25 to 4"):
        limits.checked_number(value, 0.25, 4, "The speed")


def test_seeds_are_whole() -> None:
    assert limits.checked_seed(7.0) == 7
    for seed in (0.5, -1, 2**40):
        with pytest.raises(ConfigError, match="seed"):
            limits.checked_seed(seed)


def test_leaving_removes_uploads_that_nobody_else_has(app: AppState) -> None:
    mine, ours = (sound(app.uploads / name, 1) for name in ("mine.wav", "ours.wav"))
    app.prompt(str(mine), "The prompt", "a")
    app.prompt(str(ours), "The prompt", "a")
    app.prompt(str(ours), "The prompt", "b")
    app.leave("a")
    assert not mine.exists()
    assert ours.exists()
    app.leave("b")
    assert not ours.exists()
    app.leave("never there")
