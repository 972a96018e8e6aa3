"""Phones and pitch on the frames of the paper's codec."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechkit.core.rng import generator
from speechkit.facodec.training.paper_labels import nearest_frames, paper_labels
from tests.facodec.builders import TinyData
from tests.facodec.training.test_paper_task import segments


def test_labels_lie_on_the_codecs_frames(data: TinyData) -> None:
    batch = segments(data, False).draw(6, generator(0))
    labels = paper_labels(batch, 16)
    assert labels.f0_BF.shape == labels.voiced_BF.shape == labels.phone_BF.shape == (6, 16)
    for frame in range(16):
        # The centre of a 12.5 ms frame, in 10 ms frames of pitch and 20 ms frames of phones.
        centre_seconds = (frame + 0.5) / 80
        assert torch.equal(labels.phone_BF[:, frame], batch.phone_BF[:, int(centre_seconds * 50)])
        assert torch.equal(
            labels.voiced_BF[:, frame], batch.voiced_BG[:, int(centre_seconds * 100)]
        )


def test_pitch_is_normalised_over_the_recording(data: TinyData) -> None:
    batch = segments(data, False).draw(16, generator(0))
    z_BG = (batch.contour_BG - batch.contour_mean_B[:, None]) / batch.contour_deviation_B[:, None]
    hz_BG = torch.exp(0.25 * batch.contour_BG + batch.median_B[:, None]) * 150
    for z_G, hz_G, voiced_G in zip(z_BG, hz_BG, batch.voiced_BG > 0, strict=True):
        tracks = [data.corpus.f0(n) for n in range(len(data.corpus))]
        first = float(hz_G[voiced_G][0])
        logs = [track[track > 0].log() for track in tracks if ((track - first).abs() < 0.1).any()]
        expected = [(hz_G.log() - log.mean()) / log.std() for log in logs]
        assert any(torch.allclose(z_G[voiced_G], e[voiced_G], atol=0.02) for e in expected)


@given(st.integers(1, 40), st.integers(1, 40))
def test_resampling_takes_the_frame_at_the_same_place(source: int, target: int) -> None:
    taken = nearest_frames(torch.arange(source)[None], target)[0].numpy()
    centres = (np.arange(target) + 0.5) / target
    assert (np.abs((taken + 0.5) / source - centres) <= 0.5 / source + 1e-6).all()
