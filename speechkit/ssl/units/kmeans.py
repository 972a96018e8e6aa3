"""K-means: fitted by scikit-learn's mini-batches, as fairseq does for HuBERT, applied in torch.

Shapes: N frames to learn from, F frames, K clusters, D channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechkit.core.checkpoint import load_checkpoint, save_checkpoint
from speechkit.core.config import require_range
from speechkit.core.errors import CheckpointError, DataError

KMEANS_FORMAT = "speechkit-kmeans-1"
_CHUNK_FRAMES = 16_384


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
    """Seedings that are tried; the one of least inertia is trained on."""

    def __post_init__(self) -> None:
        require_range(
            self,
            clusters=(1, 10**6),
            batch_frames=(1, 10**9),
            epochs=(1, 10**6),
            patience_steps=(1, 10**6),
            inits=(1, 10**4),
        )


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

    def assign(self, features_FD: Tensor) -> tuple[Tensor, Tensor]:
        """`units_F` int64 and the squared distance `[F]` to the centroid that was taken.

        Raises DataError for features of another width than those k-means was fitted on.
        """
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

    def save(self, folder: str | Path) -> str:
        """Write a model folder; returns the SHA-256 of its weights."""
        own = {"format": KMEANS_FORMAT, "clusters": self.clusters, "channels": self.channels}
        save_checkpoint(folder, {"centroids_KD": self.centroids_KD}, {**own, **self.notes})
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


def fit_kmeans(features_ND: Tensor, config: KMeansConfig, seed: int) -> KMeans:
    """Find the clusters of these frames with scikit-learn's `MiniBatchKMeans`.

    The notes say the inertia (mean squared distance to the centroid) and the steps taken. The same
    frames, config and seed give the same centroids. Raises DataError for fewer frames than clusters
    and for values that are not finite.
    """
    if features_ND.ndim != 2 or features_ND.shape[0] < config.clusters:
        raise DataError(
            f"{config.clusters} clusters need at least as many frames, and there are "
            f"{features_ND.shape[0]}: take more clips or fewer clusters."
        )
    features_ND = features_ND.float()
    if not bool(torch.isfinite(features_ND).all()):
        raise DataError("Some features are not finite numbers: check audio and encoder.")
    # Late: it takes a second to import.
    from sklearn.cluster import MiniBatchKMeans

    model = MiniBatchKMeans(
        config.clusters,
        batch_size=config.batch_frames,
        max_iter=config.epochs,
        max_no_improvement=config.patience_steps,
        n_init=config.inits,
        tol=0.0,
        reassignment_ratio=0.0,
        compute_labels=False,
        random_state=seed % 2**32,
    ).fit(features_ND.numpy())
    kmeans = KMeans(torch.from_numpy(model.cluster_centers_))
    inertia = float(kmeans.assign(features_ND)[1].double().mean())
    kmeans.notes |= {"inertia": inertia, "steps": int(model.n_steps_)}
    return kmeans
