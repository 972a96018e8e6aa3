from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from speechkit.core.rng import generator
from speechkit.ssl.probes import ProbeConfig
from speechkit.ssl.probes.heads import Probe, Standard, fit, weighted_sum


def s3prl_weighted_sum(feature: list[Tensor], weights: Tensor) -> Tensor:
    """The formula of s3prl's Featurizer, for layers of one shape."""
    stacked = torch.stack(feature, dim=0)
    norm_weights = torch.softmax(weights, dim=-1)
    weighted = (norm_weights.unsqueeze(-1) * stacked.reshape(len(feature), -1)).sum(dim=0)
    return weighted.view(*feature[0].shape)


def test_weighted_sum_is_that_of_s3prl() -> None:
    rng = generator(0)
    states_NLD = torch.randn(11, 13, 8, generator=rng)
    for logits_L in (torch.zeros(13), 3 * torch.randn(13, generator=rng)):
        ours = weighted_sum(states_NLD, logits_L)
        theirs = s3prl_weighted_sum(list(states_NLD.unbind(dim=1)), logits_L)
        assert float((ours - theirs).abs().max()) < 1e-6
    mean_ND = weighted_sum(states_NLD, torch.zeros(13))
    assert torch.allclose(mean_ND, states_NLD.mean(dim=1), atol=1e-6)


def test_standard_takes_its_figures_from_training() -> None:
    rng = generator(1)
    train_NLD = 5 + 3 * torch.randn(4000, 2, 3, generator=rng)
    train_NLD[:, 1, 2] = 7.0
    standard = Standard(train_NLD)
    found_NLD = standard.apply(train_NLD.clone())
    assert float(found_NLD.mean(dim=0).abs().max()) < 1e-2
    deviation_LD = found_NLD.std(dim=0)
    assert float((deviation_LD.flatten()[:-1] - 1).abs().max()) < 1e-2
    assert float(deviation_LD[1, 2]) == 0
    other_NLD = standard.apply(torch.full((1, 2, 3), 8.0, dtype=torch.float16))
    assert other_NLD.dtype == torch.float16
    assert 0.9 < float(other_NLD[0, 0, 0]) < 1.1


def test_a_probe_finds_the_layer_that_knows_and_nothing_where_there_is_nothing() -> None:
    rng = generator(2)
    label_N = torch.randint(4, (600,), generator=rng)
    states_NLD = torch.randn(600, 3, 16, generator=rng)
    states_NLD[:, 1, :4] += 4 * functional.one_hot(label_N, 4)
    config = ProbeConfig(steps=150, learning_rate=3e-2)

    def trained(target_N: Tensor, name: str) -> tuple[Probe, float]:
        probe = Probe(3, 16, 4, None, generator(3))

        def loss_of(rng: torch.Generator) -> Tensor:
            batch = torch.randint(400, (64,), generator=rng)
            return functional.cross_entropy(probe(states_NLD[batch]), target_N[batch])

        fit(probe, loss_of, config, name)
        right_N = probe(states_NLD[400:]).argmax(dim=1) == target_N[400:]
        return probe, float(right_N.float().mean())

    probe, accuracy = trained(label_N, "a")
    assert accuracy > 0.95
    assert probe.layer_weights[1] > 0.6
    assert abs(sum(probe.layer_weights) - 1) < 1e-5
    again, _ = trained(label_N, "a")
    assert torch.equal(again.head.weight, probe.head.weight)
    _, by_chance = trained(label_N[torch.randperm(600, generator=rng)], "b")
    assert by_chance < 0.4


def test_dropout_thins_the_input_of_the_head_in_training_alone() -> None:
    probe = Probe(2, 400, 3, None, generator(0), dropout=0.5)
    states_NLD = torch.ones(50, 2, 400)
    plain_NV = probe(states_NLD)
    assert torch.equal(plain_NV, probe(states_NLD))
    thin_NV = probe(states_NLD, generator(1))
    assert torch.equal(thin_NV, probe(states_NLD, generator(1)))
    assert not torch.equal(thin_NV[0], thin_NV[1])
    # What is left is doubled, so that the mean stays.
    assert float((thin_NV.mean(dim=0) - plain_NV[0]).abs().max()) < 0.8
    assert torch.equal(probe(states_NLD, generator(1)), thin_NV)
