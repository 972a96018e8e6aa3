"""The recipes load, run from audio to a table, and need no fairseq2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from speechkit.core.config import load_toml
from speechkit.ssl.config import BestRqConfig, HubertConfig, Wav2Vec2Config
from speechkit.ssl.ctc.finetune import FinetuneConfig
from speechkit.ssl.masking import fewest_frames
from speechkit.ssl.pretrain import PretrainConfig
from tests.ssl.tiny import tiny_corpus

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes" / "ssl"
SIZES = ("tiny", "small", "base")


@pytest.mark.parametrize("size", SIZES)
def test_recipes_of_each_size_load(size: str) -> None:
    wav2vec2 = load_toml(RECIPES / f"wav2vec2-{size}.toml", PretrainConfig)
    hubert = load_toml(RECIPES / f"hubert-{size}.toml", PretrainConfig)
    finetune = load_toml(RECIPES / f"finetune-{size}.toml", FinetuneConfig)
    assert isinstance(wav2vec2.model, Wav2Vec2Config)
    assert isinstance(hubert.model, HubertConfig)
    # One baseline without pre-training serves both.
    assert wav2vec2.model.encoder == hubert.model.encoder
    for config in (wav2vec2, hubert):
        shortest = config.model.encoder.frames(round(config.data.min_seconds * 16_000))
        assert shortest >= fewest_frames(config.model.mask)
    for run in (wav2vec2.train, hubert.train, finetune.train):
        assert run.steps or run.minutes
        assert run.ema_decay == 0


def test_the_base_recipes_are_the_papers() -> None:
    wav2vec2 = load_toml(RECIPES / "wav2vec2-base.toml", PretrainConfig)
    hubert = load_toml(RECIPES / "hubert-base.toml", PretrainConfig)
    assert wav2vec2.model == Wav2Vec2Config()
    assert hubert.model == HubertConfig()
    assert (wav2vec2.train.steps, wav2vec2.train.lr, wav2vec2.train.warmup_steps) == (
        400_000,
        5e-4,
        32_000,
    )
    assert (hubert.train.steps, hubert.train.clip_norm) == (250_000, 10.0)


def test_best_rq_differs_from_hubert_on_log_mel_in_its_targets_alone() -> None:
    ours = load_toml(RECIPES / "bestrq-small.toml", PretrainConfig)
    hubert = load_toml(RECIPES / "hubert-mel-small.toml", PretrainConfig)
    assert isinstance(ours.model, BestRqConfig)
    assert ours.model.encoder == hubert.model.encoder
    assert ours.model.mask == hubert.model.mask
    assert (ours.data, ours.train) == (hubert.data, hubert.train)


def test_the_small_fine_tuning_trains_the_head_alone_first() -> None:
    tuned = load_toml(RECIPES / "finetune-small.toml", FinetuneConfig)
    assert tuned.train.steps is not None
    assert tuned.batch_seconds >= 40
    # Longer than the warm-up of a tenth, so that the head learns at its full rate by itself.
    assert tuned.freeze_encoder_updates >= 0.3 * tuned.train.steps
    assert tuned.encoder_lr_scale < 1


@pytest.mark.slow
def test_one_command_leads_from_audio_to_a_table(tmp_path: Path) -> None:
    corpus = tiny_corpus(tmp_path / "tones.safetensors", clips=40, seconds=2.0, texts=True)
    command = [sys.executable, str(RECIPES / "all.py"), str(corpus), "--size", "tiny"]
    command += ["--out", str(tmp_path / "runs"), "--minutes", "0.05", "--labels", "0.5"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    table = (tmp_path / "runs" / "table.md").read_text()
    rows = [line.split("|")[1].strip() for line in table.splitlines()[2:]]
    assert rows == ["random", "wav2vec2", "hubert1", "hubert2"]


@pytest.mark.slow
def test_pre_training_needs_no_fairseq2(tmp_path: Path) -> None:
    corpus = tiny_corpus(tmp_path / "tones.safetensors")
    program = (
        "import sys; sys.modules['fairseq2'] = None\n"
        "from pathlib import Path\n"
        "from speechkit.ssl.pretrain import pretrain\n"
        "from tests.ssl.tiny import wav2vec2_config\n"
        "print(pretrain(Path(sys.argv[1]), wav2vec2_config(2), Path(sys.argv[2])).message)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(corpus), str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Finished after 2 steps" in done.stdout
