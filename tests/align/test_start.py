"""The Gaussian start on sounds whose times are known."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from speechkit.core.mel import LogMel, MelConfig
from speechkit.core.rng import generator
from speechkit.data.align.graph import batch_graphs, build_graph, phone_classes
from speechkit.data.align.start import Gaussians, cepstra, gaussian_paths, loud_span
from speechkit.text import DEFAULT_VOCABULARY

MEL = MelConfig()
PHONES = ("^", "AA1", "S", "AA1", "$")
FRAMES = (10, 15, 12, 15, 10)


def tone_hiss_tone() -> Tensor:
    """Log-mel `[H, M]` of silence, a hum, a hiss, a hum and silence, `FRAMES` long."""
    rng = generator(4)
    pieces = []
    for phone, frames in zip(PHONES, FRAMES, strict=True):
        noise_T = torch.randn(frames * 320, generator=rng)
        if phone == "AA1":
            pieces.append(0.3 * torch.sin(torch.arange(len(noise_T)) * (2 * math.pi / 80)))
        elif phone == "S":
            pieces.append(0.1 * torch.diff(noise_T, prepend=noise_T[:1]))
        else:
            pieces.append(0.0005 * noise_T)
    mel_HM: Tensor = LogMel(MEL)(torch.cat(pieces)[None])[0].T
    return mel_HM


def test_loud_span_leaves_out_the_silences() -> None:
    """The hum and hiss are found to a frame or two; a constant signal is loud all over."""
    start, stop = loud_span(tone_hiss_tone())
    assert abs(start - 10) <= 2
    assert abs(stop - 52) <= 2
    assert loud_span(torch.zeros(40, 80)) == (0, 20)


def test_gaussians_find_their_classes() -> None:
    """With one Gaussian at each sound, the Viterbi path is the true one."""
    mel_HM = tone_hiss_tone()
    classes = phone_classes(DEFAULT_VOCABULARY.symbols)
    cepstra_FK = cepstra(mel_HM)
    mean_CK = torch.full((len(classes), cepstra_FK.shape[1]), 50.0)
    path_F = torch.tensor([classes.index[phone] for phone in PHONES]).repeat_interleave(
        torch.tensor(FRAMES)
    )
    for label in set(path_F.tolist()):
        mean_CK[label] = cepstra_FK[path_F == label].mean(dim=0)
    gaussians = Gaussians(mean_CK, torch.ones_like(mean_CK))
    graphs = batch_graphs([build_graph(PHONES, classes)])
    frames_B = torch.tensor([62])
    padded_BHM = torch.nn.functional.pad(mel_HM, (0, 0, 0, 20))[None]
    found_BF = gaussian_paths(gaussians, padded_BHM, frames_B, graphs)
    assert (found_BF[0] == path_F).float().mean() >= 0.9
