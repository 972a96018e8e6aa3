"""The paper's codec on its own: lengths, what teaches what, randomness, and opening.

Shapes: B batch, T samples, F frames, K codebooks, D channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from speechkit.core.checkpoint import save_checkpoint
from speechkit.core.config import from_dict, to_dict
from speechkit.core.errors import AudioError, CheckpointError, ConfigError
from speechkit.core.rng import generator
from speechkit.facodec import from_pretrained
from speechkit.facodec.codec import FACTORS
from speechkit.facodec.paper.codec import PaperCodec, PaperOutput, load_paper_codec
from speechkit.facodec.paper.config import PaperCodecConfig, RedecoderConfig
from speechkit.facodec.paper.convolution import Encoder, encoded_frames
from speechkit.facodec.paper.predictors import Pitch, Reversal
from tests.facodec.paper import builders
from tests.facodec.paper.builders import TINY, noise

HOP = TINY.hop_samples
V2 = replace(TINY, version="v2")
ALL_HEADS = replace(TINY, reverse_prosody_phone=True, reverse_content_f0=True)


@pytest.fixture(scope="module")
def codec() -> PaperCodec:
    return builders.codec(ALL_HEADS)


@pytest.fixture(scope="module")
def v2() -> PaperCodec:
    return builders.codec(V2)


@pytest.mark.parametrize("samples", [1, HOP - 1, HOP, HOP + 1, 3 * HOP + 7])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_waves_are_padded_to_whole_frames(
    codec: PaperCodec, v2: PaperCodec, version: str, samples: int
) -> None:
    made = codec if version == "v1" else v2
    frames = -(-samples // HOP)
    codes, timbre_D = made.encode(noise(samples))
    assert codes.stacked().shape == (6, frames)
    assert timbre_D.shape == (made.timbre_channels,)
    wave_T = made.decode(codes, timbre_D, generator(0))
    assert wave_T.shape == (frames * HOP,)
    assert wave_T.abs().max() <= 1
    padded, _ = made.encode(nn.functional.pad(noise(samples), (0, frames * HOP - samples)))
    assert torch.equal(padded.stacked(), codes.stacked())


@settings(deadline=None, max_examples=25)
@given(st.integers(125, 700), st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_frames_of_the_encoder_follow_the_formula(samples: int, strides: list[int]) -> None:
    encoder = Encoder(1, strides, 2)
    with torch.no_grad():
        assert encoder(noise(1, samples)).shape[-1] == encoded_frames(samples, strides)


@pytest.mark.parametrize(("samples", "frames"), [(1151, 5), (1152, 6), (1199, 6), (1200, 6)])
def test_odd_strides_round_up_near_the_end(samples: int, frames: int) -> None:
    assert encoded_frames(samples, (2, 4, 5, 5)) == frames


def test_an_empty_wave_is_refused(codec: PaperCodec) -> None:
    with pytest.raises(AudioError, match="empty"):
        codec.encode(torch.zeros(0))


@pytest.mark.parametrize("factor", FACTORS)
def test_a_factor_can_be_left_out(codec: PaperCodec, factor: str) -> None:
    codes, timbre_D = codec.encode(noise(400))
    whole = codec.decode(codes, timbre_D, generator(0))
    without = codec.decode(codes, timbre_D, generator(0), without=(factor,))
    key = f"{factor}_KF"
    others = replace(codes, **{key: getattr(codes, key).flip(-1)})
    assert not torch.allclose(whole, without)
    assert torch.equal(codec.decode(others, timbre_D, generator(0), without={factor}), without)
    assert not torch.allclose(codec.decode(others, timbre_D, generator(0)), whole)


def test_codes_say_what_the_parts_said(codec: PaperCodec) -> None:
    out = codec(noise(2, 400))
    assert torch.allclose(codec.embed(out.parts.codes()), out.parts.summed(), atol=1e-5)
    assert torch.allclose(out.z_decoder_BDF, out.parts.summed(), atol=1e-6)
    logits = codec.phone_logits(out.parts.content.codes_BKF)
    assert torch.allclose(logits, out.predictions.phone_BFP, atol=1e-4)


def gradient(output: Tensor, of: Tensor | nn.Module) -> Tensor | None:
    assert isinstance(of, Tensor)
    (found,) = torch.autograd.grad(output, of, retain_graph=True, allow_unused=True)
    return found


def test_the_wave_teaches_detail_and_timbre_alone(codec: PaperCodec) -> None:
    out: PaperOutput = codec(noise(2, 400), detail_keep_B=torch.tensor([True, False]))
    loss = out.wave_BT.square().sum()
    assert gradient(loss, out.parts.prosody.z_BDF) is None
    assert gradient(loss, out.parts.content.z_BDF) is None
    detail = gradient(loss, out.parts.detail.z_BDF)
    assert detail is not None
    assert detail[0].abs().max() > 0
    assert detail[1].abs().max() == 0
    timbre = gradient(loss, out.timbre_BD)
    assert timbre is not None
    assert timbre.abs().min(dim=1).values.min() > 0
    # The encoder learns from both, the codebooks of prosody and content from neither.
    assert gradient(loss, codec.encoder.stem.bias) is not None
    for part in (codec.prosody_codebooks, codec.content_codebooks):
        assert gradient(loss, part.quantizers()[0].up.bias) is None


def test_content_is_read_beside_prosody_and_detail_after_both(codec: PaperCodec) -> None:
    hidden_BDF = noise(2, TINY.channels, 5, peak=1.0)
    parts = codec.quantize(hidden_BDF)
    assert torch.equal(codec.content_codebooks(hidden_BDF).z_BDF, parts.content.z_BDF)
    left_BDF = hidden_BDF - parts.prosody.z_BDF - parts.content.z_BDF
    assert torch.allclose(codec.detail_codebooks(left_BDF).z_BDF, parts.detail.z_BDF, atol=1e-5)
    # What was taken is detached: detail does not teach prosody's codebooks.
    assert (
        gradient(parts.detail.z_BDF.sum(), codec.prosody_codebooks.quantizers()[0].up.bias) is None
    )


ADVERSARIES: dict[str, Callable[[PaperOutput], Tensor]] = {
    "prosody_phone_BFP": lambda out: out.parts.prosody.z_BDF,
    "content_pitch": lambda out: out.parts.content.z_BDF,
    "detail_pitch": lambda out: out.parts.detail.z_BDF,
    "detail_phone_BFP": lambda out: out.parts.detail.z_BDF,
    "speaker_BS": lambda out: out.z_decoder_BDF,
}


def prediction(out: PaperOutput, name: str) -> Tensor:
    found = getattr(out.predictions, name)
    return found.f0_BF + found.voiced_logit_BF if isinstance(found, Pitch) else found


@pytest.mark.parametrize("name", ADVERSARIES)
def test_adversaries_learn_and_turn_the_sign_for_the_part(codec: PaperCodec, name: str) -> None:
    wave_BT, of = noise(2, 200), ADVERSARIES[name]

    def pushed(strength: float, bound: float = float("inf")) -> Tensor:
        out = codec(wave_BT, reversal=Reversal(strength=strength, bound=bound))
        found = gradient(prediction(out, name).square().sum(), of(out))
        assert found is not None
        return found

    # Strength −1 turns the sign twice: the gradient as it would be without reversal.
    assert torch.allclose(pushed(1.0), -pushed(-1.0))
    assert torch.allclose(pushed(0.25), 0.25 * pushed(1.0))
    assert pushed(1.0, bound=1e-3).norm() == pytest.approx(1e-3, rel=1e-3)


def test_the_predictor_itself_learns_in_the_plain_direction(codec: PaperCodec) -> None:
    predictor = codec.predictors.detail_f0
    assert predictor is not None
    weight = predictor.out[0].weight
    grads = []
    for strength in (1.0, -1.0):
        out = codec(noise(2, 200), reversal=Reversal(strength=strength))
        grads.append(gradient(out.predictions.detail_pitch.f0_BF.square().sum(), weight))
    assert grads[0] is not None
    assert grads[1] is not None
    assert torch.equal(grads[0], grads[1])


def test_supervised_predictors_pull_in_the_plain_direction(codec: PaperCodec) -> None:
    """One step against the gradient of a predictor's loss lowers that loss."""
    out = codec(noise(1, 200))
    z_BDF = out.parts.content.z_BDF
    loss = out.predictions.phone_BFP.square().mean()
    step = gradient(loss, z_BDF)
    assert step is not None
    after = codec.predictors.phone(z_BDF - 1e-3 * step / step.norm())[0].square().mean()
    assert after < loss


def test_missing_predictors_read_nothing() -> None:
    none = replace(TINY, reverse_detail_f0=False, reverse_detail_phone=False, reverse_speaker=False)
    made = builders.codec(none)
    predictions = made(noise(1, 80)).predictions
    absent = [f.name for f in fields(predictions) if getattr(predictions, f.name) is None]
    assert absent == list(ADVERSARIES)
    assert not any("speaker" in name for name in made.state_dict())


def test_every_parameter_gets_a_gradient(codec: PaperCodec) -> None:
    for made in (codec, builders.codec(V2)):
        out = made.train()(noise(2, 400), generator(0), detail_keep_B=torch.tensor([True, False]))
        reads = [getattr(out.predictions, f.name) for f in fields(out.predictions)]
        losses = [out.wave_BT.square().mean(), out.quantizer_loss]
        for read in reads:
            if read is None:
                continue
            parts = [read] if isinstance(read, Tensor) else list(vars(read).values())
            losses += [part.square().mean() for part in parts]
        torch.autograd.backward(torch.stack(losses).sum())
        missing = [name for name, p in made.named_parameters() if p.grad is None]
        made.eval().zero_grad()
        assert missing == []


def test_dropout_comes_from_the_generator_alone(codec: PaperCodec) -> None:
    wave_BT = noise(64, 80)
    codec.train()
    with torch.no_grad():
        first, again = (codec(wave_BT, generator(1)) for _ in range(2))
        other, none = codec(wave_BT, generator(2)), codec(wave_BT)
    codec.eval()
    assert torch.equal(first.wave_BT, again.wave_BT)
    assert not torch.equal(first.timbre_BD, other.timbre_BD)
    assert not torch.equal(first.detail_keep_B, other.detail_keep_B)
    kept = torch.cat([first.detail_keep_B, other.detail_keep_B]).float().mean()
    assert 0.1 < kept < 0.4  # a quarter, of 128
    assert bool(none.detail_keep_B.all())
    assert torch.equal(none.timbre_BD, codec(wave_BT).timbre_BD)


def test_items_of_a_batch_do_not_see_each_other(codec: PaperCodec) -> None:
    wave_BT = noise(3, 400)
    together = codec(wave_BT)
    alone = codec(wave_BT[2:])
    assert torch.allclose(together.timbre_BD[2:], alone.timbre_BD, atol=1e-5)
    assert torch.allclose(together.wave_BT[2:], alone.wave_BT, atol=1e-4)
    # The public code's position codes depend on the place in the batch; the flag keeps that.
    public = builders.codec(replace(ALL_HEADS, batch_index_position=True))
    together, first = public(wave_BT), public(wave_BT[:1])
    assert torch.allclose(together.timbre_BD[:1], first.timbre_BD, atol=1e-5)
    alone = public(wave_BT[2:])
    assert not torch.allclose(together.timbre_BD[2:], alone.timbre_BD, atol=1e-2)


def test_timbre_knows_where_frames_are(codec: PaperCodec) -> None:
    """Without the flag, the same frames in another order are another sequence."""
    layer_free = replace(ALL_HEADS, transformer=replace(TINY.transformer, kernel_frames=1))
    hidden_BDF = noise(1, TINY.channels, 9, peak=1.0)
    for flag, same in ((False, False), (True, True)):
        made = builders.codec(replace(layer_free, batch_index_position=flag))
        pair = made.timbre(hidden_BDF), made.timbre(hidden_BDF.flip(-1))
        assert torch.allclose(*pair, atol=1e-5) == same


def test_v2_reads_prosody_from_mel_alone(v2: PaperCodec) -> None:
    wave_BT = noise(1, 10 * HOP)
    other_BT = noise(1, 10 * HOP, seed=9)
    plain, shifted = v2(wave_BT), v2(wave_BT, prosody_wave_BT=other_BT)
    assert not torch.equal(plain.parts.prosody.z_BDF, shifted.parts.prosody.z_BDF)
    assert torch.equal(plain.parts.content.z_BDF, shifted.parts.content.z_BDF)
    assert torch.equal(shifted.parts.prosody.z_BDF, v2(other_BT).parts.prosody.z_BDF)
    with pytest.raises(ValueError, match="mel_BMF"):
        v2.quantize(noise(1, TINY.channels, 3))


def test_codebook_use_is_counted_in_training_only(codec: PaperCodec) -> None:
    codebooks = codec.codebooks()
    assert len(codebooks) == 6
    for codebook in codebooks:
        codebook.counts_V.zero_()
    codec(noise(2, 400))
    assert all(int(codebook.counts_V.sum()) == 0 for codebook in codebooks)
    codec.train()(noise(2, 400))
    codec.eval()
    assert all(int(codebook.counts_V.sum()) == 20 for codebook in codebooks)
    before = [codebook.codebook_VC.detach().clone() for codebook in codebooks]
    assert sum(codebook.restart_unused(generator(0)) for codebook in codebooks) > 0
    for codebook, old_VC in zip(codebooks, before, strict=True):
        codebook.codebook_VC.data.copy_(old_VC)


def save(made: nn.Module, folder: Path, key: str, config: PaperCodecConfig) -> Path:
    save_checkpoint(folder, made.state_dict(), {key: to_dict(config)})
    return folder


def test_folders_are_opened_by_what_they_hold(codec: PaperCodec, tmp_path: Path) -> None:
    folder = save(codec, tmp_path / "paper", "paper_codec", ALL_HEADS)
    for found in (from_pretrained(folder), load_paper_codec(folder)):
        assert isinstance(found, PaperCodec)
        assert not found.training
        assert torch.equal(found.encode(noise(300))[1], codec.encode(noise(300))[1])
    other = save(codec, tmp_path / "other", "generator", ALL_HEADS)
    with pytest.raises(CheckpointError, match="no part named codec or paper_codec"):
        from_pretrained(other)
    with pytest.raises(CheckpointError, match="named paper_codec"):
        load_paper_codec(other)
    wider = save(codec, tmp_path / "wider", "paper_codec", replace(ALL_HEADS, speakers=9))
    with pytest.raises(CheckpointError, match="do not fit"):
        from_pretrained(wider)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strides": []}, "strides"),
        ({"strides": [0]}, "strides"),
        ({"generator_channels": 18}, "generator_channels"),
        ({"channels": 18}, "multiple"),
        ({"version": "v3"}, "version"),
        ({"version": "v2", "strides": [2]}, "prosody_mel"),
        ({"phone_symbols": ["a"]}, "phone_symbols"),
        ({"transformer": {"kernel_frames": 4}}, "odd"),
        ({"detail_dropout": 1.5}, "detail_dropout"),
        ({"speaker": 3}, "did you mean"),
    ],
)
def test_impossible_configs_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict(PaperCodecConfig, {**to_dict(TINY), **change})


def test_a_redecoder_config_has_the_same_limits() -> None:
    with pytest.raises(ConfigError, match="generator_channels"):
        from_dict(RedecoderConfig, {"generator_channels": 1001})


def test_redecoder_speaks_codes_in_another_timbre(codec: PaperCodec) -> None:
    redecoder = builders.redecoder()
    codes, timbre_D = codec.encode(noise(400))
    wave_T = redecoder.decode(codes, timbre_D, generator(0))
    assert wave_T.shape == (400,)
    assert not torch.allclose(redecoder.decode(codes, -timbre_D, generator(0)), wave_T)
    assert not torch.allclose(redecoder.decode(codes, timbre_D, generator(0), detail=True), wave_T)
    others = replace(codes, detail_KF=codes.detail_KF.flip(-1))
    assert torch.equal(redecoder.decode(others, timbre_D, generator(0)), wave_T)


def test_weight_norm_can_be_taken_off(codec: PaperCodec) -> None:
    codes, timbre_D = codec.encode(noise(400))
    bare = builders.codec(ALL_HEADS)
    for module in bare.modules():
        if nn.utils.parametrize.is_parametrized(module):
            nn.utils.parametrize.remove_parametrizations(module, "weight")
    wave_T = bare.decode(codes, timbre_D, generator(0))
    assert torch.allclose(wave_T, codec.decode(codes, timbre_D, generator(0)), atol=1e-6)
