"""What teachers know of every clip, worked out once: `speechkit train statistics CORPUS`.

Sidecar `00000.statistics.safetensors` beside each shard: `speaker_ND` float16, the speaker
verifier's embedding of length 1; `mean_mel_NM` float16, the mean log-mel over the louder frames of
the whole clip at the codec's level; `done_N` uint8, 0 for clips that were not worked out (yet).
Metadata ties the file to the shard, the verifier and the log-mel.

Shapes: N clips, D embedding, M mel bands, T samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from speechkit.core.campplus import EMBEDDING_CHANNELS, SHA256, SHORTEST_SAMPLES
from speechkit.core.config import to_dict
from speechkit.core.errors import DataError
from speechkit.core.mel import LogMel
from speechkit.data.packed import PackedCorpus, Source
from speechkit.data.sidecar import Kind, is_made, read_sidecar, write_sidecar
from speechkit.data.work import ALONE, Crew, Report, part_of, run_tasks
from speechkit.facodec.small.config import FACodecConfig
from speechkit.facodec.small.features import active_mean, speech_gain

STATISTICS = Kind(
    name="statistics",
    format="speechkit-statistics-2",
    dtypes={
        "speaker_ND": (torch.float16, 2),
        "mean_mel_NM": (torch.float16, 2),
        "done_N": (torch.uint8, 1),
    },
    verb="train statistics",
)
LONGEST_SAMPLES = 64_000
"""Samples, 4 s, from the middle of a clip, that its embedding is taken from."""


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What is known of the clips of a corpus."""

    speaker_ND: Tensor
    """Speaker embeddings of length 1, float32; zeros for a clip too short to have one."""

    mean_mel_NM: Tensor
    """Mean log-mel of the louder frames, float32."""

    known_N: Tensor
    """True for the clips whose statistics were worked out."""


def read_statistics(corpus: PackedCorpus, codec: FACodecConfig) -> Statistics:
    """The statistics beside a corpus; raises DataError where there are none, or of something else.

    Of a run that was cut short they are those of the clips that it came to.
    """
    about, bands = _about(codec), codec.mel.n_mels
    speakers, means, known = [], [], []
    for number, shard in enumerate(corpus.shards):
        clips, path = len(corpus.clips_of(number)), shard.sidecar(STATISTICS.name)
        if not is_made(path, STATISTICS, shard, about):
            speakers.append(torch.zeros(clips, EMBEDDING_CHANNELS))
            means.append(torch.zeros(clips, bands))
            known.append(torch.zeros(clips, dtype=torch.bool))
            continue
        part = read_sidecar(path, STATISTICS, shard, clips).tensors
        speakers.append(part["speaker_ND"].float())
        means.append(part["mean_mel_NM"].float())
        known.append(part["done_N"] > 0)
    known_N = torch.cat(known)
    if not bool(known_N.any()):
        raise DataError(
            f"There are no statistics of {corpus} for this codec: run `speechkit train statistics` "
            "on it."
        )
    return Statistics(speaker_ND=torch.cat(speakers), mean_mel_NM=torch.cat(means), known_N=known_N)


def write_statistics(
    corpus: PackedCorpus,
    codec: FACodecConfig,
    verifier: Callable[[], nn.Module],
    clips: int | None = None,
    *,
    crew: Crew = ALONE,
) -> int:
    """Write the statistics beside the shards of a corpus, going on where a run was cut short.

    `clips` is how many to know in all, dealt out among the speakers; None is all. Returns how many
    of them were missing. `verifier` loads what turns `wave_BT` into embeddings; see
    `core.campplus`.
    """
    wanted: dict[int, list[int]] = {}
    for clip in _dealt(corpus)[:clips]:
        number, place = corpus.place(clip)
        wanted.setdefault(number, []).append(place)
    work = StatisticsWork(
        sources=corpus.sources, codec=codec, verifier=verifier, device=crew.device
    )
    tasks = []
    for number in part_of(sorted(wanted), crew.part):
        done_N = work.begun(corpus, number)["done_N"]
        missing = [place for place in wanted[number] if not done_N[place]]
        if missing:
            tasks.append(((number, missing), len(missing)))
    run_tasks("statistics", work, tasks, crew=crew)
    return sum(count for _, count in tasks)


@dataclass(frozen=True, kw_only=True)
class StatisticsWork:
    """How the statistics of a shard are worked out."""

    sources: tuple[Source, ...]
    codec: FACodecConfig
    verifier: Callable[[], nn.Module]
    device: str

    def begun(self, corpus: PackedCorpus, number: int) -> dict[str, Tensor]:
        """What is known of a shard so far."""
        shard, clips = corpus.shards[number], len(corpus.clips_of(number))
        path = shard.sidecar(STATISTICS.name)
        if is_made(path, STATISTICS, shard, _about(self.codec)):
            part = read_sidecar(path, STATISTICS, shard, clips)
            return {name: tensor.clone() for name, tensor in part.tensors.items()}
        return {
            "speaker_ND": torch.zeros(clips, EMBEDDING_CHANNELS, dtype=torch.float16),
            "mean_mel_NM": torch.zeros(clips, self.codec.mel.n_mels, dtype=torch.float16),
            "done_N": torch.zeros(clips, dtype=torch.uint8),
        }

    def load(self) -> Callable[[tuple[int, Sequence[int]], Report], None]:
        """Open the corpus and load the verifier."""
        corpus, verifier = PackedCorpus(self.sources), self.verifier().to(self.device)
        mel = LogMel(self.codec.mel).to(self.device)

        @torch.inference_mode()
        def work_out(task: tuple[int, Sequence[int]], report: Report) -> None:
            number, places = task
            tensors, shard = self.begun(corpus, number), corpus.shards[number]
            for place in places:
                wave_T = shard.wave(place)
                wave_T = (wave_T * speech_gain(wave_T, self.codec.level_rms)).to(self.device)
                tensors["mean_mel_NM"][place] = active_mean(mel(wave_T[None]))[0, :, 0].half()
                tensors["speaker_ND"][place] = embedding_of(verifier, wave_T).half()
                tensors["done_N"][place] = 1
                report(1)
            path, made_by = shard.sidecar(STATISTICS.name), _about(self.codec)
            write_sidecar(path, STATISTICS, shard, tensors, {"made_by": made_by})

        return work_out


def _dealt(corpus: PackedCorpus) -> list[int]:
    """All clips: the first one of each speaker, then the second ones, and so on."""
    speaker_N = corpus.speaker_N
    order_N = np.argsort(speaker_N, kind="stable")
    sorted_N = speaker_N[order_N]
    turn_N = np.arange(len(order_N)) - np.searchsorted(sorted_N, sorted_N)
    dealt: list[int] = order_N[np.lexsort((order_N, turn_N))].tolist()
    return dealt


def embedding_of(verifier: nn.Module, wave_T: Tensor) -> Tensor:
    """`speaker_D` of length 1 of the middle of a wave; zeros where it is too short for one."""
    if len(wave_T) < SHORTEST_SAMPLES:
        return torch.zeros(EMBEDDING_CHANNELS)
    first = max(0, (len(wave_T) - LONGEST_SAMPLES) // 2)
    embedding_BD: Tensor = verifier(wave_T[None, first : first + LONGEST_SAMPLES])
    return nn.functional.normalize(embedding_BD[0].float(), dim=-1)


def _about(codec: FACodecConfig) -> dict[str, Any]:
    """What the statistics follow from."""
    return {"verifier": SHA256, "mel": to_dict(codec.mel), "level_rms": codec.level_rms}
