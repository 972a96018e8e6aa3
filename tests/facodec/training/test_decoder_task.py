"""The decoder's training moves the decoder alone, and towards the timbre that was asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from speechkit.core.errors import DataError
from speechkit.core.rng import generator
from speechkit.data.codes import REDRAWN, RedrawnCodes, empty_codes, write_codes
from speechkit.facodec.small.codec import load_codec
from speechkit.facodec.training.decoder_task import DecoderConfig, DecoderTask
from speechkit.facodec.training.discriminators import PatchConfig
from speechkit.facodec.training.segments import SegmentSampler
from speechkit.text import DEFAULT_VOCABULARY
from speechkit.text.frames import FrameClasses
from tests.facodec.builders import TinyData
from tests.facodec.training.test_tasks import codec_for, learn, segments
from tests.tiny import TINY_CODEC

CONFIG = DecoderConfig(
    batch_size=4, crop_frames=30, patch=PatchConfig(scales=1, channels=(4, 8)), detail_dropout=0.5
)


def task_of(data: TinyData, config: DecoderConfig = CONFIG) -> DecoderTask:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        codec = codec_for(data)
        # Fresh blocks ignore their condition; open them, or no timbre could be heard.
        for parameter in codec.decoder.parameters():
            parameter.data.add_(0.1 * torch.randn_like(parameter))
        return DecoderTask(codec, segments(data, False), segments(data, True), config)


def test_only_the_decoder_learns(data: TinyData, tmp_path: Path) -> None:
    task = task_of(data)
    before = {name: value.clone() for name, value in task.model.codec.state_dict().items()}
    learn(task, 4, lr=1e-3)
    task.export(tmp_path, task.model)
    moved = {
        name.split(".")[0]
        for name, value in load_codec(tmp_path).state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert moved == {"decoder", "to_mel"}


def test_losses_keep_to_their_side(data: TinyData) -> None:
    task = task_of(data)
    losses = task.losses(task.batch(generator(0)), generator(0), 3)
    sides = {"decoder": task.model.codec.decoder, "discriminator": task.model.discriminator}
    for key, loss in losses.items():
        reached = {
            side
            for side, module in sides.items()
            for found in torch.autograd.grad(
                loss, list(module.parameters()), retain_graph=True, allow_unused=True
            )
            if found is not None and bool(found.any())
        }
        assert reached == {"discriminator" if key.endswith("/discriminator") else "decoder"}, key


def test_every_loss_has_a_weight_and_follows_the_generator(data: TinyData) -> None:
    task = task_of(data)
    batch = task.batch(generator(0))
    one, same = (task.losses(batch, generator(5), 3) for _ in range(2))
    unused = {"conversion/features"}  # converted speech has no recording to match
    assert set(one) == set(task.weights) | unused
    assert all(torch.equal(one[name], same[name]) for name in one)


@pytest.mark.parametrize("what", ["timbre", "content"])
def test_converted_speech_comes_to_be_heard_as_asked(data: TinyData, what: str) -> None:
    alone = replace(CONFIG, mel=0.0, patch_generator=0.0, patch_features=0.0)
    task = task_of(
        data, replace(alone, timbre=float(what == "timbre"), content=float(what == "content"))
    )
    batch = task.batch(generator(0))
    before = float(task.losses(batch, generator(0), 0)[f"conversion/{what}"].detach())
    learn(task, 12, lr=3e-3)
    after = float(task.losses(batch, generator(0), 0)[f"conversion/{what}"].detach())
    assert after < 0.97 * before


def test_the_discriminator_comes_to_tell_real_from_made(data: TinyData) -> None:
    task = task_of(data)
    batch = task.batch(generator(0))
    for parameter in task.model.codec.parameters():
        parameter.requires_grad_(False)
    before = float(task.losses(batch, generator(0), 0)["patch/discriminator"].detach())
    learn(task, 12, lr=3e-3)
    after = float(task.losses(batch, generator(0), 0)["patch/discriminator"].detach())
    assert after < before


def test_validation_repeats_itself(data: TinyData) -> None:
    task = task_of(data)
    task.model.eval()
    assert task.validate() == task.validate()


def test_a_batch_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size"):
        replace(CONFIG, batch_size=1)


def test_drawn_codes_take_the_place_of_true_ones(data: TinyData) -> None:
    size = TINY_CODEC.quantizer.codebook_size
    drawn = [
        replace(data.codes.clip(n), codes_KF=(data.codes.clip(n).codes_KF + 7) % size)
        for n in range(len(data.corpus))
    ]
    write_codes(data.corpus.shards[0], drawn, "", kind=REDRAWN)
    config, task = replace(CONFIG, redrawn=1.0), task_of(data)
    task.train = SegmentSampler(
        data.corpus,
        FrameClasses(DEFAULT_VOCABULARY),
        None,
        crop_frames=CONFIG.crop_frames,
        reference_frames=40,
        level_rms=TINY_CODEC.level_rms,
        held_out=0.25,
        redrawn=RedrawnCodes(data.corpus),
        redrawn_share=config.redrawn,
    )
    batch = task.batch(generator(0))
    for clip, codes_KF in zip(batch.clip_B.tolist(), batch.redrawn_BKF, strict=True):
        whole_KF = drawn[clip].codes_KF
        starts = range(whole_KF.shape[1] - CONFIG.crop_frames + 1)
        assert any(torch.equal(whole_KF[:, s : s + CONFIG.crop_frames], codes_KF) for s in starts)
    known, codec = task.settled(batch, generator(0)), task.model.codec
    detail_BFD = codec.detail_codebooks.embed(batch.redrawn_BKF[:, 3:])
    torch.testing.assert_close(known.detail_BFD, detail_BFD)
    assert not torch.equal(known.detail_BFD, known.parts.detail.z_BFD)


def test_a_corpus_without_drawn_codes_is_named(data: TinyData) -> None:
    known = data.codes.clip(0)
    nothing = empty_codes(len(known.codes_KF), len(known.timbre_D))
    write_codes(data.corpus.shards[0], [nothing] * len(data.corpus), "", kind=REDRAWN)
    with pytest.raises(DataError, match="train redraw"):
        SegmentSampler(
            data.corpus,
            FrameClasses(DEFAULT_VOCABULARY),
            None,
            crop_frames=30,
            reference_frames=40,
            level_rms=None,
            held_out=0.25,
            redrawn=RedrawnCodes(data.corpus),
            redrawn_share=0.5,
        )
