"""Two processes under torchrun train as one process with the same global batch, sharded or not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from speechkit.ssl.checkpoints import load_model
from speechkit.ssl.pretrain import pretrain
from tests.ssl.tiny import hubert_config, tiny_corpus, tiny_units

ROOT = Path(__file__).parents[3]
PROGRAM = """
import sys
from pathlib import Path
from speechkit.ssl.pretrain import pretrain
from tests.ssl.tiny import hubert_config
corpus, units, out, parallelism = sys.argv[1:]
pretrain(Path(corpus), hubert_config(6, parallelism=parallelism), Path(out), units=Path(units))
"""


def losses(out: Path) -> list[float]:
    """Return the loss of each update."""
    lines = (out / "metrics" / "train.jsonl").read_text().splitlines()
    return [json.loads(line)["Loss"] for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("parallelism", ["ddp", "fsdp"])
def test_two_processes_train_as_one(parallelism: str, tmp_path: Path) -> None:
    """Sums run in another order, so losses may differ by a relative 1e-5, weights by 1e-4."""
    corpus = tiny_corpus(tmp_path / "tones.safetensors")
    units = tiny_units(tmp_path / "units.safetensors")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += [str(program), str(corpus), str(units), str(tmp_path / "two"), parallelism]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment, cwd=tmp_path, timeout=500)
    pretrain(corpus, hubert_config(6, accumulate=2), tmp_path / "one", units=units)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    one, two = (load_model(tmp_path / name / "model").state_dict() for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-6, msg=name)
