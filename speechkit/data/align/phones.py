"""Transcripts of a corpus as phones, kept in a file.

`python -m speechkit.data.align.phones --data corpus.safetensors --out corpus.phones.jsonl`
runs the text front end once; a training machine without the front end's packages reads the
file instead (`--phones`).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from speechkit.core.errors import DataError, SpeechkitError, TextError
from speechkit.core.files import write_atomically
from speechkit.data.packed import PackedCorpus
from speechkit.text import Frontend


def write_phones(corpus: PackedCorpus, out: Path, languages: Sequence[str] = ("en",)) -> int:
    """Write one JSON line (`text`, `phones`) for each distinct text; returns how many.

    Texts with nothing to speak are left out; empty `languages` takes all.
    """
    texts = {
        info["text"]: None
        for info in corpus.clips
        if info["text"] and (not languages or info["language"] in languages)
    }
    front_end = Frontend()
    lines = []
    for text in texts:
        try:
            lines.append(json.dumps({"text": text, "phones": front_end.phones(text or "")}))
        except TextError:
            continue
    write_atomically(out, lambda path: _write_lines(path, lines))
    return len(lines)


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def read_phones(path: Path) -> Callable[[str], tuple[str, ...]]:
    """Texts to phones, as written by `write_phones`.

    Raises DataError for an unusable file. The result raises TextError for an unknown text.
    """
    try:
        entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        table = {str(entry["text"]): tuple(map(str, entry["phones"])) for entry in entries}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"'{path}' is no file of phones ({error}); write it again.") from error

    def phones(text: str) -> tuple[str, ...]:
        if text not in table:
            raise TextError(f"'{path}' does not have the text {text[:40]!r}.")
        return table[text]

    return phones


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="speechkit.data.align.phones", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="packed corpus")
    parser.add_argument("--out", type=Path, required=True, help="JSONL file to write")
    parser.add_argument("--languages", nargs="*", default=["en"], help="none given: all")
    options = parser.parse_args(arguments)
    try:
        count = write_phones(PackedCorpus(options.data), options.out, options.languages)
    except SpeechkitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{count} texts as phones in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
