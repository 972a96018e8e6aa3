"""Drawn codes of corpus clips: the stages that are to be drawn, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from speechkit.core.checkpoint import save_checkpoint
from speechkit.core.config import to_dict
from speechkit.core.errors import DataError
from speechkit.data.codes import CODES, RedrawnCodes
from speechkit.data.split import split_clips
from speechkit.diffusion.dataset import GeneratorDataset
from speechkit.diffusion.redraw import redraw, redraw_corpus
from tests.diffusion.builders import SMALL, live_generator
from tests.facodec.builders import TinyData, tiny_data


def test_detail_is_drawn_for_all_and_content_for_every_second_one(data: TinyData) -> None:
    model = live_generator()
    dataset = GeneratorDataset(data.corpus, data.alignment, data.codes, SMALL, prompt_drop=0.0)
    clips = dataset.clips_N.tolist()[:4]
    drawn, again = (redraw(model, dataset, clips, seed=3) for _ in range(2))
    for number, (clip, target, same) in enumerate(zip(clips, drawn, again, strict=True)):
        true_KF = data.codes.clip(clip).codes_KF
        changed_K = (target.codes_KN != true_KF[:, : target.frames]).any(dim=-1).tolist()
        assert changed_K == [False, *[number % 2 == 1] * 2, True, True, True]
        assert torch.equal(target.codes_KN, same.codes_KN)


def test_a_corpus_is_drawn_but_for_its_held_out_speakers(tmp_path: Path) -> None:
    data = tiny_data(tmp_path, count=12, speakers=6)
    model = live_generator()
    save_checkpoint(
        tmp_path / "generator", model.state_dict(), {"generator": to_dict(model.config)}
    )
    report = redraw_corpus(data.corpus.path, tmp_path / "generator", minutes=5)
    found = RedrawnCodes(data.corpus)
    drawn = {clip for clip in range(len(data.corpus)) if found.has(clip)}
    assert drawn == set(split_clips(data.corpus, validation=False).tolist())
    assert report.clips == len(drawn) < len(data.corpus)
    assert found.codec_sha256 == data.codes.codec_sha256
    assert all(found.frames(clip) <= data.codes.frames(clip) for clip in drawn)


def test_a_corpus_without_codes_is_named(tmp_path: Path) -> None:
    data = tiny_data(tmp_path)
    data.corpus.shards[0].sidecar(CODES.name).unlink()
    with pytest.raises(DataError, match="encode"):
        redraw_corpus(data.corpus.path, tmp_path, minutes=1)
