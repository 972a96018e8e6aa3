"""What pre-training heard is written down, and probes leave it out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from speechkit.core.errors import CheckpointError, DataError
from speechkit.data.packed import PackedCorpus
from speechkit.ssl.heard import HEARD_FILE, clip_key, read_heard, write_heard
from speechkit.ssl.probes import ProbeConfig
from speechkit.ssl.probes.program import gather
from tests.ssl.tiny import tiny_corpus

CONFIG = ProbeConfig(tasks=("speaker",), minutes=1.0)


def test_it_comes_back_and_synthetic_clips_count_as_their_parents(tmp_path: Path) -> None:
    assert read_heard(tmp_path) is None
    write_heard(tmp_path, ["a/1", "a/2~level3-0", "a/2"])
    assert read_heard(tmp_path) == frozenset((clip_key("a/1"), clip_key("a/2")))
    (tmp_path / HEARD_FILE).write_text(json.dumps({"format": "other"}))
    with pytest.raises(CheckpointError, match="damaged"):
        read_heard(tmp_path)


def test_probes_leave_out_what_was_heard(tmp_path: Path) -> None:
    corpus = PackedCorpus(tiny_corpus(tmp_path / "t.safetensors", seconds=3.0))
    heard = frozenset(clip_key(name) for name in corpus.ids[:6])
    material = gather(corpus, CONFIG, heard)
    assert material.counts()["clips"] == {"chosen": 18, "heard_and_left_out": 6}
    assert gather(corpus, CONFIG).counts()["clips"]["chosen"] == 24
    with pytest.raises(DataError, match="--heard"):
        gather(corpus, CONFIG, frozenset(map(clip_key, corpus.ids)))
    assert not replace(CONFIG).heard
