"""`say --batch`: many texts from a table, spoken together; what is there already is kept."""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechkit.cli import arguments, inputs, output
from speechkit.cli.output import Outcome
from speechkit.core.errors import ConfigError, SpeechkitError

if TYPE_CHECKING:
    from speechkit.core.results import Voice
    from speechkit.text.turns import Script
    from speechkit.tts import ZeroShotTTS

COLUMNS = ("text", "voice", "prompt", "out", "seed")
SUFFIXES = (".csv", ".jsonl")
AT_ONCE = 32
"""Items that are spoken and then written together: what an interruption costs."""
SOME_FAILED = 1
"""Exit code when items failed and the others were spoken."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """A line of the table."""

    number: int
    """Line, counted from 1; the header of a CSV does not count."""
    text: str
    """What to say."""
    voice: Path
    """A recording or a saved voice."""
    out: Path
    """Where it goes."""
    seed: int
    """All draws follow from it."""


@dataclass(kw_only=True)
class _Done:
    """What became of the items."""

    made: list[Item] = field(default_factory=list)
    failed: list[tuple[Item, str]] = field(default_factory=list)
    seconds: float = 0.0

    def fail(self, item: Item, error: Exception) -> None:
        self.failed.append((item, str(error)))
        output.fail(f"line {item.number} ({item.out.name}): {error}")


def read_items(table: Path, folder: Path, prompt: Path | None, seed: int) -> list[Item]:
    """The lines of a CSV or JSON-lines table.

    Voices are found beside the table, outputs go into `folder`; a line without `voice` or `prompt`
    has the voice `prompt`, one without `out` the name of its number, one without `seed` the seed
    given. Raises ConfigError for a table with a fault, naming the line, and TextError for one that
    cannot be read.
    """
    if table.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{table} must end in {' or '.join(SUFFIXES)}.")
    rows = list(_rows(table))
    if not rows:
        raise ConfigError(f"{table} has no lines: give at least one text.")
    items = [_item(row, number, table, folder, prompt, seed) for number, row in rows]
    taken: dict[Path, int] = {}
    for item in items:
        other = taken.setdefault(item.out.resolve(), item.number)
        if other != item.number:
            raise ConfigError(f"Lines {other} and {item.number} of {table} both write {item.out}.")
        if item.out.exists() and item.voice.exists() and item.out.samefile(item.voice):
            raise ConfigError(f"Line {item.number} of {table} would overwrite its voice.")
    return items


def _rows(table: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Lines of the table by number; empty ones are left out."""
    text = inputs.read_text(None, table)
    if table.suffix.lower() == ".csv":
        for number, row in enumerate(csv.DictReader(io.StringIO(text, newline="")), start=1):
            if None in row or None in row.values():
                raise ConfigError(f"Line {number} of {table} has not as many cells as its header.")
            yield number, row
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ConfigError(f"Line {number} of {table} is no JSON object.")
        yield number, found


def _item(
    row: Mapping[str, Any],
    number: int,
    table: Path,
    folder: Path,
    prompt: Path | None,
    seed: int,
) -> Item:
    where = f"Line {number} of {table}"
    unknown = set(row) - set(COLUMNS)
    if unknown:
        raise ConfigError(
            f"{where} has the column {sorted(unknown)[0]!r}: there are {', '.join(COLUMNS)}."
        )
    cells = {name: str(value).strip() for name, value in row.items() if value is not None}
    if not cells.get("text"):
        raise ConfigError(f"{where} has no text.")
    named = cells.get("voice") or cells.get("prompt")
    if cells.get("voice") and cells.get("prompt"):
        raise ConfigError(f"{where} has a voice and a prompt: give one of them.")
    if not named and prompt is None:
        raise ConfigError(f"{where} has no voice: name one there, or give --prompt for all.")
    out = folder / (cells.get("out") or f"{number:05d}.wav")
    if not out.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(f"{where} writes {out}, outside of {folder}: give a name inside it.")
    inputs.check_suffix(out, inputs.AUDIO_SUFFIXES)
    try:
        own_seed = arguments.whole_number(0, arguments.MAX_SEED)(cells.get("seed") or str(seed))
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f"{where}: the seed {error}.") from error
    voice = table.parent / named if named else prompt
    assert voice is not None
    return Item(number=number, text=cells["text"], voice=voice, out=out, seed=own_seed)


def say_batch(args: argparse.Namespace) -> Outcome:
    """Speak what is not there yet; the fault of an item is told and the others go on."""
    if args.out.exists() and not args.out.is_dir():
        raise ConfigError(f"The output {args.out} is a file: --batch writes into a folder.")
    items = read_items(args.batch, args.out, args.prompt, args.seed)
    waiting = [item for item in items if args.overwrite or not item.out.exists()]
    lexicon = inputs.read_lexicon(args.lexicon)
    arguments.use_threads(args.threads)
    tts = inputs.load_tts(args.model, lexicon, device=args.device, dtype=args.dtype)
    done = _Done()
    ready = _ready(tts, waiting, done)
    for start in range(0, len(ready), AT_ONCE):
        _speak(args, tts, ready[start : start + AT_ONCE], done, len(waiting))
    kept = len(items) - len(waiting)
    spoken = f"{len(done.made)} spoken, {done.seconds:.1f} s"
    told = output.tally(f"{args.out}: {spoken}", kept, len(done.failed))
    return Outcome(
        text=told,
        data={
            "out": str(args.out),
            "files": [str(item.out) for item in done.made],
            "kept": kept,
            "failed": [{"line": i.number, "error": reason} for i, reason in done.failed],
            "seconds": done.seconds,
            "weights": tts.weights,
            "trained": tts.trained,
        },
        exit_code=SOME_FAILED if done.failed else 0,
    )


_Ready = tuple["Item", "Script", "Voice"]


def _ready(tts: ZeroShotTTS, items: Sequence[Item], done: _Done) -> list[_Ready]:
    """Items with their phones and voices, each voice read once; those with a fault are told."""
    from speechkit.text.turns import write_script

    voices: dict[Path, Voice | SpeechkitError] = {}
    ready = []
    for item in items:
        try:
            script = write_script(item.text, tts.frontend)
            if item.voice not in voices:
                try:
                    source = inputs.read_source(item.voice)
                    voices[item.voice] = inputs.make_voice(tts, item.voice, source, None)
                except SpeechkitError as error:
                    voices[item.voice] = error
            voice = voices[item.voice]
            if isinstance(voice, SpeechkitError):
                raise voice
        except SpeechkitError as error:
            done.fail(item, error)
        else:
            ready.append((item, script, voice))
    return ready


def _speak(
    args: argparse.Namespace,
    tts: ZeroShotTTS,
    ready: Sequence[_Ready],
    done: _Done,
    total: int,
) -> None:
    """Speak some items together, and write them."""
    spoken = tts.synthesize_batch(
        [script for _, script, _ in ready],
        [voice for _, _, voice in ready],
        seeds=[item.seed for item, _, _ in ready],
        speed=args.speed,
        steps=args.steps,
        candidates=args.candidates,
        watermark=arguments.watermark(args),
    )
    for (item, _, _), speech in zip(ready, spoken, strict=True):
        try:
            item.out.parent.mkdir(parents=True, exist_ok=True)
            speech.save(item.out)
        except (SpeechkitError, OSError) as error:
            done.fail(item, error)
            continue
        done.made.append(item)
        done.seconds += speech.seconds
        number = len(done.made) + len(done.failed)
        output.say_aside("spoken", f"{number} of {total}: {item.out} ({speech.seconds:.1f} s)")
