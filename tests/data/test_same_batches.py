"""The same seed gives the same training batches, however the clips lie in files.

The numbers below were written down from the corpus of one file that was there before shards. Audio,
pitch and codes are compared with what safetensors alone reads from the files.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from speechkit.core.rng import generator
from speechkit.data.alignment import Alignment, ClipAlignment, write_alignment
from speechkit.data.codes import CorpusCodes, write_codes
from speechkit.data.packed import PackedClip, PackedCorpus, write_packed
from speechkit.diffusion.dataset import GeneratorDataset
from speechkit.facodec.small.features import speech_gain
from speechkit.facodec.training.segments import SegmentBatch, SegmentSampler
from speechkit.text import DEFAULT_VOCABULARY
from speechkit.text.frames import FrameClasses
from tests.diffusion.builders import SMALL
from tests.facodec.builders import TinyData, tiny_data

SPEAKERS = 4


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> TinyData:
    """Twelve clips of four speakers in one shard."""
    return tiny_data(tmp_path_factory.mktemp("whole"), count=12, speakers=SPEAKERS)


def divided(data: TinyData, folder: Path, shard_clips: int) -> TinyData:
    """The same clips and sidecars in shards of so many clips."""
    corpus = data.corpus
    clips = (
        PackedClip(
            info=info,
            pcm_T=(corpus.wave(n).numpy() * 32768).astype(np.int16),
            f0_F=corpus.f0(n).numpy(),
        )
        for n, info in enumerate(corpus.clips)
    )
    write_packed(folder, clips, shard_clips)
    parts = PackedCorpus(folder)
    for number, shard in enumerate(parts.shards):
        of_shard = parts.clips_of(number)
        tracks = {
            clip - of_shard.start: ClipAlignment(
                data.alignment.phones(clip), data.alignment.frames(clip), -0.5
            )
            for clip in of_shard
        }
        write_alignment(shard, DEFAULT_VOCABULARY.symbols, tracks)
        write_codes(shard, map(data.codes.clip, of_shard), "0" * 64)
    return TinyData(corpus=parts, alignment=Alignment(parts), codes=CorpusCodes(parts))


def segments(data: TinyData, *, validation: bool = False) -> SegmentBatch:
    return SegmentSampler(
        data.corpus,
        FrameClasses(DEFAULT_VOCABULARY),
        data.alignment,
        crop_frames=40,
        reference_frames=50,
        level_rms=0.05,
        held_out=0.25,
        validation=validation,
        other_reference=0.5,
        resampled=0.3,
    ).draw(8, generator(5))


def sequences(data: TinyData, *, validation: bool = False) -> list[list[int]]:
    """Sums over each sequence of a batch of frames and of one of durations."""
    drawn = GeneratorDataset(
        data.corpus,
        data.alignment,
        data.codes,
        SMALL,
        prompt_drop=0.2,
        held_out=0.25,
        validation=validation,
    )
    frames = drawn.frames(8 * (50 + SMALL.prompt_frames), (30, 50), generator(6))
    durations = drawn.durations(8, 12, generator(7))
    return [
        frames.phones_BL.sum(1).tolist(),
        frames.codes_BKL.sum((1, 2)).tolist(),
        durations.phones_BL.sum(1).tolist(),
    ]


def test_one_shard_gives_the_batches_of_the_corpus_of_one_file(whole: TinyData) -> None:
    train, held_out = segments(whole), segments(whole, validation=True)
    assert train.clip_B.tolist() == [5, 1, 4, 1, 1, 8, 5, -1]
    assert train.phone_BF.sum(1).tolist() == [1323, 1329, 864, 1561, 1425, 1637, 1300, 1648]
    assert held_out.clip_B.tolist() == [7, 3, 6, 6, 3, 11, 7, -1]
    assert held_out.phone_BF.sum(1).tolist() == [1137, 1350, 1205, 1462, 1300, 1175, 1152, 1075]
    assert sequences(whole) == [
        [3583, 1446, 3411, 3855, 877, 3922, 2632, 4376, 3461, 3713],
        [2232, 20, 2393, 2664, 157, 2912, 2747, 2531, 3062, 2884],
        [576, 1238, 509, 1295, 447, 553, 1249, 506],
    ]
    assert sequences(whole, validation=True) == [
        [1136, 1351, 3414, 3896, 1370, 3014, 3310, 3883, 3344, 4073],
        [372, 784, 3117, 2968, 621, 3443, 3234, 3275, 3205, 3684],
        [504, 1143, 441, 1111, 441, 471, 1150, 524],
    ]


def test_crops_are_the_samples_in_the_file(whole: TinyData) -> None:
    arrays = load_file(whole.corpus.path)
    batch, crop = segments(whole), 40 * 320
    for row, clip in enumerate(batch.clip_B.tolist()):
        if clip < 0:
            continue  # played faster or slower
        first, end = arrays["audio_offsets_N1"][clip : clip + 2].tolist()
        wave_T = arrays["audio_S"][first:end].float() / 32768
        gain = speech_gain(wave_T, 0.05) * float(batch.level_B[row].exp())
        starts = range(0, len(wave_T) - crop + 1, 320)
        places = [
            start
            for start in starts
            if torch.allclose(wave_T[start : start + crop] * gain, batch.wave_BT[row], atol=1e-6)
        ]
        assert len(places) == 1
        pitch_G = arrays["f0_G"][slice(*arrays["f0_offsets_N1"][clip : clip + 2].tolist())]
        voiced_G = pitch_G[places[0] // 160 :][:80] > 0
        assert torch.equal(voiced_G, batch.voiced_BG[row] > 0)


@pytest.mark.parametrize("shard_clips", [1, 5])
def test_many_shards_give_the_batches_of_one(
    whole: TinyData, tmp_path: Path, shard_clips: int
) -> None:
    parts = divided(whole, tmp_path / "parts.corpus", shard_clips)
    assert len(parts.corpus.shards) == -(-12 // shard_clips)
    one, other = segments(whole), segments(parts)
    for name, value in vars(one).items():
        assert torch.equal(value, getattr(other, name)), name
    assert sequences(parts) == sequences(whole)
