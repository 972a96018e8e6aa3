"""Code blocks of Markdown pages, and a runner for what is in them.

A block of bash or Python is run, in the order of its page, unless the line before it says

    <!-- not run: why -->

Commands of speechkit run in this process; of a shell, only what the pages need is understood:
`&&`, `;`, `|`, `>` and `>>` after echo, comments, continued lines and `name=value`. Anything else
must be marked as not run. Commands in blocks that are not run are still parsed, so that a page
cannot name a verb or a flag that does not exist.
"""

from __future__ import annotations

import io
import re
import runpy
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from speechkit.cli import build_parser, main

_FENCE = re.compile(r"^( *)(```+)(\w*)[^`]*$")
_NOT_RUN = re.compile(r"<!-- not run: (\S.*) -->")
_SHELL = {"bash", "sh", "console", "shell"}
_PYTHON = {"python", "py"}
_ENDS = {"&&", ";", "|", "\n"}


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block."""

    page: Path
    """File it stands in."""
    line: int
    """Line of its opening fence, from 1."""
    language: str
    """What the fence says, such as bash."""
    text: str
    """Its lines."""
    not_run: str
    """Why it is not run; empty for one that is."""


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page in order; raises ValueError for a fence that is never closed."""
    found: list[Block] = []
    opened: re.Match[str] | None = None
    start, before, body = 0, "", list[str]()
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        if opened is None:
            opened, start, body = _FENCE.match(line), number, []
            if opened is None and line.strip():
                before = line
        elif line.strip() == opened[2]:
            reason = _NOT_RUN.search(before)
            found.append(
                Block(
                    page=page,
                    line=start,
                    language=opened[3],
                    text=textwrap.dedent("\n".join(body) + "\n"),
                    not_run=reason[1] if reason else "",
                )
            )
            opened, before = None, ""
        else:
            body.append(line)
    if opened is not None:
        raise ValueError(f"{page}:{start}: this block is never closed")
    return found


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command of a shell block."""

    words: tuple[str, ...]
    """Name and arguments."""
    ending: str
    """What follows: a new line, `&&`, `;`, or `|` into the next command."""


def commands_of(text: str) -> Iterator[Command]:
    """The commands of a shell block; `name=value` lines fill later `$name`s, as unquoted words."""
    variables: dict[str, str] = {}
    for line in text.replace("\\\n", " ").splitlines():
        for name, value in variables.items():
            line = line.replace(f"${name}", value)
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&>")
        lexer.whitespace_split = True
        lexer.commenters = "#"
        words: list[str] = []
        for word in [*lexer, "\n"]:
            if word not in _ENDS:
                words.append(word)
            elif words:
                name, _, value = words[0].partition("=")
                if len(words) == 1 and name.isidentifier() and value:
                    variables[name] = value
                else:
                    yield Command(words=tuple(words), ending=word)
                words = []


def speechkit_arguments(words: tuple[str, ...]) -> list[str] | None:
    """The arguments of `speechkit …` or `python -m speechkit …`; None for other commands."""
    first = words[0].rsplit("/", 1)[-1]
    if first == "speechkit":
        return list(words[1:])
    for position, word in enumerate(words[1:], start=1):
        if words[position - 1] == "-m" and word in ("speechkit", "speechkit.cli"):
            return list(words[position + 1 :])
    return None


def parse_commands(block: Block) -> int:
    """Parse every speechkit command of a shell block; returns how many there are.

    Raises ConfigError for a verb or flag that does not exist.
    """
    count = 0
    for command in commands_of(block.text):
        arguments = speechkit_arguments(command.words)
        if arguments is None or "…" in arguments:
            continue
        count += 1
        try:
            build_parser(arguments[0] if arguments else None).parse_args(arguments)
        except SystemExit:  # --help and --version end the program
            continue
    return count


class Runner:
    """Runs the blocks of one page in the current folder; Python's names last for the page."""

    def __init__(self, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._scratch, self._monkeypatch = scratch, monkeypatch
        self._names: dict[str, Any] = {}

    def run(self, block: Block) -> None:
        """Run one block; raises AssertionError for a command that fails or nobody understands."""
        if block.language in _PYTHON:
            self._run_python(block)
        elif block.language in _SHELL:
            self._run_shell(block)

    def _run_python(self, block: Block) -> None:
        """The block as a file whose line numbers are those of the page."""
        script = self._scratch / f"{block.page.stem}_{block.line}.py"
        script.write_text("\n" * block.line + block.text, encoding="utf-8")
        made = runpy.run_path(str(script), init_globals=self._names)
        self._names |= {name: value for name, value in made.items() if not name.startswith("__")}

    def _run_shell(self, block: Block) -> None:
        piped = b""
        for command in commands_of(block.text):
            words, place = command.words, f"{block.page.name}:{block.line}: {command.words}"
            arguments = speechkit_arguments(words)
            if arguments is not None:
                stdin = io.TextIOWrapper(io.BytesIO(piped), encoding="utf-8")
                self._monkeypatch.setattr(sys, "stdin", stdin)
                assert main(arguments) == 0, f"{place} failed"
                piped = b""
            elif words[0] == "echo":
                into = next((word for word in words if word in (">", ">>")), None)
                text = words[1 : words.index(into)] if into else words[1:]
                piped = (" ".join(text) + "\n").encode()
                if into:
                    with Path(words[-1]).open("ab" if into == ">>" else "wb") as file:
                        file.write(piped)
            elif words[:2] == ("mkdir", "-p"):
                for folder in words[2:]:
                    Path(folder).mkdir(parents=True, exist_ok=True)
            elif words[0] == "cp":
                for source in words[1:-1]:
                    shutil.copy(source, words[-1])
            else:
                raise AssertionError(f"{place}: not understood here; mark it <!-- not run: why -->")


def runnable(block: Block) -> bool:
    """Whether the block holds commands or Python."""
    return block.language in _SHELL | _PYTHON


def is_shell(block: Block) -> bool:
    """Whether the block holds commands."""
    return block.language in _SHELL
