"""A run ends at its budget, resumes exactly, and is refused where it would not be the same run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from speechkit.core.errors import ConfigError
from speechkit.ssl.checkpoints import load_encoder, load_model
from speechkit.ssl.guard import CollapseError, GuardConfig
from speechkit.ssl.pretrain import PretrainConfig, pretrain
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


def log_lines(out: Path) -> list[dict[str, Any]]:
    """Return the figures of each update."""
    lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if "losses" in line]


def losses(out: Path) -> list[float]:
    """Return the loss of each update."""
    return [line["losses"]["loss"] for line in log_lines(out)]


def test_a_run_logs_its_figures_and_exports_the_model(
    corpus: Path, units: Path, tmp_path: Path
) -> None:
    report = pretrain(corpus, hubert_config(3), tmp_path / "run", units=units)
    assert report.finished
    assert report.step == 3
    last = log_lines(tmp_path / "run")[-1]["losses"]
    assert {"loss/masked", "figure/accuracy", "figure/prediction_perplexity"} <= last.keys()
    assert 0.2 < last["figure/masked_share"] < 0.8
    assert last["figure/label_perplexity"] <= CLUSTERS
    assert report.best_score == -report.figures["loss"]
    model = load_model(tmp_path / "run" / "last")
    assert model.config == HUBERT
    assert not model.training


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(corpus: Path, tmp_path: Path) -> None:
    # Dropout on: the state of torch's generator must be restored too.
    encoder = replace(WAV2VEC2.encoder, dropout=0.1, input_dropout=0.1)
    model = replace(WAV2VEC2, encoder=encoder)

    def config(steps: int) -> PretrainConfig:
        return PretrainConfig(wav2vec2=model, data=DATA, train=run_config(steps))

    pretrain(corpus, config(7), tmp_path / "whole")
    report = pretrain(corpus, config(3), tmp_path / "parts")
    assert report.step == 3
    report = pretrain(corpus, config(7), tmp_path / "parts")
    assert report.step == 7
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    whole, parts = (load_model(tmp_path / name / "last") for name in ("whole", "parts"))
    for (name, one), two in zip(
        whole.state_dict().items(), parts.state_dict().values(), strict=True
    ):
        assert torch.equal(one, two), name
    again = pretrain(corpus, config(7), tmp_path / "parts")
    assert (again.step, again.finished) == (7, True)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


def test_extending_a_finished_run_does_not_train_at_rate_zero(corpus: Path, tmp_path: Path) -> None:
    pretrain(corpus, wav2vec2_config(4, decay="linear"), tmp_path / "run")
    before = load_encoder(tmp_path / "run" / "last").state_dict()
    pretrain(corpus, wav2vec2_config(9, decay="linear"), tmp_path / "run")
    rates = [line["lr"] for line in log_lines(tmp_path / "run")]
    assert len(rates) == 9
    assert max(rates[5:]) > 2e-4
    after = load_encoder(tmp_path / "run" / "last").state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_a_run_of_another_architecture_is_not_resumed(corpus: Path, tmp_path: Path) -> None:
    pretrain(corpus, wav2vec2_config(1), tmp_path / "run")
    wider = replace(WAV2VEC2, final_dim=16)
    with pytest.raises(ConfigError, match="another model.final_dim.*choose another --out"):
        pretrain(
            corpus,
            PretrainConfig(wav2vec2=wider, data=DATA, train=run_config(2)),
            tmp_path / "run",
        )


def test_a_run_on_other_data_is_not_resumed(corpus: Path, tmp_path: Path) -> None:
    pretrain(corpus, wav2vec2_config(1), tmp_path / "run")
    other = tiny_corpus(tmp_path / "other.safetensors", clips=23)
    with pytest.raises(ConfigError, match="another corpus"):
        pretrain(other, wav2vec2_config(2), tmp_path / "run")


def test_a_run_without_budget_is_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--minutes or --steps"):
        pretrain(corpus, wav2vec2_config(None), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_minutes_end_a_run(corpus: Path, tmp_path: Path) -> None:
    config = wav2vec2_config(None, minutes=0.01)
    report = pretrain(corpus, config, tmp_path / "run")
    assert report.finished
    assert report.step >= 1


def test_a_collapse_is_said_and_stops_the_run(corpus: Path, tmp_path: Path) -> None:
    guard = GuardConfig(after_steps=2, patience_steps=3, max_distractor_hits=0.0)
    # Two entries in one codebook: distractors cannot but equal the target.
    model = replace(WAV2VEC2, codebooks=1, codebook_size=2)
    config = PretrainConfig(wav2vec2=model, data=DATA, guard=guard, train=run_config(50))
    with pytest.raises(CollapseError, match="distractors equal the target.*3 updates"):
        pretrain(corpus, config, tmp_path / "run")
    assert 4 <= len(losses(tmp_path / "run")) < 20
