"""Mini-batch k-means (Sculley 2010, "Web-Scale K-Means Clustering") with k-means++ seeding.

Shapes: N frames to learn from, F frames, B frames of a batch, K clusters, D channels, L trials.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechkit.core.checkpoint import load_checkpoint, save_checkpoint
from speechkit.core.errors import CheckpointError, ConfigError, DataError

KMEANS_FORMAT = "speechkit-kmeans-1"
_CHUNK_FRAMES = 16_384
_TRIAL_STEPS = 5
_SEEDING_FRAMES_PER_CLUSTER = 30
_MIN_SEEDING_FRAMES = 10_000


@dataclass(frozen=True, kw_only=True)
class KMeansConfig:
    """How the clusters are found; the defaults are fairseq's, but for `inits` (20 there)."""

    clusters: int = 100
    """K: 100 for MFCCs, 500 for the layers of a model (HuBERT)."""
    batch_frames: int = 10_000
    """Frames a step learns from."""
    epochs: int = 100
    """Most passes over the frames."""
    patience_steps: int = 100
    """Stop after so many steps in which the smoothed inertia did not fall."""
    inits: int = 5
    """Seedings that are tried for a few steps; the one of least inertia is trained on."""

    def __post_init__(self) -> None:
        """Raise ConfigError for what cannot be run."""
        for name in ("clusters", "batch_frames", "epochs", "patience_steps", "inits"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} of k-means must be at least 1.")


class KMeans:
    """Centroids, and what they were learnt from."""

    def __init__(self, centroids_KD: Tensor, notes: Mapping[str, Any] | None = None) -> None:
        """Hold the centroids; `notes` go into config.json (JSON values)."""
        if centroids_KD.ndim != 2 or 0 in centroids_KD.shape:
            raise DataError(f"Centroids are a table [K, D], not {tuple(centroids_KD.shape)}.")
        if not bool(torch.isfinite(centroids_KD).all()):
            raise DataError("The centroids hold values that are not finite; fit k-means again.")
        self.centroids_KD = centroids_KD.detach().float().contiguous()
        self.notes: dict[str, Any] = dict(notes or {})
        self._squares_K = self.centroids_KD.square().sum(1)

    @property
    def clusters(self) -> int:
        """K."""
        return self.centroids_KD.shape[0]

    @property
    def channels(self) -> int:
        """D."""
        return self.centroids_KD.shape[1]

    def assign(self, features_FD: Tensor) -> Tensor:
        """`units_F` int64: the nearest centroid, argmin |x|² - 2 x·c + |c|² (first of equals)."""
        return self.assign_with_distance(features_FD)[0]

    def assign_with_distance(self, features_FD: Tensor) -> tuple[Tensor, Tensor]:
        """`units_F` int64 and the squared distance `[F]` to the centroid that was taken."""
        if features_FD.ndim != 2 or features_FD.shape[1] != self.channels:
            raise DataError(
                f"The features are {tuple(features_FD.shape)}, but this k-means takes "
                f"[F, {self.channels}]: use the features that it was fitted on."
            )
        units = [torch.zeros(0, dtype=torch.int64)]
        distances = [torch.zeros(0)]
        for chunk_FD in torch.split(features_FD.float(), _CHUNK_FRAMES):
            # |x|² does not change which is nearest, and leaving it out of the sum saves digits.
            rest_FK = torch.addmm(self._squares_K, chunk_FD, self.centroids_KD.T, alpha=-2.0)
            least_F, units_F = rest_FK.min(dim=1)
            units.append(units_F)
            distances.append((least_F + chunk_FD.square().sum(1)).clamp_min(0.0))
        return torch.cat(units), torch.cat(distances)

    def inertia(self, features_FD: Tensor) -> float:
        """Mean squared distance of a frame to its centroid."""
        return float(self.assign_with_distance(features_FD)[1].double().mean())

    def save(self, folder: str | Path) -> str:
        """Write a model folder; returns the SHA-256 of its weights."""
        config = {
            "format": KMEANS_FORMAT,
            "clusters": self.clusters,
            "channels": self.channels,
            **self.notes,
        }
        save_checkpoint(folder, {"centroids_KD": self.centroids_KD}, config)
        return load_checkpoint(folder).sha256

    @staticmethod
    def load(folder: str | Path) -> tuple[KMeans, str]:
        """Return the k-means of a folder and the SHA-256 of its weights.

        Raises CheckpointError where the folder is damaged or holds another kind of model.
        """
        found = load_checkpoint(folder)
        centroids_KD = found.state.get("centroids_KD")
        if found.config.get("format") != KMEANS_FORMAT or centroids_KD is None:
            raise CheckpointError(f"{folder} is no k-means folder: make one with ssl units.")
        shape = (found.config.get("clusters"), found.config.get("channels"))
        if tuple(centroids_KD.shape) != shape:
            raise CheckpointError(f"{folder} is damaged: its config does not fit its centroids.")
        own = ("format", "clusters", "channels")
        notes = {key: value for key, value in found.config.items() if key not in own}
        return KMeans(centroids_KD, notes), found.sha256


@dataclass(frozen=True, kw_only=True)
class KMeansFit:
    """What fitting came to."""

    kmeans: KMeans
    """The centroids."""
    inertia: float
    """Mean squared distance of a frame to its centroid, over the frames learnt from."""
    steps: int
    """Batches learnt from, without those of the seedings that were dropped."""
    reseeded: int
    """How often a cluster that had run empty was given a new place."""


def fit_kmeans(features_ND: Tensor, config: KMeansConfig, rng: torch.Generator) -> KMeansFit:
    """Find the clusters of these frames; same frames, config and generator state: same centroids.

    Each centroid is the mean of all frames it ever won in a batch (Sculley 2010, algorithm 1).
    Raises DataError for fewer frames than clusters and for values that are not finite.
    """
    if features_ND.ndim != 2 or features_ND.shape[0] < config.clusters:
        raise DataError(
            f"{config.clusters} clusters need at least as many frames, and there are "
            f"{features_ND.shape[0]}: take more clips or fewer clusters."
        )
    features_ND = features_ND.float()
    if not bool(torch.isfinite(features_ND).all()):
        raise DataError("Some features are not finite numbers: check audio and encoder.")
    frames = features_ND.shape[0]
    sample = max(_MIN_SEEDING_FRAMES, _SEEDING_FRAMES_PER_CLUSTER * config.clusters)
    held_BD = features_ND[torch.randperm(frames, generator=rng)[:sample]]
    best: _Learner | None = None
    best_inertia = math.inf
    for _ in range(config.inits):
        learner = _Learner(_seed(held_BD, config.clusters, rng), rng)
        for batch_N in _batches(frames, config.batch_frames, rng)[:_TRIAL_STEPS]:
            learner.step(features_ND[batch_N])
        inertia = KMeans(learner.centroids_KD).inertia(held_BD)
        if best is None or inertia < best_inertia:
            best, best_inertia = learner, inertia
    assert best is not None  # config.inits >= 1
    _train(best, features_ND, config, rng)
    kmeans = KMeans(best.centroids_KD)
    return KMeansFit(
        kmeans=kmeans,
        inertia=kmeans.inertia(features_ND),
        steps=best.steps,
        reseeded=best.reseeded,
    )


def _train(
    learner: _Learner, features_ND: Tensor, config: KMeansConfig, rng: torch.Generator
) -> None:
    """Learn until the epochs are over or the smoothed inertia has stopped falling."""
    frames = features_ND.shape[0]
    # An average over about half an epoch, as scikit-learn smooths it.
    weight = min(1.0, 2.0 * config.batch_frames / (frames + 1))
    smooth, lowest, waited = math.nan, math.inf, 0
    for _ in range(config.epochs):
        for batch_N in _batches(frames, config.batch_frames, rng):
            inertia = learner.step(features_ND[batch_N])
            smooth = inertia if math.isnan(smooth) else smooth + weight * (inertia - smooth)
            waited = 0 if smooth < lowest else waited + 1
            lowest = min(lowest, smooth)
            if waited >= config.patience_steps:
                return
        learner.reseed(features_ND)


class _Learner:
    """Centroids on the way."""

    def __init__(self, centroids_KD: Tensor, rng: torch.Generator) -> None:
        self.centroids_KD = centroids_KD.clone()
        self.counts_K = torch.zeros(centroids_KD.shape[0], dtype=torch.float64)
        self._recent_K = torch.zeros_like(self.counts_K)
        self._rng = rng
        self.steps = 0
        self.reseeded = 0

    def step(self, batch_BD: Tensor) -> float:
        """Move the centroids towards what they won; returns the mean inertia before the move."""
        units_B, distance_B = KMeans(self.centroids_KD).assign_with_distance(batch_BD)
        won_K = torch.bincount(units_B, minlength=len(self.counts_K)).double()
        sums_KD = torch.zeros_like(self.centroids_KD).index_add_(0, units_B, batch_BD)
        self.counts_K += won_K
        self._recent_K += won_K
        share_K = (won_K / self.counts_K.clamp_min(1.0)).float()
        mean_KD = sums_KD / won_K.clamp_min(1.0).float()[:, None]
        self.centroids_KD = torch.lerp(self.centroids_KD, mean_KD, share_K[:, None])
        self.steps += 1
        return float(distance_B.double().mean())

    def reseed(self, features_ND: Tensor) -> None:
        """Put each cluster that won nothing in the last epoch on a frame that is badly served."""
        empty_E = (self._recent_K == 0).nonzero()[:, 0]
        self._recent_K.zero_()
        if not len(empty_E):
            return
        distance_N = KMeans(self.centroids_KD).assign_with_distance(features_ND)[1]
        sample_N = torch.randperm(len(distance_N), generator=self._rng)[:_MIN_SEEDING_FRAMES]
        chance_N = distance_N[sample_N]
        if int((chance_N > 0).sum()) < len(empty_E):
            return  # fewer different frames than clusters: some must stay empty
        drawn_E = torch.multinomial(chance_N, len(empty_E), generator=self._rng)
        self.centroids_KD[empty_E] = features_ND[sample_N[drawn_E]]
        self.counts_K[empty_E] = 0.0
        self.reseeded += len(empty_E)


def _batches(frames: int, batch_frames: int, rng: torch.Generator) -> list[Tensor]:
    """Indices of one epoch in random order, cut into batches; a short last one is left out."""
    order_N = torch.randperm(frames, generator=rng)
    whole = max(1, frames // batch_frames) * batch_frames
    return list(torch.split(order_N[:whole], batch_frames))


def _seed(frames_ND: Tensor, clusters: int, rng: torch.Generator) -> Tensor:
    """Greedy k-means++ (Arthur and Vassilvitskii 2007): of some drawn frames keep the best.

    A frame is drawn with a chance that grows with its squared distance to the nearest seed.
    """
    trials = 2 + int(math.log(clusters))
    squares_N = frames_ND.square().sum(1)
    first = int(torch.randint(len(frames_ND), (1,), generator=rng))
    chosen = [first]
    nearest_N = _squared_distances(frames_ND, squares_N, torch.tensor([first]))[0]
    for _ in range(clusters - 1):
        # Frames that all lie on seeds leave no distance to draw by.
        chance_N = nearest_N if float(nearest_N.sum()) > 0 else torch.ones_like(nearest_N)
        drawn_L = torch.multinomial(chance_N, trials, replacement=True, generator=rng)
        nearest_LN = torch.minimum(_squared_distances(frames_ND, squares_N, drawn_L), nearest_N)
        best = int(nearest_LN.sum(1).argmin())
        nearest_N = nearest_LN[best]
        chosen.append(int(drawn_L[best]))
    return frames_ND[torch.tensor(chosen)]


def _squared_distances(frames_ND: Tensor, squares_N: Tensor, chosen_L: Tensor) -> Tensor:
    """`[L, N]`: squared distance of every frame to the chosen ones."""
    products_LN = frames_ND[chosen_L] @ frames_ND.T
    distances_LN = squares_N - 2.0 * products_LN + squares_N[chosen_L, None]
    # Rounding must not leave a seed at a distance from itself.
    distances_LN[torch.arange(len(chosen_L)), chosen_L] = 0.0
    return distances_LN.clamp_min(0.0)
