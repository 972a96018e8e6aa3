"""The losses of wav2vec 2.0 against transformers and fairseq2, with masks and distractors given.

Shapes: B batch, T samples, F frames, M masked frames of a row, K distractors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from speechkit.core.rng import generator
from speechkit.ssl.batch import PretrainBatch
from speechkit.ssl.config import Wav2Vec2Config
from speechkit.ssl.masking import sample_distractors
from speechkit.ssl.wav2vec2 import Wav2Vec2Pretrainer, build_wav2vec2
from tests.ssl.parity.references import (
    DISTRACTORS,
    difference,
    in_fairseq2,
    in_transformers,
    masks,
    noise,
    our_wav2vec2,
)


@dataclass
class Losses:
    """The losses of one batch three times."""

    ours: dict[str, Tensor]
    transformers: Any
    fairseq2: Any


def batch() -> PretrainBatch:
    """Two rows with their draws."""
    masked_BF = masks()
    masked = int(masked_BF[0].sum())
    others = sample_distractors(2, masked, DISTRACTORS, generator(2))
    return PretrainBatch(wave_BT=noise(), masked_BF=masked_BF, others_BMK=others)


def give_draws(model: Any, given: PretrainBatch) -> None:
    """Let fairseq2's model use the masks and distractors of a batch."""
    others = given.others_BMK
    assert others is not None
    model.masker.mask_factory = lambda **options: given.masked_BF
    model._sample_distractors = lambda targets_BMD: torch.stack(
        [row_MD[ranks_MK] for row_MD, ranks_MK in zip(targets_BMD, others, strict=True)]
    )


def over_all_frames(given: PretrainBatch) -> Tensor:
    """The distractors as transformers numbers them: among the frames of the whole batch."""
    rows, frames = given.masked_BF.shape
    assert given.others_BMK is not None
    numbers = torch.zeros(rows, frames, given.others_BMK.shape[2], dtype=torch.int64)
    for row, masked_F in enumerate(given.masked_BF):
        places_M = masked_F.nonzero().squeeze(1)
        numbers[row, masked_F] = places_M[given.others_BMK[row]] + row * frames
    return numbers


def fairseq2_losses(model: Any, given: PretrainBatch) -> Any:
    """What fairseq2's model makes of a batch."""
    from fairseq2.nn import BatchLayout

    give_draws(model, given)
    return model(given.wave_BT.clone(), BatchLayout.of(given.wave_BT))


# With 20 entries a codebook some distractors equal the target, with 2 many do.
@pytest.fixture(scope="module", params=[20, 2])
def losses(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Losses:
    """The losses in evaluation mode, where the codes are the likeliest."""
    model, given = our_wav2vec2(codebook_size=request.param), batch()
    there = in_transformers(model, tmp_path_factory.mktemp("model"))
    options = {"mask_time_indices": given.masked_BF}
    with torch.no_grad():
        hugging = there(given.wave_BT, sampled_negative_indices=over_all_frames(given), **options)
        # In evaluation theirs counts the likeliest entries; in training, as the paper, the softmax.
        trained = there.train()(
            given.wave_BT, sampled_negative_indices=over_all_frames(given), **options
        )
        hugging["diversity_loss"] = trained.diversity_loss
        return Losses(
            ours=model(given),
            transformers=hugging,
            fairseq2=fairseq2_losses(in_fairseq2(model), given)[0],
        )


def test_contrastive_loss_agrees(losses: Losses) -> None:
    assert losses.ours["figure/distractor_hits"] > 0.0
    ours = losses.ours["loss/contrastive"]
    assert difference(ours, losses.transformers.contrastive_loss) <= 1e-4 * float(ours)
    assert difference(ours, losses.fairseq2.contrastive) <= 1e-4 * float(ours)


def test_diversity_loss_agrees(losses: Losses) -> None:
    ours = losses.ours["loss/diversity"]
    assert difference(ours, losses.transformers.diversity_loss) <= 1e-4
    assert difference(ours, losses.fairseq2.diversity) <= 1e-4


def test_penalty_and_total_agree(losses: Losses) -> None:
    ours = losses.ours
    penalty = ours["loss/penalty"]
    assert difference(penalty, losses.fairseq2.features_penalty) <= 1e-5 * float(penalty)
    assert difference(ours["total"], losses.fairseq2.aggregate) <= 1e-5 * float(ours["total"])
    assert ours["targets"] == int(masks().sum())


def test_every_gradient_agrees_with_fairseq2() -> None:
    # In training, as only there the convolutions' gradient is scaled; codes are drawn alike.
    model, given = our_wav2vec2().train(), batch()
    there = in_fairseq2(model).train()
    torch.manual_seed(6)
    model(given)["total"].backward()
    torch.manual_seed(6)
    fairseq2_losses(there, given)[0].aggregate.backward()
    theirs = dict(there.named_parameters())
    checked = 0
    for name, parameter in model.named_parameters():
        name = name.removeprefix("encoder.")
        name = "masker.temporal_mask_embed" if name == "mask_D" else name
        reference = theirs[name].grad
        assert parameter.grad is not None
        assert reference is not None
        scale = float(reference.abs().max())
        assert difference(parameter.grad, reference) <= 1e-3 * scale + 1e-6, name
        checked += scale > 0
    assert checked > 40


def test_gradient_is_the_slope_of_the_loss() -> None:
    model, given = our_wav2vec2(), batch()
    rng = generator(4)
    # Not the convolutions, whose gradient is scaled; not what only straight-through reaches.
    parts = [
        parameter
        for name, parameter in model.named_parameters()
        if "feature_extractor" not in name and "post_extract" not in name
    ]
    model(given)["total"].backward()
    gradients = [part.grad for part in parts if part.grad is not None]
    assert len(gradients) == len(parts)
    norm = float(torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt())
    steps = [0.5 * gradient / norm for gradient in gradients]
    steps = [
        step + 0.01 * step.abs().mean() * torch.randn(step.shape, generator=rng) for step in steps
    ]
    slope = sum(float((g * step).sum()) for g, step in zip(gradients, steps, strict=True))

    def moved(factor: float) -> float:
        with torch.no_grad():
            for part, step in zip(parts, steps, strict=True):
                part.add_(factor * step)
            value = float(model(given)["total"])
            for part, step in zip(parts, steps, strict=True):
                part.sub_(factor * step)
        return value

    h = 0.01
    measured = (moved(h) - moved(-h)) / (2 * h)
    assert measured == pytest.approx(slope, rel=1e-3)


def test_convolutions_learn_at_a_tenth() -> None:
    full = our_wav2vec2()
    tenth = our_wav2vec2()
    encoder = replace(full.config.encoder, conv_gradient_scale=1.0)
    full = rebuilt(full, replace(full.config, encoder=encoder))
    given = batch()
    for model in (full, tenth):
        torch.manual_seed(6)
        model.train()(given)["total"].backward()
    compared = 0
    for (name, one), other in zip(full.named_parameters(), tenth.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        factor = 0.1 if "feature_extractor" in name else 1.0
        compared += factor < 1
        assert difference(factor * one.grad, other.grad) <= 1e-5 * float(one.grad.abs().max()), name
    assert compared == 9


def rebuilt(model: Wav2Vec2Pretrainer, config: Wav2Vec2Config) -> Wav2Vec2Pretrainer:
    """The same weights under another config."""
    other = build_wav2vec2(config)
    other.load_state_dict(model.state_dict())
    return other.eval()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_same_seed_draws_the_same_codes(seed: int) -> None:
    model = our_wav2vec2()
    there = in_fairseq2(model).quantizer.train()
    quantizer = model.quantizer.train()
    x_BMC = torch.randn(2, 30, 16, generator=generator(seed))
    torch.manual_seed(seed)
    theirs = there(x_BMC)
    torch.manual_seed(seed)
    ours = quantizer(x_BMC.flatten(0, 1), temperature=2.0)
    codes = theirs.cb.view(60, 2, -1).argmax(dim=-1)
    assert torch.equal(ours.codes_NG, codes)
    likeliest = quantizer.eval()(x_BMC.flatten(0, 1), temperature=2.0)
    assert not torch.equal(likeliest.codes_NG, codes)
    assert difference(ours.vectors_NC, theirs.quantized_vectors.flatten(0, 1)) <= 1e-5
    assert difference(ours.soft_perplexity, theirs.prob_perplexity) <= 1e-4
    assert difference(ours.hard_perplexity, theirs.code_perplexity) <= 1e-4


def test_straight_through_gradients_agree() -> None:
    model = our_wav2vec2()
    there = in_fairseq2(model).quantizer.train()
    quantizer = model.quantizer.train()
    x_BMC = torch.randn(2, 30, 16, generator=generator(3))
    torch.manual_seed(3)
    there(x_BMC).quantized_vectors.square().sum().backward()
    torch.manual_seed(3)
    quantizer(x_BMC.flatten(0, 1), temperature=2.0).vectors_NC.square().sum().backward()
    for name, parameter in quantizer.named_parameters():
        reference = dict(there.named_parameters())[name].grad
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 0
        assert difference(parameter.grad, reference) <= 1e-4, name


def test_temperature_falls_by_the_closed_form() -> None:
    model = our_wav2vec2()
    theirs = in_fairseq2(model).quantizer
    expected = {0: 2.0, 100_000: 2 * 0.999995**100_000, 277_259: 0.5, 400_000: 0.5}
    for update, temperature in expected.items():
        assert model.temperature(update) == temperature
        theirs.num_updates.fill_(update)
        assert theirs._compute_current_temp() == temperature
    assert model.temperature(277_257) > 0.5
    assert model.temperature(277_258) == pytest.approx(0.5, abs=2e-6)
