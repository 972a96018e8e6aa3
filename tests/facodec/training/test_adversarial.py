"""Discriminators and the losses that let both sides learn from one backward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from speechkit.core.rng import generator
from speechkit.facodec.training import discriminators
from speechkit.facodec.training.adversarial import (
    AdversarialSchedule,
    adversarial_losses,
    discriminator_loss,
    feature_loss,
    frozen_maps,
    generator_loss,
)
from speechkit.facodec.training.discriminators import (
    DiscriminatorConfig,
    PatchConfig,
    build_patch_discriminator,
    build_wave_discriminator,
)

TINY = DiscriminatorConfig(
    periods=(2, 3), period_channels=(4, 6, 6), windows=(128, 64), band_channels=3
)
NOW = AdversarialSchedule()


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


def wave_discriminator(config: DiscriminatorConfig = TINY) -> nn.Module:
    return seeded(lambda: build_wave_discriminator(config))


def patch_discriminator() -> nn.Module:
    return seeded(lambda: build_patch_discriminator(PatchConfig(scales=2, channels=(4, 6))))


KINDS = [(wave_discriminator, (2, 700)), (patch_discriminator, (2, 40, 32))]


def noise(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=generator(seed))


def test_the_published_size_of_the_wave_discriminator() -> None:
    model = build_wave_discriminator(DiscriminatorConfig())
    sizes = [sum(p.numel() for p in part.parameters()) for part in model.parts]
    # A layer has a weight for every input, output and tap, a gain and a bias for every output.
    widths = [1, 32, 128, 512, 1024, 1024]
    period = sum(5 * a * b + 2 * b for a, b in zip(widths, widths[1:], strict=False))
    band = 2 * 32 * 27 + 3 * 32 * 32 * 27 + 32 * 32 * 9 + 5 * 64
    assert sizes == 5 * [period + 3 * 1024 + 2] + 3 * [5 * band + 32 * 9 + 2]


@pytest.mark.parametrize("samples", [129, 700, 701])
def test_maps_end_with_the_scores(samples: int) -> None:
    maps = wave_discriminator()(noise((2, samples), 0))
    assert [len(part) for part in maps] == [4, 4, 5 * 5 + 1, 5 * 5 + 1]
    for part in maps:
        assert all(one.shape[0] == 2 for one in part)
        assert part[-1].shape[1] == 1
    # The bands' scores lie side by side: every band has at least one place in them.
    assert maps[2][-1].shape[-1] >= 5


def test_level_and_offset_do_not_give_a_wave_away() -> None:
    wave_BT = noise((2, 700), 0)
    for ours, theirs in zip(
        wave_discriminator()(wave_BT), wave_discriminator()(0.2 * wave_BT + 0.1), strict=True
    ):
        torch.testing.assert_close(ours[-1], theirs[-1], rtol=1e-3, atol=1e-4)


def test_patches_know_their_band() -> None:
    model = patch_discriminator()
    flat = torch.full((1, 40, 32), -3.0)
    scores = model(flat)[0][-1][0, 0].detach()
    assert float(scores[:, 4].std()) > 1e-4


@pytest.mark.parametrize(
    "broken",
    [
        {"periods": (), "windows": ()},
        {"periods": (0,)},
        {"windows": (8,)},
        {"period_channels": ()},
        {"bands": (0.0, 0.5)},
        {"bands": (0.0, 0.6, 0.5, 1.0)},
        {"band_channels": 0},
    ],
)
def test_impossible_discriminators_are_refused(broken: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(broken))):
        DiscriminatorConfig(**broken)  # type: ignore[arg-type]


def gradients(model: nn.Module, signal: Tensor, loss: Tensor) -> tuple[float, float]:
    """Largest gradient of a loss at the discriminator and at the signal."""
    inputs = [signal, *model.parameters()]
    found = torch.autograd.grad(loss, inputs, retain_graph=True, allow_unused=True)
    sizes = [0.0 if one is None else float(one.abs().max()) for one in found]
    return max(sizes[1:]), sizes[0]


@pytest.mark.parametrize(("make", "shape"), KINDS)
@pytest.mark.parametrize("amp", [False, True])
def test_each_side_gets_its_own_gradients_alone(
    make: Callable[[], nn.Module], shape: tuple[int, ...], amp: bool
) -> None:
    model = make()
    fake = noise(shape, 1).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        losses = adversarial_losses(model, noise(shape, 0), fake, NOW, 0)
    at_model, at_signal = gradients(model, fake, losses.discriminator)
    assert at_model > 0
    assert at_signal == 0
    for loss in (losses.generator, losses.features):
        at_model, at_signal = gradients(model, fake, loss)
        assert at_model == 0
        assert at_signal > 0


def test_narrow_maps_have_gradients_in_bfloat16() -> None:
    """torch leaves some of them as it finds the memory, see `discriminators._Convolution`."""
    for height, width, kernel in ((12, 1, (3, 9)), (12, 2, (3, 9)), (1, 1, (5, 5))):
        stride = (2, 2) if kernel[0] == 5 else (1, 2)
        layer = discriminators._convolution(4, 4, kernel, stride)
        x = noise((2, 4, height, width), 0).requires_grad_()
        expected = torch.autograd.grad(layer(x).square().mean(), [x, *layer.parameters()])
        dirty = [torch.full((1 << n,), float("nan")) for n in range(4, 16) for _ in range(50)]
        del dirty
        with torch.autocast("cpu", torch.bfloat16):
            loss = layer(x).float().square().mean()
        found = torch.autograd.grad(loss, [x, *layer.parameters()])
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=0.05, atol=0.01)


@pytest.mark.parametrize(("make", "shape"), KINDS)
def test_one_backward_pass_equals_two(
    make: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    model, real = make(), noise(shape, 0)
    fake = noise(shape, 1).requires_grad_()
    losses = adversarial_losses(model, real, fake, NOW, 0)
    (2 * losses.discriminator + 3 * losses.generator + 5 * losses.features).backward()  # type: ignore[no-untyped-call]
    together = {name: p.grad for name, p in model.named_parameters()}
    signal = fake.grad

    # The plain way: two passes, the discriminator's parameters switched off in the second.
    learning = 2 * discriminator_loss(model(real), model(fake.detach()))
    names = [name for name, _ in model.named_parameters()]
    expected = torch.autograd.grad(learning, list(model.parameters()))
    model.requires_grad_(False)
    maps = model(fake)
    passing = 3 * generator_loss(maps) + 5 * feature_loss(model(real), maps)
    (expected_signal,) = torch.autograd.grad(passing, [fake])
    for name, gradient in zip(names, expected, strict=True):
        torch.testing.assert_close(together[name], gradient, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(signal, expected_signal, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("make", "shape"), KINDS)
def test_the_frozen_pass_has_the_slope_of_finite_differences(
    make: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    model = make().double()
    real, fake = noise(shape, 0).double(), noise(shape, 1).double().requires_grad_()
    direction = noise(shape, 2).double()

    def loss(signal: Tensor) -> Tensor:
        maps = frozen_maps(model, signal)
        return generator_loss(maps).double() + feature_loss(model(real), maps).double()

    (gradient,) = torch.autograd.grad(loss(fake), [fake])
    step = 1e-3
    with torch.no_grad():
        up, down = loss(fake + step * direction), loss(fake - step * direction)
    slope = float((gradient * direction).sum())
    # The losses are computed in single precision.
    assert float(up - down) / (2 * step) == pytest.approx(slope, rel=2e-2, abs=2e-4)


def toy(seed: int, hz: float) -> Tensor:
    """Sines of a pitch with random phases, with a little noise."""
    phase = 6.28 * torch.rand(4, 1, generator=generator(seed))
    return torch.sin(6.28 * hz * torch.arange(256) / 16_000 + phase) + 0.05 * noise((4, 256), seed)


def test_the_discriminator_learns_and_the_generator_follows_its_slope() -> None:
    model = wave_discriminator(replace(TINY, periods=(3,), windows=(64,)))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    values = []
    for step in range(20):
        real, fake = toy(2 * step, 900), toy(2 * step + 1, 2100)
        loss = adversarial_losses(model, real, fake, NOW, 0).discriminator
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        values.append(float(loss.detach()))
    assert values[-1] < 0.6 * values[0]
    scores = [
        [float(maps[-1].detach().mean()) for maps in model(toy(99, hz))] for hz in (900, 2100)
    ]
    assert sum(scores[0]) > sum(scores[1])

    # Walking down the generator's loss makes a wrong wave look real.
    fake = toy(100, 2100).requires_grad_()
    before = float(generator_loss(frozen_maps(model, fake)).detach())
    walk = torch.optim.Adam([fake], lr=3e-2)
    for _ in range(20):
        walk.zero_grad()
        generator_loss(frozen_maps(model, fake)).backward()  # type: ignore[no-untyped-call]
        walk.step()
    with torch.no_grad():
        after = model(fake)
    assert float(generator_loss(after)) < 0.7 * before
    assert sum(float(maps[-1].mean()) for maps in after) > sum(scores[1])


def test_equal_signals_have_no_feature_distance() -> None:
    model, real = wave_discriminator(), noise((2, 700), 0)
    same = adversarial_losses(model, real, real.clone(), NOW, 0)
    assert float(same.features.detach()) == 0
    assert same.named("wave").keys() == {
        "wave/discriminator", "wave/generator", "wave/features"
    }  # fmt: skip


@given(st.floats(0.01, 100))
def test_relative_features_do_not_depend_on_the_size_of_the_maps(size: float) -> None:
    real = [[noise((1, 2, 3), 0), noise((1, 1, 3), 1)]]
    fake = [[noise((1, 2, 3), 2), noise((1, 1, 3), 3)]]
    larger = [[[size * one for one in part] for part in maps] for maps in (real, fake)]
    relative = float(feature_loss(larger[0], larger[1]))
    assert relative == pytest.approx(float(feature_loss(real, fake)), rel=1e-4)
    plain = float(feature_loss(larger[0], larger[1], "plain"))
    assert plain == pytest.approx(size * float(feature_loss(real, fake, "plain")), rel=1e-4)


@given(st.integers(0, 50), st.integers(0, 50))
def test_the_schedule_waits_then_rises(start: int, ramp: int) -> None:
    schedule = AdversarialSchedule(start_step=start, ramp_steps=ramp)
    shares = [schedule.share(step) for step in range(start + ramp + 5)]
    assert all(share == 0 for share in shares[:start])
    assert all(share > 0 for share in shares[start:])
    assert shares == sorted(shares)
    assert all(share == 1 for share in shares[start + ramp :])


def test_before_its_start_the_discriminator_is_not_asked() -> None:
    class Asked(nn.Module):
        def forward(self, signal: Tensor) -> None:
            raise AssertionError

    schedule = AdversarialSchedule(start_step=3, ramp_steps=1)
    fake = noise((1, 700), 0).requires_grad_()
    assert all(
        float(loss) == 0
        for loss in vars(adversarial_losses(Asked(), fake.detach(), fake, schedule, 2)).values()
    )
    model = wave_discriminator()
    half, whole = (
        adversarial_losses(model, noise((1, 700), 1), fake, schedule, step) for step in (3, 4)
    )
    assert float(half.generator.detach()) == pytest.approx(0.5 * float(whole.generator.detach()))
    assert float(half.discriminator.detach()) == float(whole.discriminator.detach())
