"""K-means: assignment against scikit-learn's, and what must hold of any k-means."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from speechkit.core.checkpoint import save_checkpoint
from speechkit.core.errors import CheckpointError, DataError
from speechkit.core.rng import generator
from speechkit.ssl.units.kmeans import KMeans, KMeansConfig, fit_kmeans

SMALL = KMeansConfig(clusters=8, batch_frames=200, epochs=20, inits=2)


def blobs(frames: int, centres: int, channels: int, seed: int = 0, spread: float = 0.5) -> Tensor:
    """Frames around random centres that are clearly apart."""
    rng = generator(seed)
    centres_KD = 4.0 * torch.randn(centres, channels, generator=rng)
    which_N = torch.randint(centres, (frames,), generator=rng)
    return centres_KD[which_N] + spread * torch.randn(frames, channels, generator=rng)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999), clusters=st.integers(1, 20), channels=st.integers(1, 12))
def test_assignment_is_the_nearest_centroid(seed: int, clusters: int, channels: int) -> None:
    rng = generator(seed)
    centroids_KD = torch.randn(clusters, channels, generator=rng)
    frames_FD = torch.randn(50, channels, generator=rng)
    units_F, distance_F = KMeans(centroids_KD).assign(frames_FD)
    exact_FK = (frames_FD[:, None].double() - centroids_KD.double()).square().sum(2)
    torch.testing.assert_close(distance_F.double(), exact_FK.min(1).values, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(exact_FK[torch.arange(50), units_F], exact_FK.min(1).values)


def test_assignment_is_scikit_learns() -> None:
    from sklearn import cluster

    frames = blobs(2000, 12, 39)
    theirs = cluster.MiniBatchKMeans(20, n_init=1, random_state=0).fit(frames.numpy())
    ours, _ = KMeans(torch.from_numpy(theirs.cluster_centers_)).assign(frames)
    assert ours.tolist() == theirs.predict(frames.numpy()).tolist()


def test_well_parted_blobs_are_found() -> None:
    frames = blobs(2000, 8, 5, spread=0.05)
    kmeans = fit_kmeans(frames, SMALL, 1)
    units_N, distance_N = kmeans.assign(frames)
    assert kmeans.notes["inertia"] == pytest.approx(float(distance_N.mean()))
    assert kmeans.notes["inertia"] < 2 * 5 * 0.05**2
    assert len(set(units_N.tolist())) == 8


def test_same_seed_same_centroids_and_another_seed_others() -> None:
    frames = blobs(1000, 20, 6, spread=2.0)
    first, again, other = (fit_kmeans(frames, SMALL, seed) for seed in (5, 5, 6))
    assert torch.equal(first.centroids_KD, again.centroids_KD)
    assert not torch.equal(first.centroids_KD, other.centroids_KD)


def test_fitting_stops_when_nothing_improves() -> None:
    frames = blobs(400, 8, 4, spread=0.01)
    config = KMeansConfig(clusters=8, batch_frames=100, epochs=1000, patience_steps=10, inits=1)
    assert fit_kmeans(frames, config, 0).notes["steps"] < 1000


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_equal_frames_leave_clusters_empty_but_end() -> None:
    frames = torch.ones(50, 3)
    kmeans = fit_kmeans(frames, KMeansConfig(clusters=4, batch_frames=10, epochs=3), 0)
    assert kmeans.notes["inertia"] == pytest.approx(0.0, abs=1e-6)


def test_impossible_input_is_refused() -> None:
    with pytest.raises(DataError, match="8 clusters need at least as many frames"):
        fit_kmeans(torch.zeros(7, 3), SMALL, 0)
    with pytest.raises(DataError, match="not finite"):
        fit_kmeans(torch.full((10, 3), float("nan")), SMALL, 0)
    with pytest.raises(ValueError, match="clusters"):
        KMeansConfig(clusters=0)
    with pytest.raises(DataError, match="takes"):
        KMeans(torch.zeros(2, 3)).assign(torch.zeros(5, 4))


def test_a_folder_gives_the_same_units_and_notes(tmp_path: Path) -> None:
    kmeans = KMeans(torch.randn(5, 3, generator=generator(0)), {"features": {"kind": "mfcc"}})
    sha256 = kmeans.save(tmp_path / "k")
    loaded, loaded_sha256 = KMeans.load(tmp_path / "k")
    assert torch.equal(loaded.centroids_KD, kmeans.centroids_KD)
    assert loaded.notes == {"features": {"kind": "mfcc"}}
    assert loaded_sha256 == sha256


def test_another_kind_of_folder_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a", {"weight": torch.zeros(2)}, {"format": "else"})
    save_checkpoint(
        tmp_path / "b",
        {"centroids_KD": torch.zeros(2, 3)},
        {"format": "speechkit-kmeans-1", "clusters": 3, "channels": 3},
    )
    for name, match in (("a", "no k-means"), ("b", "damaged"), ("c", "not a folder")):
        with pytest.raises(CheckpointError, match=match):
            KMeans.load(tmp_path / name)
