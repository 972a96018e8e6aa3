"""Fine-tuning learns, freezes what it must, and what it makes can be used and measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from speechkit.core.checkpoint import load_checkpoint, save_checkpoint
from speechkit.core.errors import AudioError, CheckpointError, ConfigError, DataError
from speechkit.data.packed import PackedCorpus
from speechkit.ssl.ctc.batches import FinetuneMaskConfig, collate
from speechkit.ssl.ctc.characters import Characters
from speechkit.ssl.ctc.clips import ClipsConfig, select_clips
from speechkit.ssl.ctc.finetune import FinetuneConfig, FinetuneTrainConfig, finetune
from speechkit.ssl.ctc.model import (
    CtcConfig,
    CtcModel,
    DropoutConfig,
    build_ctc,
    load_ctc,
    save_ctc,
)
from speechkit.ssl.ctc.recogniser import Recogniser
from speechkit.ssl.ctc.utterances import packed_utterances
from speechkit.ssl.encoder import build_encoder
from speechkit.train.schedule import lr_multiplier
from tests.ssl.tiny import ENCODER, tiny_corpus

QUIET = DropoutConfig(ffn_dropout=0.0, layer_drop=0.0)
UNMASKED = FinetuneMaskConfig(time_share=0.0, channel_share=0.0)
ABC = Characters(("|", "A", "B", "C", "D", "E"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "tones.safetensors"
    return tiny_corpus(path, texts=True)


def config(steps: int, **changes: object) -> FinetuneConfig:
    """A short fine-tuning with letters of the text."""
    values: dict[str, object] = {
        "alphabet": "text",
        "mask": UNMASKED,
        "noise": QUIET,
        "batch_seconds": 5.0,
        "freeze_encoder_updates": 0,
        "held_out_clips": 2,
        "train": FinetuneTrainConfig(
            steps=steps, lr=1e-2, warmup_steps=2, decay="constant", log_every_steps=1, seed=3
        ),
    }
    return FinetuneConfig(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned the letters that all clips share, its encoder frozen at first."""
    out = tmp_path_factory.mktemp("run") / "run"
    encoder = build_encoder(ENCODER, seed=1)
    report = finetune(
        corpus, config(40, freeze_encoder_updates=2), out, encoder=encoder, source="a"
    )
    assert report.run.step == 40
    assert "12 clips" in report.labels
    return out


def test_it_learns_and_the_convolutions_do_not(trained: Path, corpus: Path) -> None:
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").open()]
    losses = [line["losses"]["loss/ctc"] for line in lines if "losses" in line]
    assert losses[-1] < 0.5 * losses[0]
    assert lines[-1]["validation"]["character_errors"] < 0.6
    model = load_ctc(trained / "last")
    before = build_encoder(ENCODER, seed=1).state_dict()
    for name, value in model.encoder.state_dict().items():
        if "feature_extractor" in name:
            assert torch.equal(value, before[name])
        elif name.endswith("proj.weight"):
            assert not torch.equal(value, before[name])
    evaluation = Recogniser(model).evaluate(packed_utterances(PackedCorpus(corpus)))
    assert evaluation.score.characters.rate < 0.6
    assert evaluation.score.groups == 4
    assert len(evaluation.to_json()["clips"]) == 24


def test_encoder_stays_while_frozen(corpus: Path, tmp_path: Path) -> None:
    encoder = build_encoder(ENCODER, seed=1)
    settings = config(2, freeze_encoder_updates=10)
    finetune(corpus, settings, tmp_path / "run", encoder=encoder, source="a")
    model = load_ctc(tmp_path / "run" / "last")
    for name, value in model.encoder.state_dict().items():
        assert torch.equal(value, encoder.state_dict()[name]), name
    assert float(model.final_proj.bias.detach().abs().sum()) > 0


def test_encoder_and_classifier_have_learning_rates_of_their_own(
    corpus: Path, tmp_path: Path
) -> None:
    # Adam's first update moves a weight by its learning rate, whatever the gradient.
    encoder = build_encoder(ENCODER, seed=1)
    train = FinetuneTrainConfig(steps=1, lr=1e-2, warmup_steps=0, decay="constant", seed=3)
    settings = config(1, encoder_lr_scale=0.05, train=train)
    finetune(corpus, settings, tmp_path / "run", encoder=encoder, source="a")
    model = load_ctc(tmp_path / "run" / "last")
    start = build_ctc(model.config, model.characters, settings.train.seed)
    for name, moved in (
        ("encoder.layers.0.ffn.inner_proj.weight", 5e-4),
        ("encoder.layers.1.ffn.output_proj.weight", 5e-4),
    ):
        change = model.encoder.state_dict()[name] - encoder.state_dict()[name]
        assert float(change.abs().max()) == pytest.approx(moved, rel=0.02), name
    change = model.final_proj.weight - start.final_proj.weight
    assert float(change.abs().max()) == pytest.approx(1e-2, rel=0.02)


def test_without_pre_training_everything_learns_at_once(corpus: Path, tmp_path: Path) -> None:
    settings = config(1, freeze_encoder_updates=10)
    finetune(corpus, settings, tmp_path / "run", encoder=ENCODER, source="random")
    model = load_ctc(tmp_path / "run" / "last")
    start = build_ctc(model.config, model.characters, settings.train.seed).state_dict()
    for part in (
        "encoder_frontend.feature_extractor.layers.0.conv",
        "encoder.layers.0.ffn.inner_proj",
    ):
        weight = model.encoder.get_submodule(part).weight
        assert isinstance(weight, torch.Tensor)
        assert not torch.equal(weight, start[f"encoder.{part}.weight"])


def test_resuming_wants_the_same_encoder_and_alphabet(trained: Path, corpus: Path) -> None:
    settings = config(41, freeze_encoder_updates=2)
    with pytest.raises(ConfigError, match="another encoder"):
        finetune(corpus, settings, trained, encoder=build_encoder(ENCODER, seed=1), source="b")
    english = replace(settings, alphabet="english")
    with pytest.raises(ConfigError, match="another alphabet"):
        finetune(corpus, english, trained, encoder=build_encoder(ENCODER, seed=1), source="a")


def test_no_labels_are_refused_before_training(tmp_path: Path) -> None:
    silent = tiny_corpus(tmp_path / "silent.safetensors", clips=4)
    for alphabet, match in (("english", "4 without text"), ("text", "no letters")):
        settings = config(2, alphabet=alphabet)
        with pytest.raises(DataError, match=match):
            finetune(silent, settings, tmp_path / "run", encoder=ENCODER, source="random")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="alphabet must be"):
        config(2, alphabet="klingon")


def model_of(characters: Characters = ABC) -> CtcModel:
    return build_ctc(CtcConfig(encoder=ENCODER), characters, seed=4).eval()


def test_model_comes_back(tmp_path: Path) -> None:
    model = model_of()
    save_ctc(tmp_path, model)
    again = load_ctc(tmp_path)
    assert again.characters == ABC
    assert again.config == model.config
    wave_BT = torch.randn(1, 8000)
    assert torch.equal(
        again.posteriors(wave_BT).log_probability_BFV, model.posteriors(wave_BT).log_probability_BFV
    )


def test_foreign_folders_are_refused(tmp_path: Path) -> None:
    from speechkit.ssl.checkpoints import save_model

    save_model(tmp_path / "encoder", build_encoder(ENCODER))
    with pytest.raises(CheckpointError, match="no recogniser"):
        load_ctc(tmp_path / "encoder")
    save_ctc(tmp_path / "model", model_of())
    kept = load_checkpoint(tmp_path / "model")
    for changes, match in (
        ({"characters": Characters.english().to_json()}, "final_proj"),
        ({"characters": None}, "alphabet"),
        ({"model": {"encoder": {"layers": 3}}}, "do not fit|no possible"),
        ({"model": {"encoder": {"colour": 3}}}, "describes no recogniser"),
    ):
        save_checkpoint(tmp_path / "model", kept.state, {**kept.config, **changes})
        with pytest.raises(CheckpointError, match=match):
            load_ctc(tmp_path / "model")


def test_loss_is_a_sum_over_sentences_whatever_the_batch(corpus: Path) -> None:
    packed = PackedCorpus(corpus)
    clips = select_clips(packed, ABC, ENCODER.frames, ClipsConfig()).train
    model = build_ctc(CtcConfig(encoder=replace(ENCODER, conv_norm="layer")), ABC, seed=4).eval()
    with torch.no_grad():
        whole = model(collate(clips, [0, 1, 2]))
        parts = [model(collate(clips, [place])) for place in (0, 1, 2)]
    assert float(whole["targets"]) == 3
    total = sum(float(part["total"]) for part in parts)
    assert float(whole["total"]) == pytest.approx(total, rel=1e-5)


def test_long_recordings_are_heard_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    from speechkit.ssl.ctc import recogniser

    model = build_ctc(CtcConfig(encoder=replace(ENCODER, conv_norm="layer")), ABC, seed=4)
    wave_T = torch.randn(16_000 * 3)
    whole_FV = Recogniser(model).posteriors(wave_T)
    monkeypatch.setattr(recogniser, "PIECE_SECONDS", 1.0)
    pieces_FV = Recogniser(model).posteriors(wave_T)
    assert pieces_FV.shape == whole_FV.shape == (ENCODER.frames(48_000), ABC.size)
    assert float((pieces_FV.exp().sum(dim=1) - 1).abs().max()) < 1e-5
    # The first frames of a piece see the same sound behind them.
    assert float((pieces_FV - whole_FV).abs().max()) < 1.0


def test_too_short_recordings_say_nothing_in_use_and_stop_in_training() -> None:
    model = model_of()
    assert Recogniser(model).transcribe(torch.zeros(100)) == ""
    with pytest.raises(AudioError, match="too short"):
        model.posteriors(torch.zeros(1, 100))


def test_references_outside_the_alphabet_are_refused(tmp_path: Path, corpus: Path) -> None:
    utterances = packed_utterances(PackedCorpus(corpus))
    russian = Characters(("|", "\u0410", "\u0411"))
    with pytest.raises(DataError, match="alphabet has no A B C D E"):
        Recogniser(model_of(russian)).evaluate(utterances)
    silent = tiny_corpus(tmp_path / "silent.safetensors", clips=2)
    with pytest.raises(DataError, match="has text to compare"):
        packed_utterances(PackedCorpus(silent))


def test_tri_stage_rate_is_fairseq2_s() -> None:
    pytest.importorskip("fairseq2")
    from fairseq2.optim.lr_schedulers import TriStageLR

    steps = 1000
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = TriStageLR(optimizer, steps, (0.1, 0.4, 0.5), start_lr_scale=0.01, final_lr_scale=0.05)
    for step in range(steps):
        ours = lr_multiplier(
            step,
            step / steps,
            warmup_steps=7,
            decay="tri-stage",
            decay_share=0.3,
            final_lr_share=0.0,
        )
        assert theirs.get_last_lr()[0] == pytest.approx(ours, abs=1e-6)
        optimizer.step()
        theirs.step()


def test_fine_tuning_without_a_budget_is_refused(corpus: Path, tmp_path: Path) -> None:
    settings = replace(config(1), train=FinetuneTrainConfig(device="cpu"))
    with pytest.raises(ConfigError, match="--minutes or --steps"):
        finetune(corpus, settings, tmp_path / "run", encoder=ENCODER, source="random")
