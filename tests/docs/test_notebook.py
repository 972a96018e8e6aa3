"""The tutorial notebook runs from its first cell to its last."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tiny import tiny_model

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"
PRELUDE = """
import speechkit.tts, speechkit.facodec.pretrained
from pathlib import Path

speechkit.tts.WEIGHTS = speechkit.facodec.pretrained.WEIGHTS = Path({folder!r})
"""
"""A tiny model in place of the bundled one, so that the cells take seconds."""


def test_is_stored_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) >= 5
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)


@pytest.mark.slow
def test_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "not installed: the extra `docs` brings it"
    pytest.importorskip("ipykernel", reason=reason)
    nbformat = pytest.importorskip("nbformat", reason=reason)
    nbclient = pytest.importorskip("nbclient", reason=reason)

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    weights = tiny_model(tmp_path)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(PRELUDE.format(folder=str(weights))))
    client = nbclient.NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(NOTEBOOK.parent)}},
    )
    done = client.execute()
    outputs = [output for cell in done.cells for output in cell.get("outputs", [])]
    heard = [
        output for output in outputs if "<audio" in output.get("data", {}).get("text/html", "")
    ]
    assert len(heard) == 6
