"""What teachers know of every clip, worked out once: `speechkit train statistics CORPUS`.

Sidecar `x.statistics.safetensors` beside `x.safetensors`: `speaker_ND` float16, the speaker
verifier's embedding of length 1; `mean_mel_NM` float16, the mean log-mel over the louder frames of
the whole clip at the codec's level; `done_N` uint8, 0 for clips that were not worked out (yet).
Metadata ties the file to the corpus, the verifier and the log-mel.

Shapes: N clips, D embedding, M mel bands, T samples.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from speechkit.core.campplus import EMBEDDING_CHANNELS, SHA256, SHORTEST_SAMPLES
from speechkit.core.config import to_dict
from speechkit.core.errors import DataError
from speechkit.core.files import write_atomically
from speechkit.core.mel import LogMel
from speechkit.data.alignment import corpus_hash
from speechkit.data.packed import PackedCorpus
from speechkit.facodec.small.config import FACodecConfig
from speechkit.facodec.small.features import active_mean, speech_gain
from speechkit.train.progress import progress

FORMAT = "speechkit-statistics-1"
LONGEST_SAMPLES = 64_000
"""Samples, 4 s, from the middle of a clip, that its embedding is taken from."""
SAVE_SECONDS = 60.0
"""Time between two saves of a run."""


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What is known of the clips of a corpus."""

    speaker_ND: Tensor
    """Speaker embeddings of length 1, float32; zeros for a clip too short to have one."""

    mean_mel_NM: Tensor
    """Mean log-mel of the louder frames, float32."""

    known_N: Tensor
    """True for the clips whose statistics were worked out."""


def statistics_path(corpus: str | Path) -> Path:
    """Where the statistics of a packed corpus belong."""
    return Path(corpus).with_suffix(".statistics.safetensors")


def read_statistics(corpus: PackedCorpus, codec: FACodecConfig) -> Statistics:
    """The statistics beside a corpus; raises DataError where there are none, or of something else.

    Of a run that was cut short they are those of the clips that it came to.
    """
    path = statistics_path(corpus.path)
    found = _load(path, _metadata(corpus, codec))
    if found is None or not bool(found["done_N"].any()):
        raise DataError(
            f"There are no statistics of this corpus for this codec at '{path}': run "
            f"`speechkit train statistics {corpus.path}`."
        )
    return Statistics(
        speaker_ND=found["speaker_ND"].float(),
        mean_mel_NM=found["mean_mel_NM"].float(),
        known_N=found["done_N"] > 0,
    )


def write_statistics(
    corpus: PackedCorpus, codec: FACodecConfig, verifier: nn.Module, clips: int | None = None
) -> int:
    """Write the statistics beside a corpus, going on where a run was cut short.

    `clips` is how many to know in all, dealt out among the speakers; None is all. Returns how many
    of them were missing. `verifier` turns `wave_BT` into embeddings; see `core.campplus`.
    """
    path, metadata = statistics_path(corpus.path), _metadata(corpus, codec)
    tensors = _load(path, metadata) or {
        "speaker_ND": torch.zeros(len(corpus), EMBEDDING_CHANNELS, dtype=torch.float16),
        "mean_mel_NM": torch.zeros(len(corpus), codec.mel.n_mels, dtype=torch.float16),
        "done_N": torch.zeros(len(corpus), dtype=torch.uint8),
    }

    def save() -> None:
        write_atomically(path, lambda part: save_file(tensors, part, metadata=metadata))

    missing = [clip for clip in _dealt(corpus)[:clips] if not tensors["done_N"][clip]]
    mel, saved = LogMel(codec.mel), monotonic()
    for clip in progress("statistics", missing, total=len(missing), unit="clip"):
        wave_T = corpus.wave(clip)
        wave_T = wave_T * speech_gain(wave_T, codec.level_rms)
        with torch.inference_mode():
            tensors["mean_mel_NM"][clip] = active_mean(mel(wave_T[None]))[0, :, 0].half()
            tensors["speaker_ND"][clip] = embedding_of(verifier, wave_T).half()
        tensors["done_N"][clip] = 1
        if monotonic() - saved > SAVE_SECONDS:
            save()
            saved = monotonic()
    save()
    return len(missing)


def _dealt(corpus: PackedCorpus) -> list[int]:
    """All clips: the first one of each speaker, then the second ones, and so on."""
    seen = [0] * len(corpus.speakers)
    turns = []
    for clip in range(len(corpus)):
        speaker = corpus.speaker(clip)
        turns.append((seen[speaker], clip))
        seen[speaker] += 1
    return [clip for _, clip in sorted(turns)]


def embedding_of(verifier: nn.Module, wave_T: Tensor) -> Tensor:
    """`speaker_D` of length 1 of the middle of a wave; zeros where it is too short for one."""
    if len(wave_T) < SHORTEST_SAMPLES:
        return torch.zeros(EMBEDDING_CHANNELS)
    first = max(0, (len(wave_T) - LONGEST_SAMPLES) // 2)
    embedding_BD: Tensor = verifier(wave_T[None, first : first + LONGEST_SAMPLES])
    return nn.functional.normalize(embedding_BD[0].float(), dim=-1)


def _metadata(corpus: PackedCorpus, codec: FACodecConfig) -> dict[str, str]:
    return {
        "format": FORMAT,
        "corpus": corpus_hash(corpus.ids),
        "verifier": SHA256,
        "mel": json.dumps([to_dict(codec.mel), codec.level_rms], sort_keys=True),
    }


def _load(path: Path, metadata: dict[str, str]) -> dict[str, Tensor] | None:
    """The tensors of a file that says just this of itself, or None."""
    try:
        with safe_open(str(path), "pt") as stored:
            if stored.metadata() != metadata:
                return None
            return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
