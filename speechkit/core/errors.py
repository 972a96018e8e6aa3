"""The errors a user may see: each message is a plain sentence that says what to do."""

from __future__ import annotations

from collections.abc import Sequence


def listed(names: Sequence[str], most: int = 5, between: str = ", ") -> str:
    """The first few names, and how many more there are."""
    more = len(names) - most
    shown = between.join(names[:most])
    return f"{shown}{between.replace(',', '')}and {more} more" if more > 0 else shown


class SpeechkitError(Exception):
    """Base of all errors that come from what was asked for, not from a fault in the program."""

    exit_code: int = 2
    """What a command-line program returns to the shell when this error ends it."""


class AudioError(SpeechkitError):
    """An audio file or waveform cannot be read, used or written."""


class PromptError(SpeechkitError):
    """A voice prompt is unusable: silent or too short."""


class StreamError(SpeechkitError):
    """Standard input or output is closed, or refuses what is written."""


class TextError(SpeechkitError):
    """A text cannot be spoken: empty, too long, or with inline phones that do not exist."""


class CheckpointError(SpeechkitError):
    """A model folder is missing, damaged, unsafe, or does not fit the model."""


class ConfigError(SpeechkitError):
    """A configuration has an unknown key, a value of the wrong type, or one out of range."""


class DataError(SpeechkitError):
    """A corpus or a file prepared from one is missing, damaged, or does not fit."""


class MissingPackageError(SpeechkitError):
    """What was asked for needs a package that an extra of speechkit would have brought."""


class CodecFileError(SpeechkitError):
    """A codec file is damaged, is none, or was made with another codec."""
