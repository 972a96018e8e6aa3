"""Pools on the disk: the same bytes whoever makes them, nothing lost, nothing twice; and gates."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from speechkit.cli import main
from speechkit.core.errors import ConfigError, DataError
from speechkit.core.rng import generator
from speechkit.data.packed import PackedCorpus, write_packed
from speechkit.data.ray import TaskDoer
from speechkit.data.work import Crew
from speechkit.ssl.augment import AugmentConfig, Pool, augment_corpus
from speechkit.ssl.augment.check import Limits, check_pool, silence_share, survival
from speechkit.ssl.augment.files import Inputs, read_manifest, require_space
from speechkit.ssl.augment.pool import PoolWork
from speechkit.ssl.augment.synthesis import PEAK, at_loudness_of
from speechkit.ssl.units import KMeans, Units
from speechkit.ssl.units.features import mfcc_features
from tests.diffs4l.builders import Seed

ROOT = Path(__file__).parents[2]
CONFIG = AugmentConfig(hours=(0.001, 0.001, 0.001, 0.001), shard_clips=2)


def inputs_of(seed: Seed) -> Inputs:
    return Inputs(
        corpus=seed.corpus,
        units=seed.units,
        codec=seed.codec,
        generator=seed.generator,
    )


def contents(pool: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(pool.iterdir())
        if path.is_file()
    }


@pytest.fixture(scope="module")
def pool(seed: Seed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole pool by the plain loop."""
    folder = tmp_path_factory.mktemp("pools") / "plain"
    report = augment_corpus(inputs_of(seed), CONFIG, folder)
    assert (report.missing, report.left_out, report.one_voice) == (0, 0, False)
    return folder


def test_clips_are_as_long_as_their_parents_and_tell_their_history(seed: Seed, pool: Path) -> None:
    corpus, jobs = PackedCorpus(seed.corpus), iter(Pool(inputs_of(seed), CONFIG, pool).jobs)
    shards = json.loads((pool / "pool.json").read_text())["shards"]
    assert {shard["level"] for shard in shards} == {0, 1, 2, 3}
    for number in range(len(shards)):
        made, lines = PackedCorpus(pool / f"{number:05d}.safetensors"), read_manifest(pool, number)
        assert made.ids == [line["id"] for line in lines]
        for clip, (info, line) in enumerate(zip(made.clips, lines, strict=True)):
            job = next(jobs)
            assert (line["id"], line["level"], line["seed"]) == (job.id, job.level, job.seed)
            assert line["parent"] == corpus.clips[job.parent]["id"]
            assert made.samples(clip) == corpus.samples(job.parent)
            assert info["text"] is None
            assert info["source"] == f"synthetic/level{job.level}"
            assert info["speaker"] == line["speaker"] == corpus.clips[job.voice]["speaker"]
            pcm = (made.wave(clip).numpy() * 32768).astype(np.int16).tobytes()
            assert line["sha256"] == hashlib.sha256(pcm).hexdigest()


def test_parts_make_what_the_plain_loop_makes(seed: Seed, pool: Path, tmp_path: Path) -> None:
    first = augment_corpus(inputs_of(seed), CONFIG, tmp_path / "p", crew=Crew(part=(1, 2)))
    assert first.missing > 0
    second = augment_corpus(inputs_of(seed), CONFIG, tmp_path / "p", crew=Crew(part=(2, 2)))
    assert second.missing == 0
    assert first.made + second.made == first.shards
    assert contents(tmp_path / "p") == contents(pool)


def test_only_what_is_missing_is_made_again(seed: Seed, pool: Path, tmp_path: Path) -> None:
    folder = tmp_path / "p"
    augment_corpus(inputs_of(seed), CONFIG, folder)
    # As after a kill: a shard without its manifest, and the remains of a write.
    (folder / "00001.jsonl").unlink()
    (folder / "00001.safetensors").write_bytes(b"half")
    report = augment_corpus(inputs_of(seed), CONFIG, folder)
    assert report.made == 1
    assert contents(folder) == contents(pool)
    assert not list(folder.glob(".*"))
    assert augment_corpus(inputs_of(seed), CONFIG, folder).made == 0


def test_a_pool_of_other_settings_is_not_mixed_in(seed: Seed, pool: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="another config"):
        augment_corpus(inputs_of(seed), replace(CONFIG, seed=1), pool)
    (tmp_path / "mine").write_text("x")
    with pytest.raises(ConfigError, match="holds no pool"):
        augment_corpus(inputs_of(seed), CONFIG, tmp_path)


def test_batches_do_not_change_what_is_drawn(seed: Seed, pool: Path, tmp_path: Path) -> None:
    alone = replace(CONFIG, batch_frames=1)
    augment_corpus(inputs_of(seed), alone, tmp_path / "p")
    for path in sorted(pool.glob("*.safetensors")):
        one, other = PackedCorpus(path), PackedCorpus(tmp_path / "p" / path.name)
        for clip in range(len(one)):
            assert torch.allclose(one.wave(clip), other.wave(clip), atol=1e-3)


def test_a_generator_of_other_units_is_refused(seed: Seed, tmp_path: Path) -> None:
    config = json.loads((seed.generator / "config.json").read_text())
    config["units"]["kmeans_sha256"] = "f" * 64
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(
        (seed.generator / "model.safetensors").read_bytes()
    )
    with pytest.raises(ConfigError, match="not trained on the units"):
        augment_corpus(replace(inputs_of(seed), generator=tmp_path), CONFIG, tmp_path / "p")
    with pytest.raises(ConfigError, match="need a generator"):
        augment_corpus(replace(inputs_of(seed), generator=None), CONFIG, tmp_path / "p")
    level_0 = replace(CONFIG, hours=(0.001, 0, 0, 0))
    assert augment_corpus(replace(inputs_of(seed), generator=None), level_0, tmp_path / "p").made


def test_a_full_disk_is_said_before_work(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="make room"):
        require_space(tmp_path / "not" / "yet", 1e6)
    require_space(tmp_path, 1e-4)


def test_a_disk_that_fills_loses_no_finished_shard(
    seed: Seed, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = write_packed
    calls = []

    def full(path: Path, clips: object) -> None:
        calls.append(path)
        if len(calls) == 3:
            raise OSError(28, "No space left on device", str(path))
        written(path, clips)  # type: ignore[arg-type]

    monkeypatch.setattr("speechkit.ssl.augment.files.write_packed", full)
    with pytest.raises(OSError, match="No space"):
        augment_corpus(inputs_of(seed), CONFIG, tmp_path / "p")
    monkeypatch.undo()
    done = contents(tmp_path / "p")
    assert sum(name.endswith(".jsonl") for name in done) == 2
    augment_corpus(inputs_of(seed), CONFIG, tmp_path / "p")
    assert contents(tmp_path / "p") == contents(pool)


PROGRAM = """
import sys
from pathlib import Path
from tests.diffs4l.builders import Seed
from tests.diffs4l.test_augment import CONFIG, inputs_of
from speechkit.ssl.augment import augment_corpus
home = Path(sys.argv[1])
seed = Seed(corpus=home / "seed.safetensors", units=home / "units",
            kmeans=home / "units" / "kmeans", codec=home / "codec", generator=home / "generator")
augment_corpus(inputs_of(seed), CONFIG, Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_killed_worker_loses_nothing(seed: Seed, pool: Path, tmp_path: Path) -> None:
    folder = tmp_path / "p"
    command = [sys.executable, "-c", PROGRAM, str(seed.corpus.parent), str(folder)]
    worker = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
    until = time.monotonic() + 300
    while not list(folder.glob("*.jsonl")) and time.monotonic() < until:
        assert worker.poll() is None, "the worker ended by itself"
        time.sleep(0.01)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    augment_corpus(inputs_of(seed), CONFIG, folder)
    assert contents(folder) == contents(pool)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_ray_gives_the_bytes_of_the_plain_loop(seed: Seed, pool: Path, tmp_path: Path) -> None:
    report = augment_corpus(inputs_of(seed), CONFIG, tmp_path / "p", crew=Crew(ray=2))
    assert report.missing == 0
    assert contents(tmp_path / "p") == contents(pool)


def test_a_worker_of_ray_makes_those_bytes_and_none_twice(
    seed: Seed, pool: Path, tmp_path: Path
) -> None:
    augment_corpus(inputs_of(seed), CONFIG, tmp_path / "p", crew=Crew(part=(1, 2)))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "p").iterdir()}
    work = PoolWork(inputs=inputs_of(seed), config=CONFIG, folder=tmp_path / "p")
    shards = json.loads((pool / "pool.json").read_text())["shards"]
    worker = TaskDoer(work, range(len(shards)), torch.get_num_threads(), ".")
    # As Ray Data hands it out, shards that were made before a retry among them.
    worker({"item": np.arange(len(shards))})
    assert contents(tmp_path / "p") == contents(pool)
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())


def test_loudness_is_the_parents() -> None:
    time_T = torch.arange(16_000) / 16_000
    parent_T = 0.3 * torch.sin(2 * torch.pi * 200 * time_T)
    wave_T = 0.01 * torch.sin(2 * torch.pi * 300 * time_T)
    assert float(at_loudness_of(wave_T, parent_T).abs().max()) == pytest.approx(0.3, rel=0.01)
    spiky_T = 0.001 * wave_T
    spiky_T[100] = 1.0
    assert float(at_loudness_of(spiky_T, parent_T).abs().max()) <= PEAK


def test_gates_open_and_close(seed: Seed, pool: Path) -> None:
    kmeans, sha256 = KMeans.load(seed.kmeans)
    corpus = PackedCorpus(seed.corpus)
    assert sha256 == Units(seed.units, corpus).kmeans_sha256
    of_wave = {corpus.wave(n).numpy().tobytes(): n for n in range(len(corpus))}

    def embed(wave_T: np.ndarray) -> np.ndarray:
        # A verifier for which all that is synthetic sounds like clip 0 of its own dimension.
        axis_D = np.zeros(2, np.float32)
        axis_D[0 if wave_T.tobytes() in of_wave else 1] = 1
        return axis_D

    report = check_pool(pool, seed.corpus, seed.units, kmeans, mfcc_features(), embed)
    names = [gate.name for gate in report.gates]
    assert [name.split(",")[0] for name in names] == [
        *("level 0", "level 1", "level 2"),
        *("level 2", "level 3", "level 3", "level 3"),
    ]
    gains = [gate for gate in report.gates if "similarity" in gate.name]
    assert [gate.value for gate in gains] == [0.0, 0.0]
    assert not any(gate.passed for gate in gains)
    loose = Limits(similarity=-1, survival=0, perplexity=0, silence=1)
    assert check_pool(
        pool, seed.corpus, seed.units, kmeans, mfcc_features(), embed, limits=loose
    ).passed
    assert not report.passed


def test_survival_is_1_for_renamed_units_and_0_for_unrelated_ones() -> None:
    given_U = torch.arange(6).repeat(50)
    assert survival([given_U], [5 - given_U], 6) == pytest.approx(1.0)
    assert survival([given_U], [torch.zeros_like(given_U)], 6) == 0.0
    assert survival([given_U], [torch.arange(6).repeat_interleave(50)], 6) < 0.01


def test_few_frames_share_information_by_chance_so_equally_many_are_compared() -> None:
    rng = generator(0)
    given = [torch.randint(40, (500,), generator=rng) for _ in range(40)]
    found = [torch.randint(40, (520,), generator=rng) for _ in range(40)]
    assert survival(given, found, 40) < 0.05
    assert survival(given, found, 40, frames=1200) > 0.1
    cut = survival([given[0], given[1], given[2][:200]], found[:3], 40)
    assert survival(given, found, 40, frames=1200) == cut


def test_silence_is_counted_below_the_loud_frames() -> None:
    loud_T = 0.5 * torch.ones(320 * 30)
    wave_T = torch.cat([loud_T, 1e-4 * torch.ones(320 * 10)])
    assert silence_share([wave_T]) == pytest.approx(0.25)
    assert silence_share([loud_T]) == 0.0


def test_the_verbs_make_and_check_a_pool(
    seed: Seed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = ["ssl", "augment", seed.corpus, "--units", seed.units, "--codec", seed.codec]
    made += ["--generator", seed.generator, "-o", tmp_path / "p", "--hours", "2=0.0005", "--json"]
    assert main([str(word) for word in made]) == 0
    assert json.loads(capsys.readouterr().out)["missing"] == 0
    check = ["ssl", "augment-check", tmp_path / "p", "--corpus", seed.corpus]
    check += ["--units", seed.units, "--kmeans", seed.kmeans, "--verifier", "none", "--json"]
    assert main([str(word) for word in check]) in (0, 1)
    assert json.loads(capsys.readouterr().out)["gates"][0]["name"].startswith("level 2")
    for bad in (["--hours", "4=1"], ["--hours", "2=x"], ["--shard", "3/2"], []):
        assert main([str(word) for word in [*made[:-3], *bad]]) == 2
