"""Codes of corpus clips as the generator would draw them: `speechkit train redraw CORPUS`.

A codec's decoder that is trained on true codes alone meets a generator's mistakes for the first
time when somebody listens. Here clips get detail codes, and half of them content codes too, drawn
by the generator at their own phones, durations and prosody: the recording is still what the
decoder should make of them (as HiFi-GAN is fine-tuned on mel that an acoustic model predicted with
the true alignment, Kong et al. 2020, §4.4).

They are written beside each shard like the codes of `speechkit encode`; clips without drawn codes
are empty.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from speechkit.core.checkpoint import load_checkpoint
from speechkit.core.rng import derive, generator
from speechkit.data.alignment import Alignment
from speechkit.data.codes import REDRAWN, CorpusCodes, empty_codes, write_codes
from speechkit.data.packed import Data, PackedCorpus
from speechkit.diffusion.config import SamplerConfig
from speechkit.diffusion.dataset import GeneratorDataset
from speechkit.diffusion.generator import Generator, load_generator
from speechkit.diffusion.stage import Segment, StageItem
from speechkit.train.distributed import World
from speechkit.train.progress import progress

BATCH = 8
"""Clips that are drawn together."""


@dataclass(frozen=True, kw_only=True)
class Redrawn:
    """What became of a corpus."""

    out: tuple[str, ...]
    """The corpora, whose shards have the codes beside them."""

    clips: int
    """Clips with drawn codes."""

    hours: float
    """Their length, at 50 frames a second."""

    def text(self) -> str:
        """A line for people."""
        beside = ", ".join(self.out)
        return f"drew codes of {self.clips} clips, {self.hours:.2f} h, beside {beside}"

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return asdict(self)


def redraw_corpus(
    data: Data,
    folder: str | Path,
    *,
    minutes: float,
    seed: int = 0,
    amp: str = "auto",
) -> Redrawn:
    """Write drawn codes of as many training clips of encoded corpora as `minutes` allow.

    `folder` has the generator, which computes in what `amp` says, as in training. Clips are dealt
    out among the speakers. Raises DataError for a corpus without alignment or codes,
    CheckpointError for what is no generator.
    """
    corpus = PackedCorpus(data)
    alignment, codes = Alignment(corpus), CorpusCodes(corpus)
    model = load_generator(folder)
    dataset = GeneratorDataset(corpus, alignment, codes, model.config, prompt_drop=0.0)
    clips = _dealt(corpus, dataset)
    known = codes.clip(clips[0])
    made = [empty_codes(len(known.codes_KF), len(known.timbre_D)) for _ in range(len(corpus))]
    world = World(rank=0, size=1, device=torch.device("cpu"))
    end, frames = monotonic() + 60 * minutes, 0
    batches = range(0, len(clips), BATCH)
    for first in progress("drawing", batches, total=len(batches), unit="batch"):
        some = clips[first : first + BATCH]
        with world.autocast(amp):
            drawn = redraw(model, dataset, some, derive(seed, first))
        for clip, target in zip(some, drawn, strict=True):
            known = codes.clip(clip)
            made[clip] = replace(
                known, codes_KF=target.codes_KN, phone_F=known.phone_F[: target.frames]
            )
            frames += target.frames
        if monotonic() > end:
            break
    made_by = {"generator": load_checkpoint(folder).sha256, "seed": seed, "minutes": minutes}
    for number, shard in enumerate(corpus.shards):
        some_made = [made[clip] for clip in corpus.clips_of(number)]
        write_codes(shard, some_made, codes.codec_sha256, made_by, REDRAWN)
    return Redrawn(
        out=tuple(source.path for source in corpus.sources),
        clips=sum(clip.frames > 0 for clip in made),
        hours=frames / 50 / 3600,
    )


def redraw(
    model: Generator, dataset: GeneratorDataset, clips: list[int], seed: int
) -> list[Segment]:
    """The clips with drawn detail codes, every second one with drawn content codes as well."""
    rng, items = generator(seed), []
    for number, clip in enumerate(clips):
        whole = dataset.track(clip)
        items.append(
            StageItem(
                target=whole,
                prompt=dataset.prompt(clip, (0, whole.frames), rng),
                rng=generator(derive(seed, number)),
                timbre_D=dataset.codes.clip(clip).timbre_D,
            )
        )
    settings = SamplerConfig()
    for name, places in (("content", range(1, len(items), 2)), ("detail", range(len(items)))):
        stage = model.stages[name]
        told = [
            replace(
                items[n],
                target=items[n].target.without(stage.codebooks),
                timbre_D=items[n].timbre_D if stage.told_timbre else None,
            )
            for n in places
        ]
        for n, codes_KN in zip(places, stage.sample(told, settings.of(name)), strict=True):
            items[n].target.codes_KN[stage.codebooks.start : stage.codebooks.stop] = codes_KN
    return [item.target for item in items]


def _dealt(corpus: PackedCorpus, dataset: GeneratorDataset) -> list[int]:
    """The clips of a dataset: the first one of each speaker, then the second ones, and so on."""
    seen: dict[int, int] = defaultdict(int)
    turns = []
    for clip in dataset.clips_N.tolist():
        speaker = corpus.speaker(clip)
        turns.append((seen[speaker], clip))
        seen[speaker] += 1
    return [clip for _, clip in sorted(turns)]
