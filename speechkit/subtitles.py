"""Subtitles of speech: words grouped into cues, as SubRip (.srt), WebVTT (.vtt) or JSON."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from speechkit.core.files import json_text
from speechkit.core.results import Speech, TimedLabel
from speechkit.text import is_boundary
from speechkit.text.vocab import MARKS

MAX_LINE_CHARACTERS = 42
"""Of one line of a cue, as broadcasters have it; a cue has two lines."""

MAX_CUE_SECONDS = 6.0
"""Longest cue."""

MIN_PAUSE_SECONDS = 0.8
"""A silence this long ends a cue."""


@dataclass(frozen=True, kw_only=True)
class Cue:
    """Words shown together."""

    text: str
    """One or two lines."""

    start_seconds: float
    """When it appears."""

    end_seconds: float
    """When it goes."""


def punctuated(speech: Speech) -> tuple[TimedLabel, ...]:
    """The words with the mark that follows each, as the phones have it ("world." and not "world").

    A long text is spoken in chunks; where one ends within a sentence there is no mark.
    """
    marks: list[str] = []
    for pause, run in groupby(speech.phones, key=is_boundary):
        if not pause:
            marks.append("")
        elif marks:
            marks[-1] = next((symbol for symbol in run if symbol in MARKS), "")
    return tuple(
        TimedLabel(
            label=word.label + (" -" if mark == "-" else mark),
            start_seconds=word.start_seconds,
            end_seconds=word.end_seconds,
        )
        for word, mark in zip(speech.words, marks, strict=True)
    )


def cues(speech: Speech) -> tuple[Cue, ...]:
    """The words in cues, which end with sentences and long silences where they can.

    A cue never has more than two lines, unless a single word does, and lasts at most 6 s.
    """
    made: list[Cue] = []
    held: list[TimedLabel] = []
    for word in punctuated(speech):
        if held and _ends_before(word, held):
            made.append(_cue(held))
            held = []
        held.append(word)
    return (*made, _cue(held)) if held else tuple(made)


def _ends_before(word: TimedLabel, held: Sequence[TimedLabel]) -> bool:
    """Whether a new cue starts with a word."""
    return (
        held[-1].label[-1] in ".?!"
        or word.start_seconds - held[-1].end_seconds >= MIN_PAUSE_SECONDS
        or word.end_seconds - held[0].start_seconds > MAX_CUE_SECONDS
        or len(_lines([*(kept.label for kept in held), word.label])) > 2
    )


def _lines(words: Sequence[str]) -> list[str]:
    """Words in lines as full as they may be."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + 1 + len(word) <= MAX_LINE_CHARACTERS:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _cue(words: Sequence[TimedLabel]) -> Cue:
    return Cue(
        text="\n".join(_lines([word.label for word in words])),
        start_seconds=words[0].start_seconds,
        end_seconds=words[-1].end_seconds,
    )


def srt(speech: Speech) -> str:
    """SubRip: numbered cues with times such as 00:00:01,250."""
    return "".join(
        f"{number}\n{_clock(cue.start_seconds, ',')} --> {_clock(cue.end_seconds, ',')}\n"
        f"{cue.text}\n\n"
        for number, cue in enumerate(cues(speech), start=1)
    )


def vtt(speech: Speech) -> str:
    """WebVTT (W3C): a header, and cues with times such as 00:00:01.250."""
    return "WEBVTT\n\n" + "".join(
        f"{_clock(cue.start_seconds, '.')} --> {_clock(cue.end_seconds, '.')}\n"
        f"{html.escape(cue.text, quote=False)}\n\n"
        for cue in cues(speech)
    )


def words_json(speech: Speech) -> str:
    """The words and their times in seconds as a JSON object."""
    return json_text({"seconds": round(speech.seconds, 3), "words": timed_words(speech.words)})


def timed_words(words: Sequence[TimedLabel]) -> list[dict[str, str | float]]:
    """Words as plain JSON values, in seconds to the millisecond."""
    return [
        {
            "word": word.label,
            "start": round(word.start_seconds, 3),
            "end": round(word.end_seconds, 3),
        }
        for word in words
    ]


def _clock(seconds: float, point: str) -> str:
    """Hours, minutes, seconds and milliseconds."""
    whole, milliseconds = divmod(round(1000 * seconds), 1000)
    minutes, rest = divmod(whole, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}{point}{milliseconds:03d}"
