"""HuBERT's loss against torchaudio, the alignment of units against fairseq's.

Shapes: B batch, T samples, F frames, U units, V classes.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from speechkit.core.rng import generator
from speechkit.ssl.batch import PretrainBatch
from speechkit.ssl.config import EncoderConfig
from speechkit.ssl.hubert import NO_LABEL, HubertPretrainer, align_labels
from tests.ssl.parity.references import (
    CLASSES,
    difference,
    in_torchaudio,
    masks,
    noise,
    our_hubert,
)


class GivenMask(nn.Module):
    """A mask generator without draws."""

    def __init__(self, masked_BF: Tensor, mask_embedding: nn.Parameter) -> None:
        super().__init__()
        self.masked_BF, self.mask_embedding = masked_BF, mask_embedding

    def forward(self, x_BFD: Tensor, padding_BF: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the masked input and the mask, as torchaudio's does."""
        x_BFD = torch.where(self.masked_BF[:, :, None], self.mask_embedding, x_BFD)
        return x_BFD, self.masked_BF


def batch() -> PretrainBatch:
    """Two rows with masks and units."""
    labels_BF = torch.randint(0, CLASSES, (2, 99), generator=generator(3))
    return PretrainBatch(wave_BT=noise(), masked_BF=masks(), labels_BF=labels_BF)


def torchaudio_loss(model: HubertPretrainer, given: PretrainBatch, seen: float) -> Tensor:
    """The loss of torchaudio's example: `hubert_loss` with the target's logit first."""
    there = in_torchaudio(model)
    there.mask_generator = GivenMask(given.masked_BF, there.mask_generator.mask_embedding)
    masked, unmasked, penalty = there(given.wave_BT, given.labels_BF)
    assert masked.shape == (int(given.masked_BF.sum()), CLASSES + 1)

    def entropy(logits: Tensor) -> Tensor:
        first = torch.zeros(len(logits), dtype=torch.int64)
        return functional.cross_entropy(logits, first, reduction="sum")

    loss = entropy(masked) + seen * entropy(unmasked) + 10.0 * penalty * masked.shape[0]
    loss.backward()
    gradients["projection"] = there.logit_generator.final_proj.weight.grad
    gradients["conv"] = there.wav2vec2.feature_extractor.conv_layers[3].conv.weight.grad
    gradients["mask"] = there.mask_generator.mask_embedding.grad
    return loss.detach()  # type: ignore[no-any-return]


gradients: dict[str, Tensor] = {}


@pytest.mark.parametrize("seen", [0.0, 0.5])
def test_loss_and_gradients_agree(seen: float) -> None:
    # In training, as only there fairseq2 scales the convolutions' gradient.
    model, given = our_hubert(seen_weight=seen).train(), batch()
    reference = torchaudio_loss(model, given, seen)
    losses = model(given)
    total = losses["total"]
    assert difference(total.detach(), reference) <= 1e-5 * float(reference)
    assert losses["targets"] == int(given.masked_BF.sum())
    total.backward()
    front = model.encoder.encoder_frontend
    ours = {
        "projection": model.final_proj.weight.grad,
        "conv": front.get_submodule("feature_extractor.layers.3.conv").weight.grad,
        "mask": model.encoder.mask_D.grad,
    }
    for name, gradient in ours.items():
        assert isinstance(gradient, Tensor)
        scale = float(gradients[name].abs().max())
        assert scale > 0
        assert difference(gradient, gradients[name]) <= 1e-3 * scale, name


def test_frames_without_units_do_not_count() -> None:
    model, given = our_hubert(), batch()
    assert given.labels_BF is not None
    whole = model(given)
    given.labels_BF[:, 85:] = NO_LABEL
    part = model(given)
    lost = int(given.masked_BF[:, 85:].sum())
    assert lost > 0
    assert part["targets"] == whole["targets"] - lost
    assert part["loss/masked"] < whole["loss/masked"]


def fairseq_targets(
    units_U: Tensor, start_samples: int, crop_samples: int, frames: int, rate_hz: int
) -> Tensor:
    """fairseq's units of a crop, from its description: collater_frm_label, then forward_targets.

    The crop of the units is rounded to whole units; where they end before the frames do, the
    frames are cut, and frame i takes unit int(i * rate / frame rate).
    """
    per_sample = rate_hz / 16_000
    first = round(start_samples * per_sample)
    count = min(round(crop_samples * per_sample), len(units_U) - first)
    cropped_U = units_U[first : first + count]
    ratio = rate_hz * 320 / 16_000
    if ratio * frames > len(cropped_U):
        frames = int(len(cropped_U) / ratio)
    return cropped_U[(torch.arange(frames).float() * ratio).long()]


@pytest.mark.parametrize("rate_hz", [100, 50])
@pytest.mark.parametrize("missing", [0, 1, 2, 5])
def test_units_fall_on_the_frames_that_fairseq_gives_them(rate_hz: int, missing: int) -> None:
    config = EncoderConfig()
    rng = generator(rate_hz + missing)
    for samples in (33_333, 40_001, 52_799, 52_800, 80_080, 100_000):
        whole = samples * rate_hz // 16_000 - missing
        units_U = torch.randint(0, 500, (whole,), generator=rng)
        for start_frame in (0, 1, 7):
            for crop in (samples - 320 * start_frame, 16_000 - 1, 16_321):
                frames = config.frames(crop)
                ours = align_labels(units_U, start_frame, frames, rate_hz * 320 / 16_000)
                theirs = fairseq_targets(units_U, 320 * start_frame, crop, frames, rate_hz)
                assert torch.equal(ours[: len(theirs)], theirs)
                # fairseq cuts a last frame that has one of its two units; ours keeps that.
                rest = ours[len(theirs) :]
                assert int((rest != NO_LABEL).sum()) <= (1 if rate_hz == 100 else 0)
                assert len(ours) == frames
