"""Linear readers for probes, by scikit-learn: what a standardised feature tells at a glance.

Legend: N examples, D features.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

RIDGE_PENALTIES = (1e-3, 1e-1, 10.0, 1000.0)
"""Penalties that `fit_regressor` chooses from, as shares of the features' variance."""

_FOLDS = 4


def fit_classifier(x_ND: ArrayLike, label_N: ArrayLike, penalty: float = 1e-3) -> Any:
    """A multinomial logistic regression, fitted; its ``predict`` names the labels.

    ``penalty`` times half the squared weights is added to the mean loss. Deterministic (L-BFGS).
    """
    from sklearn.dummy import DummyClassifier
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x_ND, label_N = np.asarray(x_ND, np.float32), np.asarray(label_N)
    if len(np.unique(label_N)) < 2:
        return DummyClassifier(strategy="most_frequent").fit(x_ND, label_N)
    reader = LogisticRegression(C=1 / (penalty * len(x_ND)), max_iter=60)
    with warnings.catch_warnings():
        # Sixty steps decide a probe; the last digits of the loss do not.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return make_pipeline(StandardScaler(), reader).fit(x_ND, label_N)


def fit_regressor(x_ND: ArrayLike, y_N: ArrayLike, group_N: ArrayLike) -> Any:
    """A ridge regression, fitted, whose penalty does best on groups left out, a quarter at a time.

    ``group_N`` numbers the speakers: a penalty chosen on other frames of the same speakers would
    let a probe learn them by heart. With a single group the largest penalty is taken.
    """
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV, GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x_ND = np.asarray(x_ND, np.float32)
    y_N, groups_N = np.asarray(y_N), np.asarray(group_N)
    alphas = [penalty * len(x_ND) for penalty in RIDGE_PENALTIES]
    reader = make_pipeline(StandardScaler(), Ridge(alpha=alphas[-1]))
    folds = min(_FOLDS, len(np.unique(groups_N)))
    if folds < 2:
        return reader.fit(x_ND, y_N)
    search = GridSearchCV(
        reader,
        {"ridge__alpha": alphas},
        scoring="neg_mean_squared_error",
        cv=GroupKFold(folds),
    )
    return search.fit(x_ND, y_N, groups=groups_N).best_estimator_


def predict(reader: Any, x_ND: ArrayLike) -> NDArray[Any]:
    """What a fitted reader says of each example."""
    said_N: NDArray[Any] = reader.predict(np.asarray(x_ND, np.float32))
    return said_N
