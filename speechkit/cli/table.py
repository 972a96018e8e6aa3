"""`say --csv`: a table of texts, each into a file of its own."""

from __future__ import annotations

import argparse
import csv
import io
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechkit.cli import arguments, inputs, output, script
from speechkit.cli.output import Outcome
from speechkit.core.errors import ConfigError, SpeechkitError, TextError

if TYPE_CHECKING:
    from speechkit.text import TextFrontend
    from speechkit.text.script import Pause
    from speechkit.text.turns import Turn

COLUMNS = ("text", "file", "voice", "seed", "speed")
MAX_ROWS = 10_000


@dataclass(frozen=True, kw_only=True)
class Row:
    """One text of the table."""

    out: Path
    """File that it is spoken into."""

    turns: tuple[Turn | Pause, ...]
    """What is said."""

    voice: str
    """Name of its voice; empty is that of --prompt."""

    seed: int
    speed: float


def add_csv(parser: arguments.Parser, text: argparse._MutuallyExclusiveGroup) -> None:
    """Add --csv to the group of texts, and --overwrite."""
    text.add_argument(
        "--csv",
        type=Path,
        metavar="FILE",
        help=f"a table with a header, of the columns {', '.join(COLUMNS)}, of which text must be "
        "there: each row becomes a file in the folder --out",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="with --csv: speak again what is there already"
    )


def read_table(path: Path, folder: Path) -> list[dict[str, str]]:
    """The rows as texts by column, each with its `file`; raises TextError naming the row."""
    reader = csv.DictReader(io.StringIO(inputs.read_text(None, path), newline=""), strict=True)
    rows: list[dict[str, str]] = []
    taken: set[str] = set()
    try:
        header = reader.fieldnames or []
        unknown = [name for name in header if name not in COLUMNS]
        if "text" not in header or unknown or len(set(header)) < len(header):
            raise TextError(
                f"{path} must start with a line of column names, text among them: "
                f"{', '.join(COLUMNS)} (it has {', '.join(header)[:80] or 'none'})."
            )
        for number, row in enumerate(reader, start=1):
            if number > MAX_ROWS:
                raise TextError(f"{path} has more than {MAX_ROWS} rows: split it.")
            if None in row or None in row.values():
                raise TextError(f"{path}, row {number}: quote texts that hold a comma.")
            name = row.get("file") or f"{number:05d}.wav"
            if Path(name).name != name or "\\" in name or name.startswith("."):
                raise TextError(f"{path}, row {number}: file must be a name, not a path.")
            if name.casefold() in taken:
                raise TextError(f"{path}, row {number}: the file {name} comes twice.")
            taken.add(name.casefold())
            inputs.check_suffix(folder / name, inputs.AUDIO_SUFFIXES)
            rows.append({**row, "file": name})
    except csv.Error as error:
        raise TextError(f"{path}, line {reader.line_num}: {error}.") from error
    if not rows:
        raise TextError(f"{path} has no rows: give at least one text.")
    return rows


def _plan(
    args: argparse.Namespace, named: Mapping[str, Path], frontend: TextFrontend
) -> tuple[list[Row], list[Path]]:
    """What is to be spoken, and the files that are there already."""
    from speechkit.text.script import check_voices, read_script
    from speechkit.text.turns import write_turns

    rows: list[Row] = []
    kept: list[Path] = []
    for number, cells in enumerate(read_table(args.csv, args.out), start=1):
        out = args.out / cells["file"]
        if out.exists() and not args.overwrite:
            kept.append(out)
            continue
        try:
            voice = cells.get("voice") or ""
            if voice not in named and (voice or args.prompt is None):
                raise TextError(f"there is no voice {voice!r}: give --voice {voice or 'NAME'}=FILE")
            parts = read_script(cells["text"])
            check_voices(parts, tuple(named))
            seed = arguments.whole_number(0, arguments.MAX_SEED)(
                cells.get("seed") or str(args.seed)
            )
            speed = arguments.number(0.25, 4.0)(cells.get("speed") or str(args.speed))
            turns = write_turns(parts, frontend)
        except (SpeechkitError, argparse.ArgumentTypeError) as error:
            raise TextError(f"{args.csv}, row {number}: {error}") from error
        rows.append(Row(out=out, turns=turns, voice=voice, seed=seed, speed=speed))
    return rows, kept


def speak_table(args: argparse.Namespace) -> Outcome:
    """Check the whole table, load the models, speak row by row."""
    if not args.out.is_dir():
        raise ConfigError(
            f"There is no folder {args.out}: make it first (--csv writes many files)."
        )
    for name in script.SUBTITLES:
        if getattr(args, name) is not None:
            raise ConfigError(f"--{name} is for one text: leave it out with --csv.")
    named = script.named_voices(args)
    lexicon = inputs.read_lexicon(args.lexicon)

    from speechkit.narration import narrate
    from speechkit.text import Frontend

    frontend = Frontend(lexicon)
    rows, kept = _plan(args, named, frontend)
    files = {**({"": args.prompt} if args.prompt else {}), **named}
    sources = {name: inputs.read_source(path) for name, path in files.items()}
    phones = None if args.transcript is None else frontend.phones(args.transcript)
    arguments.use_threads(args.threads)

    tts = inputs.load_tts(args.model, lexicon)
    voices = {
        name: inputs.make_voice(tts, files[name], source, None if name else phones)
        for name, source in sources.items()
    }
    began = time.perf_counter()
    made: list[dict[str, Any]] = []
    for row in rows:
        speech = narrate(
            tts,
            row.turns,
            {**voices, "": voices[row.voice]},
            seed=row.seed,
            speed=row.speed,
            steps=args.steps,
            watermark=arguments.watermark(args),
        )
        speech.save(row.out)
        if not args.json:
            output.note_all(speech.notes, quiet=args.quiet)
        made.append({"out": str(row.out), "seconds": speech.seconds, "notes": list(speech.notes)})
        if not args.quiet:
            print(f"{len(made)} of {len(rows)}: {row.out.name}", file=sys.stderr, flush=True)
    took = time.perf_counter() - began
    seconds = sum(item["seconds"] for item in made)
    text = (
        f"wrote {len(made)} files, {seconds:.1f} s of speech, to {args.out}"
        + (f"; {len(kept)} were there" if kept else "")
        + (f" (real-time factor {took / seconds:.3f})" if made else "")
    )
    data = {"files": made, "kept": [str(path) for path in kept], "seconds": seconds}
    return Outcome(text="" if args.quiet else text, data=data)
