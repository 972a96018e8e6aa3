"""What a command is given, checked before anything expensive happens."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from speechkit.cli import output
from speechkit.core.errors import AudioError, ConfigError, DataError, StreamError, TextError
from speechkit.core.files import check_replaceable
from speechkit.core.formats import AUDIO_SUFFIXES as AUDIO_SUFFIXES

if TYPE_CHECKING:
    from speechkit.core.prompt import Prompt
    from speechkit.core.results import Speech, Voice
    from speechkit.ssl.selection import Selection
    from speechkit.tts import ZeroShotTTS

STANDARD_OUTPUT = Path("-")
VOICE_SUFFIX = ".safetensors"

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
    if path == STANDARD_OUTPUT:
        return
    check_suffix(path, suffixes)
    if not path.parent.is_dir():
        raise ConfigError(f"There is no folder {path.parent} for the output: make it first.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ConfigError(f"The folder {path.parent} cannot be written to: give another output.")
    check_replaceable(path)
    for source in inputs:
        if path.exists() and source.exists() and path.samefile(source):
            raise ConfigError(f"The output {path} is also an input: give it another name.")


def speech_file(out: Path | None, *, as_json: bool) -> Path:
    """Where speech goes: as asked, else a new speech.wav here; "-" is standard output.

    Raises ConfigError where standard output is a terminal or has other things to say.
    """
    if out is None:
        names = chain(["speech.wav"], (f"speech-{number}.wav" for number in count(2)))
        return next(path for path in map(Path, names) if not path.exists())
    if out == STANDARD_OUTPUT:
        if as_json:
            raise ConfigError("--json writes to standard output too: give -o a file.")
        if sys.stdout is None:
            raise StreamError("Standard output is closed: give a file with --out.")
        if sys.stdout.isatty():
            raise ConfigError("Standard output is a terminal: pipe it on, or give -o a file.")
    return out


def save_speech(speech: Speech, out: Path) -> None:
    """Write speech to a file, or as a WAV file to standard output."""
    if out != STANDARD_OUTPUT:
        speech.save(out)
        return
    from speechkit.core.audio import encode_audio

    with output.printing():
        sys.stdout.buffer.write(encode_audio(speech.wave_T, speech.sample_rate_hz, ".wav"))
        sys.stdout.buffer.flush()


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
        if sys.stdin is None:
            raise TextError("Standard input is closed: give the text with --text or --text-file.")
        try:
            return _decoded(sys.stdin.buffer, "Standard input")
        except OSError as error:
            raise TextError(f"Cannot read standard input: {error.strerror}.") from error
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


def check_corpus(path: Path) -> None:
    """Raise DataError where there is no packed corpus to read."""
    if not path.is_file():
        raise DataError(f"There is no packed corpus {path}: make one with speechkit prepare.")


def selection(args: argparse.Namespace) -> Selection:
    """The clips of a corpus that --languages, --sources and --splits choose, as far as given."""
    from speechkit.ssl.selection import Selection

    names = ("languages", "sources", "splits")
    return Selection(**{name: tuple(found) for name in names if (found := getattr(args, name, ()))})


def check_source(path: Path) -> None:
    """What can be told of a prompt or a saved voice without torch, which takes seconds to import.

    Raises AudioError or PromptError, each naming the file.
    """
    if not path.exists():
        raise AudioError(f"There is no prompt {path}: check the path.")
    if path.suffix.lower() != VOICE_SUFFIX:
        # Only now: this one imports numpy and the audio libraries.
        from speechkit.core.audio import audio_seconds, check_length, naming

        with naming(path):
            check_length(audio_seconds(path))


def read_source(path: Path, *, keep_pauses: bool = False) -> Prompt | Voice:
    """A prompt, made ready at the rate of our models, or a saved voice.

    `keep_pauses` as of `prepare_prompt`. Raises AudioError, PromptError or CheckpointError, each
    naming the file.
    """
    from speechkit.core.results import Voice

    if path.suffix.lower() == VOICE_SUFFIX and path.exists():
        return Voice.load(path)
    return read_prompt(path, keep_pauses=keep_pauses)


def read_prompt(path: Path, *, keep_pauses: bool = False) -> Prompt:
    """A recording of a voice, made ready at the rate of our models; errors as of `read_source`."""
    from speechkit.core import prompt

    if not path.exists():
        raise AudioError(f"There is no prompt {path}: check the path.")
    return prompt.read_prompt(path, keep_pauses=keep_pauses)


def load_tts(
    model: Path | None,
    lexicon: Mapping[str, tuple[str, ...]],
    *,
    device: str = "cpu",
    dtype: str = "auto",
) -> ZeroShotTTS:
    """The models, those of an ONNX export on onnxruntime; says so where weights are random.

    Raises CheckpointError or ConfigError for a folder that does not hold them, ConfigError for a
    device or number format that is not there.
    """
    from speechkit.tts import ZeroShotTTS

    tts = ZeroShotTTS.from_pretrained(model, lexicon=lexicon, device=device, dtype=dtype)
    if not tts.trained:
        output.warn_untrained(tts.weights)
    return tts


def make_voice(
    tts: ZeroShotTTS, path: Path, source: Prompt | Voice, transcript: tuple[str, ...] | None
) -> Voice:
    """The voice of what `read_source` read; `transcript` is the phones of a prompt.

    Raises PromptError, CheckpointError, ConfigError.
    """
    from speechkit.core.audio import naming
    from speechkit.core.results import Voice
    from speechkit.core.timebase import SAMPLE_RATE_HZ

    if not isinstance(source, Voice):
        if tts.sample_rate_hz != SAMPLE_RATE_HZ:
            # For models of another rate the file is read again.
            return tts.voice(path, transcript)
        with naming(path):
            return tts.voice(source, transcript)
    if transcript is not None:
        raise ConfigError(f"{path} is a saved voice: a transcript was of use when it was made.")
    source.check(tts.voice_sizes, name=str(path))
    return source
