"""What the pages of `docs/` are given when MkDocs builds them: figures, and the listening table.

Every figure that a page or README.md states stands once, in `docs/figures.toml`. Pages write
`{{ tts.synthesis.wer }}`; README.md, which nothing builds, has its table between two comments:

    python recipes/docs/site.py        writes that table anew after figures.toml was changed
"""

from __future__ import annotations

import html
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "docs" / "figures.toml"
LISTEN = ROOT / "docs" / "listen"
README = ROOT / "README.md"

_PLACEHOLDER = re.compile(r"\{\{ ([a-z0-9_.]+) \}\}")
_MARKED = re.compile(r"(<!-- figures[^>]*-->\n).*?(<!-- /figures -->)", re.DOTALL)


def figures() -> dict[str, Any]:
    """All figures, as figures.toml has them."""
    return tomllib.loads(FIGURES.read_text(encoding="utf-8"))


def fill(markdown: str, known: Mapping[str, Any]) -> str:
    """The text with its placeholders replaced; raises KeyError for one that nobody knows."""

    def value(match: re.Match[str]) -> str:
        found: Any = known
        for key in match[1].split("."):
            if not isinstance(found, Mapping) or key not in found:
                raise KeyError(f"{match[0]} stands for nothing in {FIGURES.name}")
            found = found[key]
        return str(found)

    return _PLACEHOLDER.sub(value, markdown)


def quality_table(known: Mapping[str, Any]) -> str:
    """How well it speaks, as a Markdown table: recordings, codec, synthesis."""
    head = (
        "| | WER % | speaker similarity to the prompt | to other prompts | DNSMOS |\n"
        "| --- | --- | --- | --- | --- |\n"
    )
    rows = (
        ("recordings", "recordings"),
        ("through the codec", "codec"),
        ("synthesised", "synthesis"),
    )
    return head + "".join(
        f"| {title} | " + " | ".join(str(known["tts"][key][name]) for name in _COLUMNS) + " |\n"
        for title, key in rows
    )


_COLUMNS = ("wer", "similarity", "similarity_others", "dnsmos")


def readme_with_figures(text: str, known: Mapping[str, Any]) -> str:
    """README.md with today's status between its two comments."""
    status = (
        f"Weights of {known['weights']['date']}, trained for {known['weights']['training']}: "
        f"{known['weights']['speaks']}\nMeasured on {known['tts']['what']}:\n\n"
    )
    made, count = _MARKED.subn(
        lambda match: match[1] + status + quality_table(known) + match[2], text
    )
    if count != 1:
        raise ValueError("README.md must hold <!-- figures … --> and <!-- /figures --> once")
    return made


def listening_table(folder: Path = LISTEN) -> str:
    """Every set of clips in the folder side by side, in HTML: a table for each voice."""
    sets = [
        (path.parent.name, json.loads(path.read_text(encoding="utf-8")))
        for path in sorted(folder.glob("*/clips.json"))
    ]
    if not sets:
        return "No clips have been made yet: `python recipes/docs/listen.py NAME` makes a set."
    newest = sets[-1][1]
    parts = []
    for voice in newest["voices"]:
        heads = "".join(f"<th>{html.escape(made['title'])}</th>" for _, made in sets)
        rows = [
            f"<tr><td>{html.escape(sentence)}</td>"
            + "".join(f"<td>{_player(name, made, voice, sentence)}</td>" for name, made in sets)
            + "</tr>"
            for sentence in newest["sentences"]
        ]
        parts.append(
            f"## Voice `{voice}`\n\n<table><thead><tr><th>Sentence</th>{heads}</tr></thead>\n"
            f"<tbody>\n{chr(10).join(rows)}\n</tbody></table>\n"
        )
    made_with = [f"- {made['title']}: {made['weights']}, seed {made['seed']}" for _, made in sets]
    return "\n".join([*made_with, "", *parts])


def _player(name: str, made: Mapping[str, Any], voice: str, sentence: str) -> str:
    """The clip of a sentence in a set, or a dash."""
    for clip in made["clips"]:
        if clip["voice"] == voice and made["sentences"][clip["sentence"]] == sentence:
            # A page of its own folder: listen/index.html.
            source = f"{name}/{clip['file']}"
            return f'<audio controls preload="none" src="{html.escape(source)}"></audio>'
    return "–"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs' hook: a page before it is rendered."""
    known = figures()
    filled = markdown.replace("{{ listening_table }}", listening_table())
    return fill(filled.replace("{{ quality_table }}", quality_table(known)), known)


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    README.write_text(readme_with_figures(text, figures()), encoding="utf-8")
