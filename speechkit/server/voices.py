"""Voices by name: those that come with the package, and those that were uploaded.

A name never becomes part of a path unless it matches `NAME`.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechkit.core.errors import CheckpointError, ConfigError, SpeechkitError
from speechkit.core.results import Voice
from speechkit.tts import ZeroShotTTS
from speechkit.voices import bundled_voices

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
SUFFIX = ".safetensors"
OPENAI_NAMES = (
    *("alloy", "ash", "ballad", "coral", "echo", "fable", "onyx", "nova", "sage", "shimmer"),
    *("verse", "marin", "cedar"),
)
"""Voices that OpenAI's clients ask for; each is one of ours."""


class VoiceError(SpeechkitError):
    """There is no such voice, or it cannot be made or removed."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status of the answer."""


@dataclass(kw_only=True)
class Entry:
    """One voice."""

    name: str
    """What clients call it."""

    recording: Path | None = None
    """Where it is taken from when it is first needed."""

    voice: Voice | None = None
    """The voice, once it is known."""

    created: int = 0
    """When, as a Unix time in seconds."""

    bundled: bool = False
    """Whether it came with the package."""

    @property
    def id(self) -> str:
        """The same for the same name, in the shape that OpenAI's ids have."""
        return f"voice_{hashlib.sha256(self.name.encode()).hexdigest()[:16]}"

    def to_json(self) -> dict[str, Any]:
        """As OpenAI's API tells it."""
        return {
            "object": "audio.voice",
            "id": self.id,
            "name": self.name,
            "created_at": self.created,
            "type": "audio_sample",
            "bundled": self.bundled,
        }


def bundled_recordings() -> dict[str, Path]:
    """The recordings of the bundled voices by name."""
    return {voice.name: voice.path for voice in bundled_voices()}


class VoiceStore:
    """All voices of a server; every method may be called from any thread."""

    def __init__(
        self,
        tts: ZeroShotTTS,
        folder: Path | None,
        max_voices: int,
        bundled: Mapping[str, Path] | None = None,
    ) -> None:
        """Find the bundled voices and those in the folder.

        Raises ConfigError for a folder that is none, CheckpointError for a bad voice in it.
        """
        self._tts, self._folder, self._max_voices = tts, folder, max_voices
        self._lock = threading.Lock()
        recordings = bundled_recordings() if bundled is None else bundled
        self._entries = {
            name: Entry(name=name, recording=path, bundled=True)
            for name, path in recordings.items()
        }
        if folder is not None:
            self._load(folder)

    def _load(self, folder: Path) -> None:
        """Take in the saved voices of a folder."""
        if not folder.is_dir():
            raise ConfigError(f"There is no folder {folder} for voices: make it first.")
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            if not NAME.fullmatch(path.stem) or path.stem in self._entries:
                raise ConfigError(
                    f"{path} cannot be a voice of that name: rename it, in small letters, digits, "
                    "- and _, and not to the name of a bundled voice."
                )
            voice = Voice.load(path)
            voice.check(self._tts.voice_sizes, name=str(path))
            created = int(path.stat().st_mtime)
            self._entries[path.stem] = Entry(name=path.stem, voice=voice, created=created)

    def entries(self) -> list[Entry]:
        """All voices."""
        with self._lock:
            return list(self._entries.values())

    def names(self) -> list[str]:
        """What may be asked for, without OpenAI's names."""
        return [entry.name for entry in self.entries()]

    def find(self, name: str) -> Entry:
        """The voice of a name or id, or of one of OpenAI's names; raises VoiceError."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is None:
                entry = next((e for e in self._entries.values() if e.id == name), None)
            if entry is None and name in OPENAI_NAMES and self._entries:
                names = list(self._entries)
                entry = self._entries[names[OPENAI_NAMES.index(name) % len(names)]]
        if entry is None:
            shown = ascii(name[:40])
            raise VoiceError(f"There is no voice {shown}: GET /v1/audio/voices lists them.", 404)
        return entry

    def voice(self, name: str) -> Voice:
        """The voice itself, taken from its recording the first time; in the worker's thread."""
        entry = self.find(name)
        if entry.voice is None:
            if entry.recording is None:
                raise VoiceError(f"The voice {entry.name} was removed.", 404)
            entry.voice = self._tts.voice(entry.recording)
        return entry.voice

    def check_new(self, name: str) -> None:
        """Raise VoiceError unless a voice of this name can be added."""
        if not NAME.fullmatch(name):
            raise VoiceError(
                f"A voice cannot be called {ascii(name[:40])}: use 1 to 40 small letters, digits, "
                "- and _."
            )
        with self._lock:
            if name in self._entries or name in OPENAI_NAMES:
                raise VoiceError(
                    f"There is a voice {name} already: remove it or take another name."
                )
            if sum(not entry.bundled for entry in self._entries.values()) >= self._max_voices:
                raise VoiceError(f"There are {self._max_voices} voices, the limit: remove one.")

    def add(self, name: str, voice: Voice) -> Entry:
        """Keep a new voice, in the folder where there is one; raises VoiceError."""
        self.check_new(name)
        if self._folder is not None:
            try:
                voice.save(self._folder / f"{name}{SUFFIX}")
            except OSError as error:
                raise CheckpointError("The voice cannot be stored on the server.") from error
        entry = Entry(name=name, voice=voice, created=int(time.time()))
        with self._lock:
            self._entries[name] = entry
        return entry

    def remove(self, name: str) -> Entry:
        """Forget an uploaded voice, and its file; raises VoiceError."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is None:
                entry = next((e for e in self._entries.values() if e.id == name), None)
            if entry is None:
                raise VoiceError(f"There is no voice {ascii(name[:40])}.", 404)
            if entry.bundled:
                raise VoiceError(f"The voice {entry.name} came with the server and stays.")
            del self._entries[entry.name]
        if self._folder is not None:
            (self._folder / f"{entry.name}{SUFFIX}").unlink(missing_ok=True)
        return entry
