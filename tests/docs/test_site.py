"""The documentation builds without a warning, and states the figures that were measured."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote

import pytest
import soundfile

from speechkit.tts import ZeroShotTTS
from tests.tiny import tiny_model

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
OUTSIDE = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "training/LEDGER.md")),
    *sorted((ROOT / "recipes").rglob("*.md")),
    ROOT / "speechkit" / "voices" / "README.md",
]
"""Markdown that MkDocs does not build, whose links nobody else would check."""
MAX_CLIPS_BYTES = 2 * 10**6


def load(name: str) -> ModuleType:
    """A program of recipes/docs, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "recipes" / "docs" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


site, listen = load("site"), load("listen")


def test_builds_strictly(tmp_path: Path) -> None:
    for package in ("mkdocs", "material", "mkdocstrings", "mkdocs_jupyter"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: make docs, or the extra `docs`, brings it")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    built = subprocess.run(
        [*command, "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert built.returncode == 0, built.stderr[-4000:]
    start = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "{{" not in start
    assert (tmp_path / "site" / "api" / "index.html").stat().st_size > 50_000
    pages = "".join(
        path.read_text(encoding="utf-8") for path in (tmp_path / "site").rglob("*.html")
    )
    loaded = re.findall(
        r'(?:<script[^>]* src|<link[^>]* href|<img[^>]* src)="?(https?:[^"> ]+)', pages
    )
    assert not set(loaded), "pages must not call other servers"


def test_readme_states_the_figures() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text == site.readme_with_figures(text, site.figures()), (
        "figures.toml was changed: python recipes/docs/site.py writes README's table anew"
    )


def test_figures_are_of_the_weights_that_are_shipped() -> None:
    sums = (ROOT / "speechkit" / "weights" / "SHA256SUMS").read_text(encoding="utf-8")
    for part in ("codec", "generator"):
        assert f"{site.figures()['weights'][part]}  {part}/model.safetensors" in sums, (
            f"docs/figures.toml has the figures of another {part}: measure the new one"
        )


def test_figures_replace_placeholders() -> None:
    assert (
        site.fill("WER {{ tts.synthesis.wer }} %", {"tts": {"synthesis": {"wer": 5}}}) == "WER 5 %"
    )
    with pytest.raises(KeyError, match="tts.nothing"):
        site.fill("{{ tts.nothing }}", site.figures())
    for page in PAGES:
        site.on_page_markdown(page.read_text(encoding="utf-8"))


def test_figures_are_not_written_into_pages() -> None:
    known = site.figures()["tts"]["synthesis"]
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert str(known["wer"]) not in text, f"{page.name}: write {{{{ tts.synthesis.wer }}}}"


@pytest.mark.parametrize("page", [*OUTSIDE, *PAGES], ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(<?([^)\s>]+)", text):
        if re.match(r"[a-z]+:", target) or target.startswith("#"):
            continue
        path = page.parent / unquote(target.partition("#")[0])
        assert path.exists(), f"{page.name} links to {target}, which is not there"


def test_no_machine_paths() -> None:
    for page in [*PAGES, *OUTSIDE, ROOT / "mkdocs.yml", ROOT / "docs" / "figures.toml"]:
        found = re.findall(r"/(?:home|root|work|mnt)/\S*", page.read_text(encoding="utf-8"))
        assert not found, f"{page.name} names places of one machine: {found}"


def test_listening_clips_are_made_and_shown(tmp_path: Path, examples: Path) -> None:
    tts = ZeroShotTTS.from_pretrained(tiny_model(tmp_path / "model"))
    prompts = {"heart": examples / "synthetic_af_heart.flac"}
    for day in ("2026-01-01", "2026-01-02"):
        size = listen.make_clips(
            tts, tmp_path / day, title=f"Set {day}", sentences=["Good morning."], prompts=prompts
        )
        assert 0 < size < 50_000
    clip = soundfile.info(tmp_path / "2026-01-01" / "00-heart.opus")
    assert (clip.format, clip.subtype, clip.channels) == ("OGG", "OPUS", 1)
    table = site.listening_table(tmp_path)
    assert table.index("Set 2026-01-01") < table.index("Set 2026-01-02")
    assert table.count("<audio") == 2
    assert 'src="2026-01-02/00-heart.opus"' in table


def test_listening_sets_are_whole_and_small() -> None:
    folder = ROOT / "docs" / "listen"
    assert sum(path.stat().st_size for path in folder.rglob("*.opus")) <= MAX_CLIPS_BYTES
    for listed in folder.glob("*/clips.json"):
        made = json.loads(listed.read_text(encoding="utf-8"))
        assert {clip["file"] for clip in made["clips"]} == {
            path.name for path in listed.parent.glob("*.opus")
        }
