"""The aligner learns phone times from transcripts alone, on tones whose times are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from speechkit.core.errors import CheckpointError, DataError
from speechkit.core.mel import LogMel
from speechkit.core.rng import derive, generator
from speechkit.data.align import align
from speechkit.data.align.align import align_corpus
from speechkit.data.align.corpus import FeatureCache, read_transcripts, require_some
from speechkit.data.align.model import (
    Aligner,
    AlignerConfig,
    features,
    load_aligner,
    pad_features,
    save_aligner,
)
from speechkit.data.align.train import AlignerTraining, AlignTask, AlignTaskConfig, train_aligner
from speechkit.data.alignment import Alignment, write_alignment
from speechkit.data.packed import ClipInfo, PackedClip, PackedCorpus, Shard, write_packed
from speechkit.data.work import Crew
from speechkit.text import DEFAULT_VOCABULARY
from speechkit.train.config import TrainConfig

TONES_HZ = {"B": 300.0, "AH0": 700.0, "T": 1500.0, "S": 3000.0, "IY1": 5000.0}
CONFIG = AlignerConfig(channels=32, blocks=1)


def phones_of(text: str) -> tuple[str, ...]:
    """The made-up language of this test: letters joined by "-", words by a blank."""
    words = [tuple(word.split("-")) for word in text.split()]
    inner = [symbol for word in words for symbol in (*word, " ")][:-1]
    return ("^", *inner, "$")


def make_clip(index: int) -> tuple[PackedClip, list[int]]:
    """A clip of random tones and pauses, and the frames of each symbol."""
    rng = np.random.default_rng(derive(5, index))
    names = list(TONES_HZ)
    words = ["-".join(rng.choice(names, rng.integers(1, 4), replace=False)) for _ in range(3)]
    text = " ".join(words)
    frames, pieces = [], []
    for symbol in phones_of(text):
        pause = symbol in ("^", "$") or (symbol == " " and rng.random() < 0.4)
        length = int(rng.integers(5, 12)) if pause or symbol in TONES_HZ else 0
        time = np.arange(length * 320) / 16_000
        wave = 0.3 * np.sin(2 * np.pi * TONES_HZ.get(symbol, 0.0) * time)
        pieces.append(wave + 0.001 * rng.standard_normal(len(time)))
        frames.append(length)
    pcm_T = (np.concatenate(pieces) * 32767).astype(np.int16)
    info = ClipInfo(
        id=f"clip{index}", text=text, speaker="s", language="en", license="CC0-1.0",
        split="train", source="test",
    )  # fmt: skip
    return PackedClip(info=info, pcm_T=pcm_T, f0_F=np.zeros(len(pcm_T) // 160)), frames


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[int]]]:
    """A packed corpus of tones, and the frames of each phone of each clip."""
    path = tmp_path_factory.mktemp("tones") / "tones.safetensors"
    clips = [make_clip(index) for index in range(60)]
    write_packed(path, (clip for clip, _ in clips))
    return path, [frames for _, frames in clips]


def test_learns_to_align_tones(tones: tuple[Path, list[list[int]]], tmp_path: Path) -> None:
    """Trained as by `speechkit train aligner`, it finds most phone boundaries to the frame."""
    data, truth = tones
    recipe = AlignerTraining(
        model=CONFIG,
        task=AlignTaskConfig(utterances=8),
        train=TrainConfig(
            steps=120, lr=5e-3, warmup_steps=10, ema_decay=0.9, validate_every_steps=120
        ),
    )
    assert train_aligner(data, recipe, tmp_path / "run", phones_of=phones_of).finished
    corpus = PackedCorpus(data)
    report = align_corpus(data, tmp_path / "run" / "last", phones_of=phones_of)
    alignment = Alignment(corpus)
    errors = []
    for clip, frames in enumerate(truth):
        assert int(alignment.frames(clip).sum()) == -(-corpus.samples(clip) // 320)
        symbols = DEFAULT_VOCABULARY.phones(alignment.phones(clip).tolist())
        assert tuple(symbols) == phones_of(corpus.clips[clip]["text"] or "")
        inner = torch.tensor([symbol in TONES_HZ for symbol in symbols])
        ends = alignment.frames(clip).cumsum(0) - torch.tensor(frames).cumsum(0)
        errors.append(ends[:-1][inner[:-1] & inner[1:]].abs().float())
    error_frames = torch.cat(errors)
    assert float(error_frames.median()) <= 1.0
    assert float((error_frames <= 2).float().mean()) >= 0.8
    assert report.aligned == len(corpus)
    assert report.lines()


def transcripts_task(tones: tuple[Path, list[list[int]]]) -> AlignTask:
    """A task on the tones with an untrained aligner."""
    corpus = PackedCorpus(tones[0])
    model = Aligner(CONFIG)
    found = read_transcripts(corpus, model.classes, phones_of)
    return AlignTask(model, found, FeatureCache(corpus, CONFIG), AlignTaskConfig(utterances=4))


class Counted(FeatureCache):
    """Features that note whose they are."""

    def __init__(self, corpus: PackedCorpus) -> None:
        super().__init__(corpus, CONFIG)
        self.asked: list[int] = []

    def __call__(self, clip: int) -> torch.Tensor:
        self.asked.append(clip)
        return super().__call__(clip)


def test_a_corpus_of_four_times_the_weight_is_heard_four_times_as_often(tmp_path: Path) -> None:
    clips = [make_clip(index)[0] for index in range(40)]
    write_packed(tmp_path / "a.safetensors", clips[::2])
    write_packed(tmp_path / "b.safetensors", clips[1::2])
    corpus = PackedCorpus([f"{tmp_path / 'a.safetensors'}:1", f"{tmp_path / 'b.safetensors'}:4"])
    model, config = Aligner(CONFIG), AlignTaskConfig(utterances=4, held_out=0)
    found = read_transcripts(corpus, model.classes, phones_of)
    asked = {}
    for name, weight_N in (("weighted", corpus.weight_N), ("alike", None)):
        features_of = Counted(corpus)
        task = AlignTask(model, found, features_of, config, weight_N)
        for number in range(150):
            task.batch(generator(derive(0, number)), number)
        asked[name] = [sum(clip < 20 for clip in features_of.asked), len(features_of.asked)]
    share = {name: first / of for name, (first, of) in asked.items()}
    assert share["alike"] == pytest.approx(0.5, abs=0.1)
    assert share["weighted"] == pytest.approx(0.2, abs=0.06)


def test_batches_follow_from_the_generator(tones: tuple[Path, list[list[int]]]) -> None:
    """Same seed, same batch; loss and held-out likelihood are finite."""
    task = transcripts_task(tones)
    first, second, other = (task.batch(generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(first.mel_BHM, second.mel_BHM)
    assert not torch.equal(first.mel_BHM, other.mel_BHM)
    losses = task.losses(first, generator(0), 0)
    assert set(losses) == set(task.weights)
    assert bool(torch.isfinite(losses["frame"]))
    figures = task.validate()
    assert figures["score"] == figures["held_out/log_likelihood"] > float("-inf")


def test_short_clips_are_counted(tones: tuple[Path, list[list[int]]]) -> None:
    """A clip with more phones than frames is skipped; one with no usable clip is an error."""
    corpus = PackedCorpus(tones[0])
    classes = Aligner(CONFIG).classes

    def endless(text: str) -> Sequence[str]:
        return ("B", "T") * 1000 if text == corpus.clips[0]["text"] else phones_of(text)

    found = read_transcripts(corpus, classes, endless)
    assert found.skipped == {"too short for its phones": 1}
    with pytest.raises(DataError, match="No clip"):
        require_some(read_transcripts(corpus, classes, lambda text: ("B",) * 5000))
    with pytest.raises(DataError, match="No clip"):
        require_some(read_transcripts(corpus, classes, phones_of, languages=("de",)))


def test_padding_changes_nothing() -> None:
    """Posteriors of a clip alone and in a batch with a longer one agree."""
    rng = generator(7)
    model = Aligner(CONFIG).eval()
    log_mel = LogMel(CONFIG.mel)
    waves = [torch.randn(length, generator=rng) * 0.1 for length in (4001, 9000)]
    mels = [features(wave_T, log_mel, CONFIG) for wave_T in waves]
    assert [len(mel) for mel in mels] == [26, 58]
    with torch.no_grad():
        together = model(*pad_features(mels))
        alone = model(*pad_features(mels[:1]))
    torch.testing.assert_close(together[0, :13], alone[0], atol=1e-5, rtol=1e-5)


def test_saved_aligner_is_the_same(tmp_path: Path) -> None:
    """Weights, prior and config survive; another model's folder is refused."""
    model = Aligner(CONFIG)
    model.update_prior(torch.rand(10, len(model.classes), generator=generator(1)))
    save_aligner(tmp_path / "aligner", model)
    loaded = load_aligner(tmp_path / "aligner")
    assert loaded.config == CONFIG
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name])
    config = json.loads((tmp_path / "aligner" / "config.json").read_text())
    (tmp_path / "aligner" / "config.json").write_text(json.dumps({**config, "kind": "codec"}))
    with pytest.raises(CheckpointError, match="no aligner"):
        load_aligner(tmp_path / "aligner")


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("aligner")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_aligner(folder, Aligner(CONFIG))
    return folder


def sharded(tones: tuple[Path, list[list[int]]], folder: Path) -> Path:
    """The first clips of the tones in shards of two."""
    corpus, path = PackedCorpus(tones[0]), folder / "tones.corpus"
    clips = (
        PackedClip(
            info=corpus.clips[n],
            pcm_T=(corpus.wave(n).numpy() * 32768).astype(np.int16),
            f0_F=corpus.f0(n).numpy(),
        )
        for n in range(5)
    )
    write_packed(path, clips, shard_clips=2)
    return path


def test_a_killed_alignment_goes_on(
    tones: tuple[Path, list[list[int]]],
    untrained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = sharded(tones, tmp_path)
    aligned, write = list[str](), write_alignment

    def dies_at_the_third(shard: Shard, *args: Any, **more: Any) -> None:
        if len(aligned) == 2:
            raise KeyboardInterrupt
        write(shard, *args, **more)
        aligned.append(shard.path.name)

    monkeypatch.setattr(align, "write_alignment", dies_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        align_corpus(data, untrained, phones_of=phones_of)
    with pytest.raises(DataError, match="1 of 3 shards"):
        Alignment(PackedCorpus(data))
    aligned.clear()
    report = align_corpus(data, untrained, phones_of=phones_of)
    assert aligned == ["00002.safetensors"]
    assert (report.aligned, report.missing_shards) == (5, 0)
    # Another aligner's work is not taken for this one's.
    save_aligner(tmp_path / "other", Aligner(replace(CONFIG, prior_scale=0.5)))
    aligned.clear()
    with pytest.raises(KeyboardInterrupt):
        align_corpus(data, tmp_path / "other", phones_of=phones_of)
    assert aligned == ["00000.safetensors", "00001.safetensors"]


@pytest.mark.slow
def test_parts_and_processes_make_the_same_alignment(
    tones: tuple[Path, list[list[int]]], untrained: Path, tmp_path: Path
) -> None:
    made = []
    for name, workers in (("a", 1), ("b", 2)):
        data = sharded(tones, tmp_path / name)
        first = align_corpus(
            data, untrained, phones_of=phones_of, crew=Crew(workers=workers, part=(1, 2))
        )
        assert (first.aligned, first.missing_shards) == (3, 1)
        align_corpus(data, untrained, phones_of=phones_of, crew=Crew(workers=workers, part=(2, 2)))
        made.append([p.read_bytes() for p in sorted(data.glob("*.alignment.safetensors"))])
    assert len(made[0]) == 3
    assert made[0] == made[1]
