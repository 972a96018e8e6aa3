"""A corpus as codes: clips that are encoded together have the codes that each has alone."""

from __future__ import annotations

from pathlib import Path

import torch

from speechkit.data.codes import CorpusCodes
from speechkit.data.packed import PackedCorpus
from speechkit.facodec.encode_corpus import encode_corpus
from tests.facodec.builders import tiny_data
from tests.tiny import tiny_model


def test_a_batch_of_clips_has_the_codes_of_each_alone(tmp_path: Path) -> None:
    codec = tiny_model(tmp_path / "model") / "codec"
    found = []
    for name, batch in (("alone", 1), ("together", 3)):
        (tmp_path / name).mkdir()
        corpus = tiny_data(tmp_path / name).corpus
        made = encode_corpus(corpus.path, codec, batch=batch)
        assert made.encoded == len(corpus)
        found.append(CorpusCodes(PackedCorpus(corpus.path)))
    alone, together = found
    lengths = {alone.frames(clip) for clip in range(8)}
    assert len(lengths) > 3, "clips of one length need no padding"
    for clip in range(8):
        one, other = alone.clip(clip), together.clip(clip)
        assert torch.equal(one.codes_KF, other.codes_KF)
        assert torch.equal(one.phone_F, other.phone_F)
        torch.testing.assert_close(one.timbre_D, other.timbre_D, atol=1e-5, rtol=0)
