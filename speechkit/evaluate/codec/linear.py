"""Linear readers for probes: ridge regression and multinomial logistic regression.

Both are deterministic: closed form, or LBFGS from zero over the whole set.

Legend: N examples, D features, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1000.0)
"""Ridge penalties to choose from, as shares of the features' variance."""

_FOLDS = 4
_SMALLEST_SCALE = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class Linear:
    """A linear map of standardised features."""

    mean_D: Tensor
    """Mean of the training features."""
    scale_D: Tensor
    """Their standard deviation; 1 where a feature never changes."""
    weight_DC: Tensor
    """Weights of the standardised features."""
    bias_C: Tensor
    """Offsets."""

    def __call__(self, x_ND: Tensor) -> Tensor:
        """`y_NC` of features."""
        return ((x_ND.float() - self.mean_D) / self.scale_D) @ self.weight_DC + self.bias_C


def _standard(x_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and scale of every feature."""
    scale_D = x_ND.std(0, unbiased=False)
    return x_ND.mean(0), torch.where(scale_D > _SMALLEST_SCALE, scale_D, torch.ones_like(scale_D))


def _ridge_path(x_ND: Tensor, y_N: Tensor, penalties: Sequence[float]) -> list[Linear]:
    """A ridge fit for each penalty, from one eigendecomposition."""
    mean_D, scale_D = _standard(x_ND)
    z_ND = ((x_ND - mean_D) / scale_D).double()
    bias = y_N.double().mean()
    values_D, vectors_DD = torch.linalg.eigh(z_ND.T @ z_ND / len(z_ND))
    along_D = vectors_DD.T @ (z_ND.T @ (y_N.double() - bias)) / len(z_ND)
    fits = []
    for penalty in penalties:
        weight_D = vectors_DD @ (along_D / (values_D.clamp_min(0) + penalty))
        fits.append(
            Linear(
                mean_D=mean_D,
                scale_D=scale_D,
                weight_DC=weight_D[:, None].float(),
                bias_C=bias[None].float(),
            )
        )
    return fits


def fit_ridge(
    x_ND: Tensor, y_N: Tensor, group_N: Tensor, penalties: Sequence[float] = PENALTIES
) -> Linear:
    """Ridge regression of `y_N`; the penalty is chosen on groups left out, a quarter at a time.

    `group_N` numbers the speakers: a penalty chosen on other frames of the same speakers would
    let a probe learn them by heart. With a single group the largest penalty is taken.
    """
    x_ND = x_ND.float()
    groups = sorted(set(group_N.tolist()))
    folds = min(_FOLDS, len(groups))
    errors = torch.zeros(len(penalties))
    for fold in range(folds if folds > 1 else 0):
        test_N = torch.isin(group_N, torch.tensor(groups[fold::folds]))
        for i, fit in enumerate(_ridge_path(x_ND[~test_N], y_N[~test_N], penalties)):
            errors[i] += (fit(x_ND[test_N])[:, 0] - y_N[test_N]).square().sum()
    best = penalties[int(errors.argmin())] if folds > 1 else penalties[-1]
    return _ridge_path(x_ND, y_N, [best])[0]


def fit_logistic(
    x_ND: Tensor, label_N: Tensor, classes: int, penalty: float = 1e-3, iterations: int = 60
) -> Linear:
    """Multinomial logistic regression; `penalty` times half the squared weights is added."""
    mean_D, scale_D = _standard(x_ND.float())
    z_ND = (x_ND.float() - mean_D) / scale_D
    weight_DC = torch.zeros(z_ND.shape[1], classes, requires_grad=True)
    bias_C = torch.zeros(classes, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weight_DC, bias_C],
        max_iter=iterations,
        tolerance_grad=1e-4,
        tolerance_change=1e-6,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        solver.zero_grad()
        logits_NC = z_ND @ weight_DC + bias_C
        value = torch.nn.functional.cross_entropy(logits_NC, label_N)
        value = value + 0.5 * penalty * weight_DC.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    solver.step(loss)  # type: ignore[no-untyped-call]
    return Linear(
        mean_D=mean_D, scale_D=scale_D, weight_DC=weight_DC.detach(), bias_C=bias_C.detach()
    )
