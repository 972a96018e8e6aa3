"""Reading a prompt: its codes, its timbre, and which phone each frame is.

Shapes: T samples, F frames, P phones.
"""

from __future__ import annotations

import stat
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from speechkit.core.errors import PromptError
from speechkit.core.results import DurationPrompt, PromptCodes, Voice
from speechkit.diffusion.duration import fit_frames, merge_repeats, regulate_length
from speechkit.facodec.codec import Codec, codes_sign
from speechkit.facodec.recognition import bundled_reader, recognise
from speechkit.text.vocab import WORD_BOUNDARY, PhoneVocabulary

REMEMBERED = 16
"""Files whose voices are remembered."""


class VoiceFiles:
    """The voices of the files that were read last, until a file changes; safe in threads."""

    def __init__(self) -> None:
        self._voices: OrderedDict[tuple[object, ...], Voice] = OrderedDict()
        self._lock = threading.Lock()

    def voice(self, path: Path, phones: tuple[str, ...] | None, read: Callable[[], Voice]) -> Voice:
        """The voice of a file that says `phones`, from `read` unless it is known."""
        try:
            facts = path.stat()
        except (OSError, ValueError):
            return read()  # which says what is wrong
        if not stat.S_ISREG(facts.st_mode):
            return read()
        key = (path.resolve(), facts.st_mtime_ns, facts.st_size, phones)
        with self._lock:
            known = self._voices.get(key)
        voice = known or read()
        with self._lock:
            self._voices[key] = voice
            self._voices.move_to_end(key)
            while len(self._voices) > REMEMBERED:
                self._voices.popitem(last=False)
        return voice


def read_voice(
    codec: Codec,
    vocabulary: PhoneVocabulary,
    wave_T: Tensor,
    phones: tuple[str, ...] | None = None,
) -> Voice:
    """A voice with all attributes from one recording.

    Without `phones` they are recognised; with them their times are found by the bundled aligner.
    Raises PromptError when the recording cannot hold the phones, or holds no speech.
    """
    encoded, timbre_D = codec.encode(wave_T)
    codes = encoded.to("cpu")
    if phones is None:
        rhythm = DurationPrompt(**_runs(recognise(codec, encoded, wave_T, vocabulary).cpu()))
    else:
        rhythm = force(wave_T, vocabulary, phones, codes.frames)
    pause = vocabulary.ids([WORD_BOUNDARY])[0]
    if bool((rhythm.phones_P == pause).all()):
        raise PromptError("No speech was found in the prompt: give a clear recording of a voice.")
    attribute = PromptCodes(
        codes_KF=codes.stacked(), phone_F=regulate_length(rhythm.phones_P, rhythm.frames_P)
    )
    return Voice(
        timbre_D=codec.quiet(timbre_D).cpu(),
        duration=rhythm,
        prosody=attribute,
        content=attribute,
        detail=attribute,
        codes=codes_sign(codec),
    )


def _runs(phone_F: Tensor) -> dict[str, Tensor]:
    phones_P, frames_P = merge_repeats(phone_F)
    return {"phones_P": phones_P, "frames_P": frames_P}


def force(
    wave_T: Tensor, vocabulary: PhoneVocabulary, phones: tuple[str, ...], frames: int
) -> DurationPrompt:
    """Durations of given phones, `frames` in all; raises PromptError if they do not fit."""
    aligned = bundled_reader().align(wave_T, phones)
    if aligned is None:
        raise PromptError(
            "The transcript is too long for the prompt: check that it says what was spoken."
        )
    return DurationPrompt(
        phones_P=torch.tensor(vocabulary.ids(phones)),
        frames_P=fit_frames(aligned.frames_P, frames),
    )
