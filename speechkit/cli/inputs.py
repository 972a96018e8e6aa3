"""What a command is given, checked before anything expensive happens.

Shapes: T samples, P phones, F frames, K code books, D channels.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from speechkit.core.errors import (
    AudioError,
    CheckpointError,
    ConfigError,
    PromptError,
    TextError,
)

if TYPE_CHECKING:
    from torch import Tensor

    from speechkit.core.results import Attribute, Voice
    from speechkit.tts import ZeroShotTTS

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg")
VOICE_SUFFIX = ".safetensors"
PROMPT_RATE_HZ = 16_000
"""Rate that prompts are read at before the models are there: that of all our models."""

MAX_TEXT_BYTES = 1 << 20
"""More than any text that is spoken has; keeps an endless stream from filling the memory."""


def check_suffix(path: Path, suffixes: tuple[str, ...]) -> None:
    """Raise ConfigError unless the output's name ends in one of these."""
    if path.suffix.lower() not in suffixes:
        raise ConfigError(f"The output {path} must end in {' or '.join(suffixes)}.")
    if path.is_dir():
        raise ConfigError(f"The output {path} is a folder: give the name of a file.")


def check_output(path: Path, suffixes: tuple[str, ...], *inputs: Path) -> None:
    """Raise ConfigError unless a file of one of the kinds can be written there.

    `inputs` are files that the command reads and must not overwrite.
    """
    check_suffix(path, suffixes)
    if not path.parent.is_dir():
        raise ConfigError(f"There is no folder {path.parent} for the output: make it first.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ConfigError(f"The folder {path.parent} cannot be written to: give another output.")
    for source in inputs:
        if path.exists() and source.exists() and path.samefile(source):
            raise ConfigError(f"The output {path} is also an input: give it another name.")


def read_text(text: str | None, file: Path | None) -> str:
    """The text to speak: given, from a file, or from standard input where it is "-".

    Raises TextError for what is not UTF-8 text or is far too long.
    """
    if file is not None:
        try:
            with file.open("rb") as stream:
                return _decoded(stream, str(file))
        except OSError as error:
            raise TextError(f"Cannot read the text {file}: {error.strerror}.") from error
    if text == "-":
        return _decoded(sys.stdin.buffer, "Standard input")
    try:
        (text or "").encode("utf-8")
    except UnicodeEncodeError as error:
        raise TextError("The text is not valid UTF-8: pass it in that encoding.") from error
    return text or ""


def _decoded(stream: BinaryIO, name: str) -> str:
    """All of a stream as text."""
    data = stream.read(MAX_TEXT_BYTES + 1)
    if len(data) > MAX_TEXT_BYTES:
        raise TextError(f"{name} is larger than {MAX_TEXT_BYTES >> 10} KiB: split the text.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(f"{name} is not UTF-8 text: convert it first.") from error


def check_text(text: str, lexicon: Mapping[str, tuple[str, ...]]) -> None:
    """Raise TextError for a text that the models would refuse, before they are loaded."""
    from speechkit.text import Frontend
    from speechkit.tts import MAX_CHARACTERS

    # The same sentence as the models' own, which look at the length first too.
    if len(text) <= MAX_CHARACTERS:
        Frontend(lexicon).phones(text)
        return
    raise TextError(
        f"The text has {len(text)} characters; split it into parts of at most {MAX_CHARACTERS}."
    )


def read_lexicon(path: Path | None) -> dict[str, tuple[str, ...]]:
    """Words and their phones from a file of lines such as `tomato T AH0 M AA1 T OW2`.

    Lines that start with `#` or `;;;` are comments. Raises TextError where the file cannot be
    read or a line has no phones; whoever uses the lexicon checks the phones themselves.
    """
    if path is None:
        return {}
    lexicon = {}
    for number, line in enumerate(read_text(None, path).splitlines(), start=1):
        word, *phones = line.split() or [""]
        if not word or word.startswith(("#", ";;;")):
            continue
        if not phones:
            raise TextError(
                f"Line {number} of {path} gives {word[:40]!r} no phones: write a line such as "
                "tomato T AH0 M AA1 T OW2."
            )
        lexicon[word] = tuple(phones)
    return lexicon


def read_source(path: Path) -> Tensor | Voice:
    """A prompt as `wave_T` at `PROMPT_RATE_HZ`, or a saved voice, fit for use.

    Raises AudioError, PromptError or CheckpointError, each naming the file.
    """
    from speechkit.core.audio import prepare_prompt, read_audio
    from speechkit.core.results import Voice

    if not path.exists():
        raise AudioError(f"There is no prompt {path}: check the path.")
    if path.suffix.lower() == VOICE_SUFFIX:
        return Voice.load(path)
    wave_T = read_audio(path, PROMPT_RATE_HZ)
    with naming(path):
        prepare_prompt(wave_T, PROMPT_RATE_HZ)
    return wave_T


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the prompt's name in front of a PromptError, which does not know it."""
    try:
        yield
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from error


def load_tts(model: Path | None, lexicon: Mapping[str, tuple[str, ...]]) -> ZeroShotTTS:
    """The models; raises CheckpointError or ConfigError for a folder that does not hold them."""
    from speechkit.tts import ZeroShotTTS

    return ZeroShotTTS.from_pretrained(model, lexicon=lexicon)


def make_voice(
    tts: ZeroShotTTS, path: Path, source: Tensor | Voice, transcript: str | None
) -> Voice:
    """The voice of what `read_source` read; raises PromptError, TextError, CheckpointError."""
    from speechkit.core.results import Voice

    if not isinstance(source, Voice):
        with naming(path):
            # At another rate the file is read again, by the models.
            prompt = source if tts.sample_rate_hz == PROMPT_RATE_HZ else path
            return tts.voice(prompt, transcript)
    if transcript is not None:
        raise ConfigError(f"{path} is a saved voice: a transcript was of use when it was made.")
    _check_fit(tts, source, path)
    return source


def _check_fit(tts: ZeroShotTTS, voice: Voice, path: Path) -> None:
    """Raise CheckpointError unless the models can speak with this voice."""
    codec, phones = tts.codec.config, len(tts.vocabulary.symbols)

    def indices(tensor: Tensor, ndim: int, end: int) -> bool:
        if tensor.ndim != ndim or tensor.dtype.is_floating_point or not tensor.numel():
            return False
        return bool(tensor.min() >= 0) and bool(tensor.max() < end)

    def fits(part: Attribute) -> bool:
        return (
            indices(part.codes_KF, 2, codec.quantizer.entries)
            and indices(part.phone_F, 1, phones)
            and part.codes_KF.shape == (codec.quantizer.books, len(part.phone_F))
        )

    rhythm = voice.duration
    good = (
        voice.timbre_D.shape == (codec.timbre_channels,)
        and bool(voice.timbre_D.isfinite().all())
        and indices(rhythm.phones_P, 1, phones)
        and indices(rhythm.frames_P, 1, 1 << 30)
        and rhythm.phones_P.shape == rhythm.frames_P.shape
        and all(fits(part) for part in (voice.prosody, voice.content, voice.detail))
    )
    if not good:
        raise CheckpointError(
            f"{path} does not fit these weights: make the voice again from its recording."
        )
