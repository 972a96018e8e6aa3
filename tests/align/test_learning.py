"""The aligner learns phone times from transcripts alone, on tones whose times are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from speechkit.core.errors import CheckpointError, DataError
from speechkit.core.mel import LogMel
from speechkit.core.rng import derive, generator
from speechkit.data.align import (
    Aligner,
    AlignerConfig,
    align,
    align_corpus,
    load_aligner,
    save_aligner,
)
from speechkit.data.align.corpus import FeatureCache, read_transcripts
from speechkit.data.align.evaluate import boundary_errors, format_table, read_truth, summarise
from speechkit.data.align.model import features, pad_features
from speechkit.data.align.phones import read_phones
from speechkit.data.align.task import AlignTask, AlignTaskConfig
from speechkit.data.align.train import train_aligner
from speechkit.data.alignment import Alignment, sidecar_path
from speechkit.data.packed import ClipInfo, PackedClip, PackedCorpus, write_packed
from speechkit.text import DEFAULT_VOCABULARY
from speechkit.train.config import TrainConfig

TONES_HZ = {"B": 300.0, "AH0": 700.0, "T": 1500.0, "S": 3000.0, "IY1": 5000.0}
CONFIG = AlignerConfig(symbols=DEFAULT_VOCABULARY.symbols, channels=32, blocks=1)


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
def tones(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A packed corpus of tones, its phone times as JSONL, and its phones as a file."""
    folder = tmp_path_factory.mktemp("tones")
    clips = [make_clip(index) for index in range(60)]
    write_packed(folder / "tones.safetensors", (clip for clip, _ in clips))
    truth, phones = [], []
    for clip, frames in clips:
        text = clip.info["text"] or ""
        times = {"id": clip.info["id"], "phones": phones_of(text), "frames_50hz": frames}
        truth.append(json.dumps(times))
        phones.append(json.dumps({"text": text, "phones": phones_of(text)}))
    (folder / "truth.jsonl").write_text("\n".join(truth))
    (folder / "phones.jsonl").write_text("\n".join(phones))
    return folder / "tones.safetensors", folder / "truth.jsonl", folder / "phones.jsonl"


def test_learns_to_align_tones(tones: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """Trained through the program's own path, it finds most boundaries to the frame."""
    data, times, phones = tones
    train_config = TrainConfig(
        steps=120, lr=5e-3, warmup_steps=10, ema_decay=0.9, validate_every_steps=120
    )
    task_config = AlignTaskConfig(utterances=8, full_sum_from_step=80)
    aligner = train_aligner(
        data, tmp_path / "run", train_config,
        phones=phones, truth=(data, times), task_config=task_config, model_config=CONFIG,
    )  # fmt: skip
    corpus = PackedCorpus(data)
    report = align_corpus(corpus, aligner, phones_of=phones_of)
    alignment = Alignment(sidecar_path(data), [info["id"] for info in corpus.clips])
    truth = read_truth(times, corpus, aligner.classes)
    errors = []
    for item in truth:
        clip = item.utterance.clip
        assert int(alignment.frames(clip).sum()) == -(-corpus.samples(clip) // 320)
        symbols = DEFAULT_VOCABULARY.phones(alignment.phones(clip).tolist())
        assert tuple(symbols) == item.utterance.phones
        errors.append(boundary_errors(symbols, alignment.frames(clip), item.frames_P))
    figures = summarise(errors)
    assert figures["boundary/median_ms"] <= 20.0
    assert figures["boundary/within_50ms"] >= 0.8
    assert report.aligned == len(corpus)
    assert report.lines()
    assert "phone" in format_table(figures)


def test_boundary_errors_by_hand() -> None:
    """Each kind of boundary, signed, a gap at its middle."""
    phones = ("^", "B", "AH0", " ", "T", ",", "S", "$")
    truth = torch.tensor([5, 4, 4, 0, 4, 6, 4, 3])
    found = torch.tensor([4, 5, 4, 2, 2, 6, 5, 2])
    errors = boundary_errors(phones, found, truth)
    assert errors.phone_ms.tolist() == [0.0]
    assert errors.gap_ms.tolist() == [20.0]
    assert errors.pause_ms.tolist() == [0.0]
    assert errors.edge_ms.tolist() == [-20.0, 20.0]
    assert summarise([errors])["boundary/count"] == 5.0


def transcripts_task(
    tones: tuple[Path, Path, Path], full_sum_from_step: int | None = None
) -> AlignTask:
    """A task on the tones with an untrained aligner."""
    corpus = PackedCorpus(tones[0])
    model = Aligner(CONFIG)
    found = read_transcripts(corpus, model.classes, phones_of)
    config = AlignTaskConfig(utterances=4, full_sum_from_step=full_sum_from_step)
    return AlignTask(model, found, FeatureCache(corpus, CONFIG), config)


def test_batches_follow_from_the_generator(tones: tuple[Path, Path, Path]) -> None:
    """Same seed, same batch; and the loss is finite in both phases."""
    task = transcripts_task(tones, full_sum_from_step=1000)
    first, second = task.batch(generator(3)), task.batch(generator(3))
    assert torch.equal(first.mel_BHM, second.mel_BHM)
    for step in (0, 10_000):
        losses = task.losses(first, generator(0), step)
        assert set(losses) == set(task.weights)
        assert bool(torch.isfinite(losses["frame"]))


def test_short_clips_are_counted(tones: tuple[Path, Path, Path]) -> None:
    """A clip with more phones than frames is skipped; one with no usable clip is an error."""
    corpus = PackedCorpus(tones[0])
    classes = Aligner(CONFIG).classes

    def endless(text: str) -> Sequence[str]:
        return ("B", "T") * 1000 if text == corpus.clips[0]["text"] else phones_of(text)

    found = read_transcripts(corpus, classes, endless)
    assert found.skipped == {"too short for its phones": 1}
    with pytest.raises(DataError, match="No clip"):
        read_transcripts(corpus, classes, lambda text: ("B",) * 5000)
    with pytest.raises(DataError, match="No clip"):
        read_transcripts(corpus, classes, phones_of, languages=("de",))


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


def test_align_with_a_given_model(tones: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """The command's function: a stored aligner, a phones file, and a sidecar where it was asked."""
    save_aligner(tmp_path / "aligner", Aligner(CONFIG))
    out = tmp_path / "out.safetensors"
    report = align(tones[0], model=tmp_path / "aligner", out=out, phones=tones[2])
    assert report.aligned == 60
    assert Alignment(out).has(0)


def test_broken_phone_files_are_refused(tmp_path: Path) -> None:
    """Not JSON, or without the fields: DataError."""
    path = tmp_path / "phones.jsonl"
    for content in ("nonsense", '{"text": "a"}', "[1]"):
        path.write_text(content)
        with pytest.raises(DataError):
            read_phones(path)
