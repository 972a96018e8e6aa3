"""Teachers: what they know of each clip, that it can be resumed, and that they teach."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from speechkit.core.campplus import EMBEDDING_CHANNELS, KaldiFbank
from speechkit.core.checkpoint import WEIGHTS
from speechkit.core.errors import DataError
from speechkit.core.mel import LogMel
from speechkit.core.rng import generator
from speechkit.data.align.model import features, load_aligner, pad_features
from speechkit.data.packed import PackedClip, PackedCorpus, write_packed
from speechkit.facodec.small.config import FACodecConfig
from speechkit.facodec.small.features import active_mean, speech_gain
from speechkit.facodec.training.decoder_task import DecoderConfig, DecoderTask
from speechkit.facodec.training.discriminators import PatchConfig
from speechkit.facodec.training.segments import SegmentSampler
from speechkit.facodec.training.statistics import (
    read_statistics,
    write_statistics,
)
from speechkit.facodec.training.teachers import Teachers, phone_distance, speaker_distance
from speechkit.text import DEFAULT_VOCABULARY
from speechkit.text.frames import FrameClasses
from tests.facodec.builders import TinyData
from tests.facodec.training.test_tasks import codec_for, learn, segments

CODEC = FACodecConfig()


class Listener(nn.Module):
    """A small verifier: where the bands of the real one's features lie, and how they spread."""

    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.fbank = KaldiFbank()
        weight = torch.randn(160, EMBEDDING_CHANNELS, generator=generator(0))
        self.register_buffer("weight", weight)

    def forward(self, wave_BT: Tensor) -> Tensor:
        mel_BFM = self.fbank(wave_BT.float())
        mel_BFM = mel_BFM - mel_BFM.mean(dim=(1, 2), keepdim=True)
        embedding_BD: Tensor = torch.cat([mel_BFM.mean(1), mel_BFM.std(1)], -1) @ self.weight
        return embedding_BD


@pytest.fixture(scope="module")
def verifier() -> Listener:
    return Listener()


@pytest.fixture
def corpus(data: TinyData, tmp_path: Path) -> PackedCorpus:
    """The tiny corpus, in shards of two."""
    clips = (
        PackedClip(
            info=info,
            pcm_T=(data.corpus.wave(n).numpy() * 32768).astype(np.int16),
            f0_F=data.corpus.f0(n).numpy(),
        )
        for n, info in enumerate(data.corpus.clips)
    )
    write_packed(tmp_path / "tiny.corpus", clips, shard_clips=2)
    return PackedCorpus(tmp_path / "tiny.corpus")


@pytest.fixture
def teachers(corpus: PackedCorpus, verifier: Listener) -> Teachers:
    write_statistics(corpus, CODEC, lambda: verifier)
    return Teachers(verifier, load_aligner(WEIGHTS / "aligner"), read_statistics(corpus, CODEC))


class Broken(nn.Module):
    """A verifier that fails after some clips."""

    def __init__(self, verifier: nn.Module, clips: int) -> None:
        super().__init__()
        self.verifier, self.left = verifier, clips

    def forward(self, wave_BT: Tensor) -> Tensor:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        made: Tensor = self.verifier(wave_BT)
        return made


def test_statistics_go_on_where_they_stopped(corpus: PackedCorpus, verifier: Listener) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_statistics(corpus, CODEC, lambda: Broken(verifier, 5))
    # Two shards of two; of the third one clip was worked out, and lost.
    assert int(read_statistics(corpus, CODEC).known_N.sum()) == 4
    assert write_statistics(corpus, CODEC, lambda: verifier) == len(corpus) - 4
    assert write_statistics(corpus, CODEC, lambda: verifier) == 0
    known = read_statistics(corpus, CODEC)
    wave_T = corpus.wave(2)
    wave_T = wave_T * speech_gain(wave_T, CODEC.level_rms)
    own_D = nn.functional.normalize(verifier(wave_T[None]), dim=-1)[0]
    torch.testing.assert_close(known.speaker_ND[2], own_D, atol=1e-3, rtol=0)
    mean_mel_M = active_mean(LogMel(CODEC.mel)(wave_T[None]))[0, :, 0]
    torch.testing.assert_close(known.mean_mel_NM[2], mean_mel_M, atol=5e-3, rtol=0)


def test_few_clips_are_dealt_out_among_the_speakers_and_trained_on(
    corpus: PackedCorpus, verifier: Listener
) -> None:
    assert write_statistics(corpus, CODEC, lambda: verifier, clips=4) == 4
    known_N = read_statistics(corpus, CODEC).known_N
    speakers = [corpus.speaker(int(clip)) for clip in torch.nonzero(known_N)]
    assert sorted(speakers) == [0, 0, 1, 1]
    drawn = SegmentSampler(
        corpus,
        FrameClasses(DEFAULT_VOCABULARY),
        None,
        crop_frames=10,
        reference_frames=10,
        level_rms=0.05,
        held_out=0.25,
        usable_N=known_N,
    ).draw(16, generator(0))
    assert bool(known_N[drawn.clip_B].all())


def test_statistics_of_another_level_or_corpus_are_refused(
    corpus: PackedCorpus, verifier: Listener
) -> None:
    write_statistics(corpus, CODEC, lambda: verifier)
    with pytest.raises(DataError, match="train statistics"):
        read_statistics(corpus, replace(CODEC, level_rms=0.1))
    for shard in corpus.shards:
        shard.sidecar("statistics").write_bytes(b"no tensors")
    with pytest.raises(DataError, match="train statistics"):
        read_statistics(corpus, CODEC)


def test_posteriors_are_the_aligners_own(corpus: PackedCorpus, teachers: Teachers) -> None:
    aligner = teachers.aligner
    wave_T = corpus.wave(0)[: 320 * 90]
    mel_BHM, frames_B = pad_features([features(wave_T, LogMel(aligner.config.mel), aligner.config)])
    with torch.inference_mode():
        wanted_BFC = aligner(mel_BHM, frames_B)
        torch.testing.assert_close(teachers.phones(wave_T[None]), wanted_BFC, atol=1e-3, rtol=1e-3)


def test_distances_are_zero_for_the_wanted_and_skip_the_unknown(teachers: Teachers) -> None:
    known_BD = teachers.known_speaker(torch.tensor([2, -1]))
    assert not known_BD[1].any()
    heard_BD = known_BD[[0, 0]]
    assert float(speaker_distance(heard_BD, known_BD)) == pytest.approx(0, abs=1e-3)
    assert float(speaker_distance(-heard_BD, known_BD)) == pytest.approx(2, abs=1e-3)
    assert float(speaker_distance(heard_BD, 0 * known_BD)) == 0
    posteriors_BFC = torch.randn(2, 5, 7, generator=generator(0)).log_softmax(-1)
    assert float(phone_distance(posteriors_BFC, posteriors_BFC)) == pytest.approx(0, abs=1e-6)
    assert float(phone_distance(posteriors_BFC.roll(1, 1), posteriors_BFC)) > 0.1


TAUGHT = DecoderConfig(
    batch_size=4,
    crop_frames=30,
    patch=PatchConfig(scales=1, channels=(4, 8)),
    mel=0.0,
    patch_generator=0.0,
    patch_features=0.0,
    timbre=0.0,
    content=0.0,
    speaker=1.0,
    conversion_speaker=1.0,
    phones=1.0,
    substituted=0.05,
    taught_items=2,
)


def task_of(data: TinyData, teachers: Teachers, config: DecoderConfig) -> DecoderTask:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        codec = codec_for(data)
        # Fresh blocks ignore their condition; open them, or no timbre could be heard.
        for parameter in codec.decoder.parameters():
            parameter.data.add_(0.1 * torch.randn_like(parameter))
        return DecoderTask(codec, segments(data, False), segments(data, True), config, teachers)


@pytest.mark.parametrize("what", ["speaker", "phones"])
def test_the_decoder_learns_what_teachers_hear(
    data: TinyData, teachers: Teachers, what: str
) -> None:
    speaker, phones = float(what == "speaker"), float(what == "phones")
    alone = replace(TAUGHT, speaker=speaker, conversion_speaker=speaker, phones=phones)
    task = task_of(data, teachers, alone)
    batch = task.batch(generator(0))
    keys = [f"{name}/{what}" for name in ("decoded", "conversion")]
    before = {key: float(task.losses(batch, generator(0), 0)[key].detach()) for key in keys}
    learn(task, 10, lr=5e-3)
    after = {key: float(task.losses(batch, generator(0), 0)[key].detach()) for key in keys}
    for key in keys:
        assert after[key] < 0.97 * before[key], key


def test_teachers_and_vocoder_stay_as_they_are(data: TinyData, teachers: Teachers) -> None:
    task = task_of(data, teachers, TAUGHT)
    frozen = {
        **teachers.state_dict(prefix="t."),
        **task.model.codec.vocoder.state_dict(prefix="v."),
    }
    before = {name: value.clone() for name, value in frozen.items()}
    learn(task, 2, lr=1e-2)
    assert all(torch.equal(value, before[name]) for name, value in frozen.items())


def test_few_items_are_taught_where_asked(data: TinyData, teachers: Teachers) -> None:
    batch = task_of(data, teachers, TAUGHT).batch(generator(0))
    heard: list[int] = []
    hook = teachers.verifier.register_forward_pre_hook(
        lambda _, arguments: heard.append(len(arguments[0]))
    )
    task_of(data, teachers, TAUGHT).losses(batch, generator(0), 0)
    hook.remove()
    assert heard == [2, 2]
