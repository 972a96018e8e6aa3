"""The experiment: data without leaks, tables that compare what is comparable, and all of it run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from speechkit.cli import main
from speechkit.core.audio import pcm16
from speechkit.core.config import load_toml
from speechkit.core.errors import ConfigError, DataError
from speechkit.core.rng import generator
from speechkit.data.packed import ClipInfo, PackedClip, PackedCorpus, write_packed
from speechkit.diffusion.train_units import UnitGeneratorTraining
from speechkit.ssl.clip_loss import ClipLoss, interval_of_less
from speechkit.ssl.diffs4l import Arm, Experiment, run_experiment
from speechkit.ssl.diffs4l.data import drawn, hours_of, split_test, write_clips
from speechkit.ssl.diffs4l.program import Laboratory
from speechkit.ssl.diffs4l.table import cells, markdown, paired
from speechkit.ssl.selection import by_turns
from tests.ssl.tiny import clip_wave

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes" / "diffs4l"
SPEAKERS = 12


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 clips of 1.4 s by twelve speakers."""

    def clip(index: int) -> PackedClip:
        pcm_T = clip_wave(index, 1.4)
        info: ClipInfo = {
            "id": f"tones/{index}", "text": f"AB {'CDE'[index % 3]}", "language": "en",
            "speaker": f"s{index % SPEAKERS}", "license": "CC0-1.0", "split": "train",
            "source": "tones",
        }  # fmt: skip
        return PackedClip(info=info, pcm_T=pcm_T, f0_F=np.zeros(-(-len(pcm_T) // 160)))

    path = tmp_path_factory.mktemp("corpus") / "tones.safetensors"
    write_packed(path, (clip(index) for index in range(36)))
    return path


def test_no_speaker_is_trained_and_tested_on(corpus: Path) -> None:
    packed = PackedCorpus(corpus)
    train, test = split_test(packed, 0.1, 0)
    assert sorted(train + test) == list(range(len(packed)))
    assert not {packed.speaker(n) for n in train} & {packed.speaker(n) for n in test}
    assert len({packed.speaker(n) for n in test}) == 5


def test_turns_take_every_speaker_before_any_twice(corpus: Path) -> None:
    packed = PackedCorpus(corpus)
    order = by_turns(range(len(packed)), packed.speaker, generator(0))
    assert sorted(order) == list(range(len(packed)))
    assert len({packed.speaker(n) for n in order[:SPEAKERS]}) == SPEAKERS


def test_mixes_follow_the_seed_and_have_their_hours(corpus: Path) -> None:
    first, again, other = ([n for _, n in drawn([corpus], 0.005, seed)] for seed in (0, 0, 1))
    assert first == again != other
    assert len(set(first)) == len(first)
    assert 0.005 <= hours_of(drawn([corpus], 0.005, 0)) < 0.005 + 1.5 / 3600
    with pytest.raises(DataError, match="are there"):
        drawn([corpus], 1.0, 0)


def without_pitch(corpus: Path, path: Path) -> Path:
    """The corpus as `prepare --no-pitch` would have packed it, under other ids."""
    packed = PackedCorpus(corpus)
    write_packed(
        path,
        (
            PackedClip(
                info={**info, "id": f"{info['id']}-quiet"},
                pcm_T=pcm16(packed.wave(n)),
                f0_F=np.zeros(0),
            )
            for n, info in enumerate(packed.clips)
        ),
    )
    return path


def test_a_seed_without_pitch_is_mixed_with_speech_that_has_it(
    corpus: Path, tmp_path: Path
) -> None:
    seed, pool = PackedCorpus(without_pitch(corpus, tmp_path / "seed")), PackedCorpus(corpus)
    places = [(seed, 0), (pool, 1), (seed, 2)]
    write_clips(tmp_path / "mix", places)
    mix = PackedCorpus(tmp_path / "mix")
    assert not mix.has_pitch
    for n, (source, clip) in enumerate(places):
        assert torch.equal(mix.wave(n), source.wave(clip))
    write_clips(tmp_path / "all", [(pool, 1)])
    assert PackedCorpus(tmp_path / "all").has_pitch


def test_a_codec_of_its_own_wants_pitch_before_anything_is_trained(
    corpus: Path, tmp_path: Path
) -> None:
    experiment = load_toml(RECIPES / "tiny.toml", Experiment)
    assert experiment.codec is not None
    silent = without_pitch(corpus, tmp_path / "silent")
    with pytest.raises(DataError, match="without pitch"):
        run_experiment(experiment, RECIPES, silent, tmp_path / "out")
    assert not (tmp_path / "out" / "first").exists()


def test_one_speaker_cannot_be_split(tmp_path: Path) -> None:
    pcm_T = clip_wave(0, 1.0)
    info: ClipInfo = {
        "id": "a", "text": "A", "language": "en", "speaker": "s", "license": "CC0-1.0",
        "split": "train", "source": "tones",
    }  # fmt: skip
    path = tmp_path / "one.safetensors"
    write_packed(path, [PackedClip(info=info, pcm_T=pcm_T, f0_F=np.zeros(-(-len(pcm_T) // 160)))])
    with pytest.raises(DataError, match="one speaker"):
        split_test(PackedCorpus(path), 0.1, 0)


def result(arm: str, seed: int, hypotheses: Sequence[str], **changes: Any) -> dict[str, Any]:
    """A run that heard "a b" six times, by six speakers."""
    clips = [
        {"clip": str(n), "speaker": f"s{n}", "reference": "a b", "hypothesis": text}
        for n, text in enumerate(hypotheses)
    ]
    values = {
        "model": "hubert", "arm": arm, "seed": seed, "wer": 0.5, "cer": 0.5, "updates": 10,
        "hours": 1.0, "folder": f"runs/hubert/{arm}/{seed}",
        "commit": "abc", "clips": clips, "test_loss": [],
    }  # fmt: skip
    return {**values, **changes}


def test_differences_are_paired_with_the_same_seed() -> None:
    none = [result("none", seed, ["a c"] * 6) for seed in (0, 1)]
    mix = [result("mix", seed, ["a b"] * 6, wer=0.1 + 0.2 * seed) for seed in (0, 1)]
    found = {cell.arm: cell for cell in cells([*none, *mix])}
    less = found["mix"].word_difference
    assert less is not None
    assert less.value == pytest.approx(-0.5)
    assert less.interval is not None
    # Every clip is better by the same: pairing leaves no spread, whoever is drawn.
    assert less.interval.low == pytest.approx(-0.5)
    assert less.interval.high == pytest.approx(-0.5)
    assert less.text() == "-50.0 (-50.0 to -50.0)"
    # One character of the three of "a b".
    assert found["mix"].character_difference is not None
    assert found["mix"].character_difference.value == pytest.approx(-1 / 3)
    assert found["none"].word_difference is None
    text = markdown(list(found.values()), [])
    assert "20.0 ± 14.1" in text
    assert "[mix](runs/hubert/mix/0)" in text
    assert "compare nothing" not in text
    assert "compare nothing" in markdown(
        cells([*none, result("mix", 0, ["a b"] * 6, updates=9)]), []
    )


def clip_loss(n: int, loss: float, frames: int = 10) -> ClipLoss:
    return ClipLoss(clip=str(n), speaker=f"s{n}", loss=loss, frames=frames)


def test_losses_are_paired_clip_by_clip() -> None:
    losses = [clip_loss(n, 30.0 + n) for n in range(6)]
    lower = [clip_loss(n, 28.0 + n) for n in range(6)]
    none = result("none", 0, ["a c"] * 6, test_loss=losses)
    found = {c.arm: c for c in cells([none, result("mix", 0, ["a b"] * 6, test_loss=lower)])}
    assert list(found["none"].loss) == pytest.approx([3.25])
    assert found["none"].loss_difference is None
    assert found["mix"].loss_difference is not None
    # Two nats of ten frames, whoever is drawn.
    assert found["mix"].loss_difference.text(1.0, 3) == "-0.200 (-0.200 to -0.200)"
    assert "| 3.050 | -0.200 (-0.200 to -0.200) |" in markdown(list(found.values()), [])
    with pytest.raises(DataError, match="other clips"):
        interval_of_less(losses, [clip_loss(n, 28.0, frames=9) for n in range(6)])
    assert interval_of_less(losses[:4], lower[:4]) is None


def test_few_speakers_have_no_interval_and_other_clips_no_difference() -> None:
    few = [result(arm, 0, ["a b"] * 4) for arm in ("none", "mix")]
    assert paired([(few[1], few[0])], str.split).interval is None
    with pytest.raises(DataError, match="other clips"):
        paired([(few[0], result("mix", 0, ["a b"] * 5))], str.split)


@pytest.mark.parametrize("size", ["tiny", "small", "paper"])
def test_recipes_fit_together(size: str, tmp_path: Path) -> None:
    experiment = load_toml(RECIPES / f"{size}.toml", Experiment)
    laboratory = Laboratory(experiment, RECIPES, tmp_path, None, tmp_path)
    assert laboratory.codec_recipe is not None  # the headline row is free of labels
    assert {arm.name for arm in experiment.arms} >= {
        *("none", "wavaugment", "mixing", "levels-1-2", "level-3", "mix", "mix+mixing", "real")
    }
    load_toml(RECIPES / f"generator-{size}.toml", UnitGeneratorTraining)


def test_mini_has_the_ratios_of_small(tmp_path: Path) -> None:
    mini, small = (load_toml(RECIPES / f"{size}.toml", Experiment) for size in ("mini", "small"))
    assert Laboratory(mini, RECIPES, tmp_path, None, tmp_path).codec_recipe is None
    mix = {arm.name: arm for arm in small.arms}
    for arm in mini.arms:
        for hours in ("hours_1_2", "hours_3"):
            share = getattr(arm, hours) / mini.seed_hours
            assert share == pytest.approx(
                getattr(mix[arm.name], hours) / small.seed_hours, rel=0.02
            )


def test_arms_that_make_no_sense_are_refused() -> None:
    experiment = load_toml(RECIPES / "tiny.toml", Experiment)
    with pytest.raises(ConfigError, match="named 'none'"):
        replace(experiment, arms=(Arm(name="mix", hours_3=0.001),))
    with pytest.raises(ConfigError, match=r"augment\.hours makes"):
        replace(experiment, arms=(*experiment.arms, Arm(name="more", hours_3=9.0)))
    with pytest.raises(ConfigError, match="at once"):
        Arm(name="x", real=True, hours_3=1.0)
    with pytest.raises(ConfigError, match="cannot name a folder"):
        Arm(name="../x")


def test_too_few_labels_are_said_before_anything_is_trained(corpus: Path, tmp_path: Path) -> None:
    experiment = replace(load_toml(RECIPES / "tiny.toml", Experiment), label_minutes=60.0)
    with pytest.raises(ConfigError, match="minutes with text"):
        run_experiment(experiment, RECIPES, corpus, tmp_path / "out")
    assert not (tmp_path / "out" / "first").exists()


def test_tiny_goes_from_a_corpus_to_a_table_and_on(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["ssl", "diffs4l", str(corpus), "--config", str(RECIPES / "tiny.toml")]
    command += ["--out", str(out), "--set", 'models=["hubert"]', "--json"]
    assert main([*command, "--arms", "none", "mix"]) == 0
    assert json.loads(capsys.readouterr().out)["done"] == 2
    seed, tested = (PackedCorpus(out / "data" / f"{n}.corpus") for n in ("seed", "test"))
    assert not {c["speaker"] for c in seed.clips} & {c["speaker"] for c in tested.clips}
    assert all(clip["text"] is None for clip in seed.clips)
    kept = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.name == "result.json"}
    # A lost result is made again, from the runs that are there, and is the same; others stay.
    lost = out / "runs" / "hubert" / "mix" / "0" / "result.json"
    before = json.loads(lost.read_text())
    lost.unlink()
    shutil.rmtree(out / "runs" / "hubert" / "mix" / "0" / "finetune")
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["done"] == 8
    after = json.loads(lost.read_text())
    assert {k: v for k, v in after.items() if k != "commit"} == {
        k: v for k, v in before.items() if k != "commit"
    }
    assert [p for p, at in kept.items() if p.stat().st_mtime_ns != at] == [lost]
    rows = (out / "table.md").read_text().splitlines()
    assert len([row for row in rows if row.startswith("| hubert")]) == 8
    assert "Updates of each pre-training: 2." in "\n".join(rows)
    assert (out / "composition.png").is_file()
    for arm in ("none", "mix"):
        losses = json.loads((out / "runs/hubert" / arm / "0/test_loss.json").read_text())
        assert {clip["clip"] for clip in losses} <= set(tested.ids)
        assert all(clip["frames"] > 0 and clip["loss"] > 0 for clip in losses)
    gates = json.loads((out / "gates.json").read_text())["gates"]
    for level in range(4):
        assert any(gate["name"].startswith(f"level {level}, unit") for gate in gates)
    closed = [gate["name"] for gate in gates if not gate["passed"]]
    assert [row for row in rows if "Closed gate" in row] == [
        row for name in closed for row in rows if f"Closed gate of the pool: {name}: " in row
    ]
    assert len([row for row in rows if "Closed gate" in row]) == len(closed)
    assert main([*command, "--set", "steps=3"]) == 2
    assert main([*command, "--arms", "nothing"]) == 2
