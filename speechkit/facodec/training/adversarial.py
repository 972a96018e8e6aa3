"""Least-squares adversarial training inside a loop that has one optimiser and one backward pass.

Usually discriminator and generator take turns: the generator's step sees the discriminator that
has just been updated (Goodfellow et al. 2014, algorithm 1; HiFi-GAN and DAC likewise). Here both
gradients are taken at the same point and both are applied in the same step: simultaneous gradient
descent, the object of most theory (Mescheder et al. 2017, "The numerics of GANs", section 3) and
what Goodfellow's tutorial describes (2016, section 3.2). It needs no second optimiser, no
second backward pass and no second evaluation of the generator; where the learning rate is small
the two differ by a term of its second order. What must hold for the sum of both losses to be
back-propagated at once: the discriminator's loss sees the generated signal as a constant, and the
generator's losses see the discriminator's parameters as constants.

Shapes: B batch, T samples, M mel bands, G mel frames; a signal is `[B, T]` or `[B, M, G]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from speechkit.core.config import require_range
from speechkit.facodec.training.discriminators import Maps


@dataclass(frozen=True, kw_only=True)
class AdversarialSchedule:
    """When the discriminators come in, and how features are compared."""

    start_step: int = 0
    """First step with discriminators; before it they cost nothing and learn nothing."""

    ramp_steps: int = 0
    """Steps over which the generator's share rises from nothing to all of it. The discriminators
    learn at full strength from the start, so that they know something when it counts."""

    features: Literal["relative", "plain"] = "relative"
    """`relative` divides the distance of two maps by the mean size of the real one (Défossez et
    al. 2022, "EnCodec", equation 2; NS3 appendix B.1); `plain` is HiFi-GAN's L1."""

    def __post_init__(self) -> None:
        require_range(self, start_step=(0, 10**9), ramp_steps=(0, 10**9))

    def share(self, step: int) -> float:
        """Factor of the generator's adversarial losses at a step, 0 to 1."""
        if step < self.start_step:
            return 0.0
        return min(1.0, (step - self.start_step + 1) / (self.ramp_steps + 1))


def frozen_maps(discriminator: nn.Module, signal: Tensor) -> Maps:
    """The discriminator's maps of a signal, with gradients to the signal alone.

    Runs the module with detached views of its parameters: nothing of the module changes, so the
    pass can stand between two others of the same step.
    """
    constants = {name: p.detach() for name, p in discriminator.named_parameters()}
    maps: Maps = functional_call(discriminator, constants, (signal,))
    return maps


def discriminator_loss(real: Maps, fake: Maps) -> Tensor:
    """Scores of real signals should be 1, of generated ones 0 (Mao et al. 2017), scalar.

    The mean over the networks, so the size of the set does not change its weight.
    """
    losses = [
        (1 - ours[-1].float()).pow(2).mean() + theirs[-1].float().pow(2).mean()
        for ours, theirs in zip(real, fake, strict=True)
    ]
    return torch.stack(losses).mean()


def generator_loss(fake: Maps) -> Tensor:
    """Scores of generated signals should be 1, scalar; mean over the networks."""
    return torch.stack([(1 - maps[-1].float()).pow(2).mean() for maps in fake]).mean()


def feature_loss(real: Maps, fake: Maps, kind: Literal["relative", "plain"] = "relative") -> Tensor:
    """Distance of the maps of a generated signal from those of the real one, scalar.

    Mean over all maps of all networks except the scores. The real maps are constants.
    """
    distances = []
    for ours, theirs in zip(real, fake, strict=True):
        for target, made in zip(ours[:-1], theirs[:-1], strict=True):
            constant = target.detach().float()
            distance = (made.float() - constant).abs().mean()
            if kind == "relative":
                distance = distance / constant.abs().mean().clamp_min(1e-5)
            distances.append(distance)
    return torch.stack(distances).mean()


@dataclass(frozen=True, kw_only=True)
class AdversarialLosses:
    """The three losses of one discriminator, scalars; only the last two reach the generator."""

    discriminator: Tensor
    """Telling real from generated signals; gradients to the discriminator alone."""

    generator: Tensor
    """Passing as real; gradients to the signal alone, times the schedule's share."""

    features: Tensor
    """Feature matching; gradients to the signal alone, times the schedule's share."""

    def named(self, prefix: str) -> dict[str, Tensor]:
        """The losses under keys such as "adversarial/generator"."""
        return {f"{prefix}/{name}": value for name, value in vars(self).items()}


def adversarial_losses(
    discriminator: nn.Module,
    real: Tensor,
    fake: Tensor,
    schedule: AdversarialSchedule,
    step: int,
) -> AdversarialLosses:
    """All losses between a real and a generated signal of the same shape, at a training step.

    Three evaluations of the discriminator: real, generated as a constant, and generated once more
    with constant parameters; the maps of the real signal serve both sides.
    """
    if step < schedule.start_step:
        nothing = torch.zeros((), device=fake.device)
        return AdversarialLosses(discriminator=nothing, generator=nothing, features=nothing)
    real_maps = discriminator(real.detach())
    learning = discriminator_loss(real_maps, discriminator(fake.detach()))
    fake_maps = frozen_maps(discriminator, fake)
    share = schedule.share(step)
    return AdversarialLosses(
        discriminator=learning,
        generator=share * generator_loss(fake_maps),
        features=share * feature_loss(real_maps, fake_maps, schedule.features),
    )
