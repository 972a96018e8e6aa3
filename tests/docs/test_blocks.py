"""What the pages tell a reader to type works, with a tiny model in place of the bundled one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from speechkit.core import checkpoint
from speechkit.core.errors import ConfigError
from tests.docs.blocks import (
    Block,
    Runner,
    blocks_of,
    commands_of,
    is_shell,
    parse_commands,
    runnable,
)
from tests.tiny import tiny_model

ROOT = Path(__file__).resolve().parents[2]
RUN = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
"""Pages whose blocks are run."""
PARSED = [*RUN, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "recipes").rglob("*.md"))]
"""Pages whose commands are parsed at least."""


def name(page: Path) -> str:
    """The page, as a test is called."""
    return str(page.relative_to(ROOT))


def pages_with_code() -> list[Path]:
    """The pages that have blocks to run."""
    return [page for page in RUN if any(map(runnable, blocks_of(page)))]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny voice model beside the bundled aligner."""
    folder = tiny_model(tmp_path_factory.mktemp("weights"))
    shutil.copytree(checkpoint.WEIGHTS / "aligner", folder / "aligner")
    return folder


@pytest.mark.parametrize("page", pages_with_code(), ids=name)
def test_blocks_run(
    page: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("core.checkpoint", "tts", "facodec.pretrained", "facodec.recognition"):
        monkeypatch.setattr(f"speechkit.{module}.WEIGHTS", weights)
    (tmp_path / "speechkit").mkdir()
    (tmp_path / "speechkit" / "voices").symlink_to(ROOT / "speechkit" / "voices")
    scratch = tmp_path / "blocks"
    scratch.mkdir()
    monkeypatch.chdir(tmp_path)
    runner = Runner(scratch, monkeypatch)
    for block in blocks_of(page):
        if runnable(block) and not block.not_run:
            runner.run(block)


@pytest.mark.parametrize("page", PARSED, ids=name)
def test_commands_exist(page: Path) -> None:
    for block in filter(is_shell, blocks_of(page)):
        try:
            parse_commands(block)
        except ConfigError as error:
            pytest.fail(f"{name(page)}:{block.line}: {error}")


def test_most_blocks_are_run() -> None:
    blocks = [block for page in RUN for block in blocks_of(page) if runnable(block)]
    run = [block for block in blocks if not block.not_run]
    assert len(run) >= 20
    python = [block for block in blocks if block.language == "python"]
    skipped = [f"{name(block.page)}:{block.line}" for block in python if block.not_run]
    assert len(skipped) <= len(python) / 4, f"Python that nobody runs: {skipped}"


def page_with(tmp_path: Path, text: str) -> list[Block]:
    """The blocks of a page with this text."""
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    return blocks_of(page)


def test_a_block_knows_its_language_line_and_reason(tmp_path: Path) -> None:
    one, two = page_with(
        tmp_path,
        "Text\n```bash\nls\n```\n"
        "<!-- not run: takes an hour -->\n    ```python\n    x = 1\n    ```\n",
    )
    assert (one.language, one.line, one.text, one.not_run) == ("bash", 2, "ls\n", "")
    assert (two.language, two.text, two.not_run) == ("python", "x = 1\n", "takes an hour")


def test_a_block_that_is_never_closed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="page.md:1: this block is never closed"):
        page_with(tmp_path, "```bash\nls\n")


def test_commands_are_split_as_a_shell_does() -> None:
    text = 'a="x y"\nspeechkit say $a \\\n  --text "1 && 2; 3"   # why\necho hi | cat && ls\n'
    assert [(command.words, command.ending) for command in commands_of(text)] == [
        (("speechkit", "say", "x", "y", "--text", "1 && 2; 3"), "\n"),
        (("echo", "hi"), "|"),
        (("cat",), "&&"),
        (("ls",), "\n"),
    ]


def test_a_flag_that_does_not_exist_is_found(tmp_path: Path) -> None:
    (block,) = page_with(tmp_path, "```bash\nspeechkit say --prompt a.wav --loud -o b.wav\n```\n")
    with pytest.raises(ConfigError):
        parse_commands(block)


def test_a_command_that_fails_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runner = Runner(tmp_path, monkeypatch)
    (block,) = page_with(tmp_path, "```bash\nspeechkit codec info absent.skc\n```\n")
    with pytest.raises(AssertionError, match="failed"):
        runner.run(block)
    (block,) = page_with(tmp_path, "```bash\ncurl example.org\n```\n")
    with pytest.raises(AssertionError, match="not understood"):
        runner.run(block)
    (block,) = page_with(tmp_path, "```python\n1 / 0\n```\n")
    with pytest.raises(ZeroDivisionError):
        runner.run(block)
