"""A run ends at its budget, resumes exactly, and is refused where it would not be the same run."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from speechkit.core.errors import CheckpointError, ConfigError
from speechkit.ssl.checkpoints import load_encoder, load_model
from speechkit.ssl.pretrain import PretrainConfig, pretrain
from speechkit.ssl.training.guard import GuardConfig
from speechkit.ssl.training.job import CollapseError
from tests.ssl.tiny import (
    CLUSTERS,
    DATA,
    HUBERT,
    WAV2VEC2,
    hubert_config,
    run_config,
    tiny_corpus,
    tiny_units,
    wav2vec2_config,
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_corpus(tmp_path_factory.mktemp("corpus") / "tones.safetensors")


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_units(tmp_path_factory.mktemp("units") / "units.safetensors")


def log_lines(out: Path) -> list[dict[str, float]]:
    """Return the figures of each update."""
    lines = (out / "metrics" / "train.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def losses(out: Path) -> list[float]:
    """Return the loss of each update."""
    return [line["Loss"] for line in log_lines(out)]


def test_a_run_logs_its_figures_and_exports_the_model(
    corpus: Path, units: Path, tmp_path: Path
) -> None:
    report = pretrain(corpus, hubert_config(3), tmp_path / "run", units=units)
    assert report.finished
    assert report.updates == 3
    last = log_lines(tmp_path / "run")[-1]
    assert {"loss/masked", "accuracy", "prediction_perplexity", "masked_share"} <= last.keys()
    assert 0.2 < last["masked_share"] < 0.8
    assert last["label_perplexity"] <= CLUSTERS
    model = load_model(tmp_path / "run" / "model")
    assert model.config == HUBERT
    assert not model.training


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(corpus: Path, tmp_path: Path) -> None:
    # Dropout on: the state of torch's generator must be restored too.
    encoder = replace(WAV2VEC2.encoder, dropout=0.1, input_dropout=0.1)
    model = replace(WAV2VEC2, encoder=encoder)

    def config(steps: int) -> PretrainConfig:
        return PretrainConfig(wav2vec2=model, data=DATA, run=run_config(steps))

    pretrain(corpus, config(7), tmp_path / "whole")
    report = pretrain(corpus, config(3), tmp_path / "parts")
    assert report.updates == 3
    report = pretrain(corpus, config(7), tmp_path / "parts")
    assert report.updates == 7
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    whole, parts = (load_model(tmp_path / name / "model") for name in ("whole", "parts"))
    for (name, one), two in zip(
        whole.state_dict().items(), parts.state_dict().values(), strict=True
    ):
        assert torch.equal(one, two), name
    again = pretrain(corpus, config(7), tmp_path / "parts")
    assert "Nothing to do" in again.message


def test_extending_a_finished_run_does_not_train_at_rate_zero(corpus: Path, tmp_path: Path) -> None:
    pretrain(corpus, wav2vec2_config(4, schedule="linear"), tmp_path / "run")
    before = load_encoder(tmp_path / "run" / "model").state_dict()
    pretrain(corpus, wav2vec2_config(9, schedule="linear"), tmp_path / "run")
    rates = [line["Learning Rate"] for line in log_lines(tmp_path / "run")]
    assert len(rates) == 9
    assert max(rates[5:]) > 2e-4
    after = load_encoder(tmp_path / "run" / "model").state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_a_run_of_another_architecture_is_not_resumed(corpus: Path, tmp_path: Path) -> None:
    pretrain(corpus, wav2vec2_config(1), tmp_path / "run")
    wider = replace(WAV2VEC2, final_dim=16)
    with pytest.raises(CheckpointError, match="another model.*choose another --out"):
        pretrain(
            corpus,
            PretrainConfig(wav2vec2=wider, data=DATA, run=run_config(2)),
            tmp_path / "run",
        )


def test_a_killed_run_is_not_resumed_as_another_one(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("speechkit.ssl.training.run._run", killed)
        with pytest.raises(KeyboardInterrupt):
            pretrain(corpus, wav2vec2_config(2), tmp_path / "run")
    other = PretrainConfig(
        wav2vec2=replace(WAV2VEC2, codebook_size=4), data=DATA, run=run_config(2)
    )
    with pytest.raises(CheckpointError, match="another model"):
        pretrain(corpus, other, tmp_path / "run")
    assert pretrain(corpus, wav2vec2_config(2), tmp_path / "run").updates == 2


def test_a_run_without_budget_is_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--minutes or --steps"):
        pretrain(corpus, wav2vec2_config(None), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_minutes_end_a_run(corpus: Path, tmp_path: Path) -> None:
    config = wav2vec2_config(None, minutes=0.01)
    report = pretrain(corpus, config, tmp_path / "run")
    assert report.finished
    assert report.updates >= 1


def test_a_collapse_is_said_and_stops_the_run(corpus: Path, tmp_path: Path) -> None:
    guard = GuardConfig(after_steps=2, patience_batches=3, max_distractor_hits=0.0)
    # Two entries in one codebook: distractors cannot but equal the target.
    model = replace(WAV2VEC2, codebooks=1, codebook_size=2)
    config = PretrainConfig(wav2vec2=model, data=DATA, guard=guard, run=run_config(50))
    with pytest.raises(CollapseError, match="distractors equal the target.*3 batches"):
        pretrain(corpus, config, tmp_path / "run")
    assert 5 <= len(losses(tmp_path / "run")) < 20
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


def test_a_full_disk_leaves_the_last_good_checkpoint(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = wav2vec2_config(3)
    pretrain(corpus, config, tmp_path / "run")
    kept = (tmp_path / "run" / "model" / "model.safetensors").read_bytes()

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(CheckpointError, match="No space left.*is whole"):
            pretrain(corpus, wav2vec2_config(6), tmp_path / "run")
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == kept
    report = pretrain(corpus, wav2vec2_config(6), tmp_path / "run")
    assert report.updates == 6
    pretrain(corpus, wav2vec2_config(6), tmp_path / "whole")
    assert losses(tmp_path / "run")[-3:] == losses(tmp_path / "whole")[-3:]


def test_the_environment_is_not_written_into_logs(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPEECHKIT_TEST_SECRET", "hunter2-is-secret")
    pretrain(corpus, wav2vec2_config(1), tmp_path / "run")
    text = "".join(
        path.read_text(errors="ignore")
        for path in (tmp_path / "run").rglob("*")
        if path.is_file() and path.suffix in (".log", ".yaml", ".jsonl", ".json")
    )
    assert "step 1" in text
    assert "hunter2-is-secret" not in text
    assert os.environ.get("FAIRSEQ2_DEVICE") is None
