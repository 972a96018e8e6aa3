"""What a script says besides its words: pauses, several voices, SSML.

A script becomes parts, in order: `Line`s that somebody says and `Pause`s. Plain text may hold
`[pause 0.5s]`; a text that starts with `<speak>` is SSML, of which a safe subset is read (W3C
Speech Synthesis Markup Language 1.1); a dialogue gives each line to a named voice.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from xml.parsers import expat

from speechkit.core.errors import TextError

MAX_PAUSE_SECONDS = 10.0
"""Longest single pause."""

MAX_PAUSES_SECONDS = 300.0
"""Longest sum of all pauses of a script."""

PAUSE_SECONDS = 0.5
"""Of `[pause]` without a time."""

TURN_SECONDS = 0.3
"""Between two speakers of a dialogue."""

PARAGRAPH_SECONDS = 0.5
"""Between two SSML `<p>`."""

MIN_SPEED, MAX_SPEED = 0.25, 4.0
_STRENGTHS = {
    "none": 0.0,
    "x-weak": 0.1,
    "weak": 0.2,
    "medium": 0.4,
    "strong": 0.8,
    "x-strong": 1.2,
}
_RATES = {"x-slow": 0.5, "slow": 0.75, "medium": 1.0, "default": 1.0, "fast": 1.25, "x-fast": 1.5}
_TAGS = ("speak", "p", "s", "break", "sub", "say-as", "phoneme", "voice", "prosody")
_SPELLED = frozenset(("characters", "spell-out", "verbatim", "digits", "telephone"))
_READ_ANYWAY = frozenset(
    ("cardinal", "number", "date", "time", "currency", "unit", "fraction", "address", "name")
)
"""Kinds of `say-as` that the normaliser recognises by itself."""
_MAX_DEPTH = 32

_PAUSE_TAG = re.compile(r"(?<!\[)\[\s*pause\b([^\[\]\n]{0,40})\](?!\])", re.IGNORECASE)
_NOTHING_SAID = re.compile("[\\s.,;:!?\u2026\u2013\u2014-]*")
_TIME = re.compile(r"\+?(\d{1,6}(?:\.\d{0,6})?|\.\d{1,6})\s*(ms|s)?", re.IGNORECASE)
_SSML = re.compile(r"\s*(?:<\?xml\b[^<>]{0,200}\?>\s*)?<speak\b")
_SPEAKER = re.compile(r"\s*([^\W\d_][\w .'-]{0,39}?)\s*:\s*(.*)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Line:
    """Something that is said without a pause of the script's own."""

    text: str
    """What is said."""

    voice: str = ""
    """Name of the voice that says it; empty is the voice of the whole."""

    speed: float = 1.0
    """Speaking rate, on top of that of the whole."""


@dataclass(frozen=True, kw_only=True)
class Pause:
    """Silence between two lines."""

    seconds: float
    """How long it lasts."""


Part = Line | Pause


def read_script(text: str) -> tuple[Part, ...]:
    """The parts of a plain text with pause tags, or of SSML.

    Raises TextError for a pause that is too long or has no time, and for SSML that is damaged or
    uses what is not supported here.

    Example:
        >>> read_script("Ready? [pause 0.5s] Go.")
    """
    parts = _Ssml().read(text) if _SSML.match(text) else _with_pauses(text)
    return _tidy(parts)


def read_dialogue(text: str, voices: Collection[str]) -> tuple[Part, ...]:
    """The parts of a dialogue: lines such as `ANNA: Hello.`, for each of the named `voices`.

    Case does not matter in names. A line without a name goes on with the speaker before; a line
    that starts with `#` is a comment. Pause tags work; between two speakers there is a short pause.
    Raises TextError for a line that nobody says and for a speaker in capitals who has no voice.
    """
    known = {name.casefold(): name for name in voices}
    parts: list[Part] = []
    speaker = ""
    for number, row in enumerate(text.splitlines(), start=1):
        if not row.strip() or row.lstrip().startswith("#"):
            continue
        match = _SPEAKER.fullmatch(row)
        named = known.get(match[1].casefold()) if match else None
        if match and named is None and match[1].isupper():
            raise TextError(f"Line {number}: {_no_voice(match[1], voices)}")
        if match and named is not None:
            if speaker and named != speaker:
                parts.append(Pause(seconds=TURN_SECONDS))
            speaker, row = named, match[2]
        if not speaker:
            raise TextError(
                f"Line {number} has no speaker: start it with a name and a colon, such as "
                f"{next(iter(voices), 'ANNA')}: Hello."
            )
        said = _with_pauses(row)
        parts += [replace(p, voice=speaker) if isinstance(p, Line) else p for p in said]
    return _tidy(parts)


def check_voices(parts: Iterable[Part], voices: Collection[str]) -> None:
    """Raise TextError unless every voice that a script names is one of `voices`."""
    for part in parts:
        if isinstance(part, Line) and part.voice and part.voice not in voices:
            raise TextError(_no_voice(part.voice, voices))


def _no_voice(name: str, voices: Collection[str]) -> str:
    """That there is no such voice, and which there are."""
    close = get_close_matches(name, voices, n=1)
    listed = f"did you mean {close[0]}" if close else f"there are {', '.join(voices) or 'none'}"
    return f"There is no voice {name[:40]!r} ({listed})."


def _with_pauses(text: str) -> list[Part]:
    """A text cut at its pause tags."""
    parts: list[Part] = []
    end = 0
    for match in _PAUSE_TAG.finditer(text):
        parts.append(Line(text=text[end : match.start()]))
        time = match[1].strip()
        parts.append(Pause(seconds=_seconds(time, match.group()) if time else PAUSE_SECONDS))
        end = match.end()
    parts.append(Line(text=text[end:]))
    return parts


def _seconds(time: str, tag: str) -> float:
    """A time such as 0.5s or 500ms; a bare number is seconds."""
    match = _TIME.fullmatch(time.strip())
    if not match:
        raise TextError(f"{tag[:60]} has no time that can be read: write 0.5s or 500ms.")
    seconds = float(match[1]) / (1000 if (match[2] or "s").lower() == "ms" else 1)
    if seconds > MAX_PAUSE_SECONDS:
        raise TextError(f"{tag[:60]} is too long: a pause lasts at most {MAX_PAUSE_SECONDS:g} s.")
    return seconds


def _tidy(parts: Iterable[Part]) -> tuple[Part, ...]:
    """The parts without empty ones; marks that a pause cut off go back to their line.

    Raises TextError where nothing is said, or the pauses sum to too much.
    """
    kept: list[Part] = []
    said: int | None = None
    for part in parts:
        if isinstance(part, Pause):
            if part.seconds > 0:
                kept.append(part)
        elif _NOTHING_SAID.fullmatch(part.text) is None:
            before = kept[-1] if kept else None
            if isinstance(before, Line) and replace(before, text=part.text) == part:
                kept[-1] = replace(before, text=f"{before.text} {part.text}")
            else:
                said = len(kept)
                kept.append(part)
        elif part.text.strip() and said is not None:
            before = kept[said]
            if isinstance(before, Line) and before.voice == part.voice:
                kept[said] = replace(before, text=before.text.rstrip() + part.text.strip())
    if said is None:
        raise TextError("The text is empty: give at least one word.")
    total = sum(part.seconds for part in kept if isinstance(part, Pause))
    if total > MAX_PAUSES_SECONDS:
        raise TextError(
            f"The pauses sum to {total:.0f} s: the limit is {MAX_PAUSES_SECONDS:g} s a text."
        )
    return tuple(kept)


class _Ssml:
    """Reads SSML with expat's own callbacks: no tree, no entity that the text declares."""

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._text: list[str] = []
        self._open: list[tuple[str, dict[str, str]]] = []
        self._voice, self._speed = [""], [1.0]
        self._after_paragraph = False

    def read(self, text: str) -> list[Part]:
        """The parts of a document."""
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text.append
        # Without a document type nothing can be declared that grows or reads a file.
        parser.StartDoctypeDeclHandler = _refuse_doctype
        try:
            parser.Parse(text.strip(), True)
        except expat.ExpatError as error:
            reason = expat.ErrorString(error.code)
            raise TextError(
                f"The SSML is damaged at line {error.lineno}, column {error.offset}: {reason}. "
                "Write & as &amp; and < as &lt;."
            ) from error
        except UnicodeEncodeError as error:
            raise TextError("The SSML is not valid Unicode: type it again.") from error
        return self._parts

    def _flush(self) -> None:
        """What was written up to here becomes a line, or several around pause tags."""
        text = "".join(self._text)
        self._text.clear()
        if not text.strip():
            return
        if self._after_paragraph:
            self._parts.append(Pause(seconds=PARAGRAPH_SECONDS))
            self._after_paragraph = False
        for part in _with_pauses(text):
            if isinstance(part, Line):
                part = replace(part, voice=self._voice[-1], speed=self._speed[-1])
            self._parts.append(part)

    def _start(self, name: str, given: dict[str, str]) -> None:
        """A tag opens."""
        if name not in _TAGS:
            raise TextError(
                f"<{name[:30]}> is not supported: use {', '.join(f'<{tag}>' for tag in _TAGS)}."
            )
        if len(self._open) >= _MAX_DEPTH:
            raise TextError(f"The SSML is nested deeper than {_MAX_DEPTH} tags: flatten it.")
        if self._open and self._open[-1][0] in ("sub", "say-as", "phoneme", "break"):
            raise TextError(f"<{self._open[-1][0]}> holds text alone, not <{name}>.")
        self._open.append((name, given))
        if name == "break":
            self._flush()
            self._parts.append(Pause(seconds=_break_seconds(given)))
        elif name == "voice":
            self._flush()
            self._voice.append(_required(name, given, "name"))
        elif name == "prosody":
            self._flush()
            self._speed.append(self._speed[-1] * _rate(given))
            if not MIN_SPEED <= self._speed[-1] <= MAX_SPEED:
                raise TextError(
                    f"Rates of nested <prosody> multiply to {self._speed[-1]:g}: keep it between "
                    f"{MIN_SPEED:g} and {MAX_SPEED:g}."
                )
        elif name == "p":
            self._flush()
        elif name in ("sub", "say-as", "phoneme"):
            # What stands inside is told from what stood before.
            self._text.append("\0")

    def _end(self, name: str) -> None:
        """A tag closes."""
        _, given = self._open.pop()
        if name in ("sub", "say-as", "phoneme"):
            whole = "".join(self._text)
            before, _, inside = whole.rpartition("\0")
            self._text[:] = [before, _replacement(name, given, inside)]
        elif name in ("s", "p"):
            self._text[:] = [_ended("".join(self._text))]
            if name == "p":
                self._flush()
                self._after_paragraph = True
        elif name in ("voice", "prosody"):
            self._flush()
            (self._voice if name == "voice" else self._speed).pop()
        elif name == "speak":
            self._flush()


def _refuse_doctype(*_: object) -> None:
    """No document type."""
    raise TextError("SSML with a <!DOCTYPE> is not read: leave it out.")


def _required(tag: str, given: dict[str, str], name: str) -> str:
    """An attribute that a tag must have."""
    value = given.get(name, "").strip()
    if not value:
        raise TextError(f'<{tag}> needs {name}="…".')
    return value


def _break_seconds(given: dict[str, str]) -> float:
    """How long a `<break>` lasts."""
    if "time" in given:
        return _seconds(given["time"], f'<break time="{given["time"]}">')
    strength = given.get("strength", "medium")
    if strength not in _STRENGTHS:
        raise TextError(f"<break strength={strength[:20]!r}>: use one of {', '.join(_STRENGTHS)}.")
    return _STRENGTHS[strength]


def _rate(given: dict[str, str]) -> float:
    """The speaking rate of `<prosody>`."""
    other = sorted(set(given) - {"rate"})
    if other:
        raise TextError(f"<prosody {other[0][:20]}> is not supported: rate alone is.")
    rate = _required("prosody", given, "rate")
    if rate in _RATES:
        return _RATES[rate]
    match = re.fullmatch(r"([+-]?)(\d{1,4}(?:\.\d{1,4})?)(%?)", rate)
    if match:
        value = float(match[2]) / (100 if match[3] else 1)
        value = 1 + value * (1 if match[1] == "+" else -1) if match[1] else value
        if MIN_SPEED <= value <= MAX_SPEED:
            return value
    raise TextError(f"<prosody rate={rate[:20]!r}>: use {', '.join(_RATES)}, or 25% to 400%.")


def _replacement(name: str, given: dict[str, str], inside: str) -> str:
    """What is read in place of the text inside `<sub>`, `<say-as>` or `<phoneme>`."""
    if name == "sub":
        return _required(name, given, "alias")
    if name == "phoneme":
        alphabet = given.get("alphabet", "ipa").lower()
        phones = _required(name, given, "ph")
        if alphabet not in ("x-arpabet", "arpabet", "x-cmu"):
            raise TextError(
                f"<phoneme alphabet={alphabet[:20]!r}> is not supported: write ARPAbet, such as "
                '<phoneme alphabet="x-arpabet" ph="HH AH0 L OW1">.'
            )
        if not re.fullmatch(r"[A-Za-z0-9 ]+", phones):
            raise TextError(f"<phoneme ph={phones[:30]!r}> is not ARPAbet: write HH AH0 L OW1.")
        return f" [[{phones}]] "
    kind = _required(name, given, "interpret-as").lower()
    if kind in _SPELLED:
        return f" {' '.join(''.join(inside.upper().split()))} "
    if kind == "ordinal":
        return re.sub(r"\d+(?![\d.]|st|nd|rd|th)", lambda m: m[0] + _suffix(int(m[0][-2:])), inside)
    if kind in _READ_ANYWAY:
        return inside
    kinds = ", ".join(sorted(_SPELLED | _READ_ANYWAY | {"ordinal"}))
    raise TextError(f"<say-as interpret-as={kind[:20]!r}> is not supported: use one of {kinds}.")


def _suffix(number: int) -> str:
    """The ending of an ordinal with these last two digits."""
    if number in (11, 12, 13):
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")


def _ended(text: str) -> str:
    """A sentence with a mark at its end."""
    plain = text.rstrip()
    return plain + " " if not plain or plain[-1] in ".!?;:,\u2026-" else plain + ". "
