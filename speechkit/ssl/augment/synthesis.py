"""Jobs to waves: units and a voice through the generator and the codec, at the parent's loudness.

No watermark: a mark in most of the training audio would be a label "synthetic" that
self-supervised learning can read, and real speech lacks it. Where the speech came from stands in
the manifest and in the packed file.

Shapes: T samples, G pitch frames (100/s), F code frames, K codebooks, D timbre channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from speechkit.core.audio import pcm16
from speechkit.core.checkpoint import load_checkpoint
from speechkit.core.errors import ConfigError
from speechkit.core.f0 import f0_frames
from speechkit.core.results import Codes
from speechkit.core.rng import derive, generator
from speechkit.data.codes import CorpusCodes
from speechkit.data.packed import ClipInfo, PackedClip, PackedCorpus
from speechkit.diffusion.generator import Generator, generator_of
from speechkit.diffusion.units import (
    FEWEST_FRAMES,
    Span,
    check_unit_generator,
    draw_codes_from_units,
    units_at_frames,
)
from speechkit.facodec.small.codec import FACodec, codec_of
from speechkit.facodec.small.features import speech_gain
from speechkit.ssl.augment.config import AugmentConfig
from speechkit.ssl.augment.files import Inputs
from speechkit.ssl.augment.plan import Job, Source
from speechkit.ssl.units.file import Units

SYNTHETIC = "synthetic"
"""`source` and `split` of the new clips."""
PEAK = 0.999
"""Highest sample; what is louder at its parent's loudness is made softer as a whole."""


@dataclass(frozen=True, kw_only=True)
class Voice:
    """What the models of a pool are known by."""

    codec_sha256: str
    generator_sha256: str | None
    kmeans_sha256: str
    corpus_sha256: str


class Synthesiser:
    """Everything loaded once: a worker has one."""

    def __init__(self, inputs: Inputs, config: AugmentConfig) -> None:
        """Load corpus, units, codes, codec and generator; raises where they do not belong together.

        The generator may be missing where level 0 alone is asked for.
        """
        self.config, self.device = config, torch.device(inputs.device)
        self.corpus = PackedCorpus(inputs.corpus)
        self.units = Units(inputs.units, self.corpus)
        self.codes = CorpusCodes(self.corpus)
        codec = load_checkpoint(inputs.codec)
        if codec.sha256 != self.codes.codec_sha256:
            raise ConfigError(
                f"The codes beside {inputs.corpus} are not of the codec in {inputs.codec}: run "
                "encode --all with it."
            )
        self.codec: FACodec = codec_of(codec).to(self.device)
        self.generator: Generator | None = None
        generator_sha256 = None
        if inputs.generator is not None:
            found = load_checkpoint(inputs.generator)
            generator_sha256 = found.sha256
            trained_on = found.config.get("units", {}).get("kmeans_sha256")
            if trained_on != self.units.kmeans_sha256:
                raise ConfigError(
                    f"The generator in {inputs.generator} was not trained on the units in "
                    f"{inputs.units}: give those units, or train `train unit-generator` on these."
                )
            self.generator = generator_of(found).to(self.device)
            check_unit_generator(self.generator, self.units, self.codec.timbre_channels)
        elif any(config.hours[1:]):
            raise ConfigError("Levels 1 to 3 need a generator: give --generator.")
        self.voice = Voice(
            codec_sha256=codec.sha256,
            generator_sha256=generator_sha256,
            kmeans_sha256=self.units.kmeans_sha256,
            corpus_sha256=self.corpus.sha256,
        )

    def sources(self) -> list[Source]:
        """The clips that can be parents: with codes, units and enough frames."""
        return [
            Source(
                clip=n,
                id=info["id"],
                speaker=info["speaker"],
                seconds=self.corpus.samples(n) / self.codec.sample_rate_hz,
                frames=self.codes.frames(n),
            )
            for n, info in enumerate(self.corpus.clips)
            if self.units.has(n) and self.codes.frames(n) >= FEWEST_FRAMES
        ]

    def make(self, jobs: Sequence[Job]) -> list[PackedClip]:
        """The clips of the jobs, in their order. Depends on nothing but jobs and inputs."""
        made: dict[int, PackedClip] = {}
        for batch in self._batches(jobs):
            for job, clip in zip(batch, self._clips(batch, self._codes(batch)), strict=True):
                made[job.number] = clip
        return [made[job.number] for job in jobs]

    def _batches(self, jobs: Sequence[Job]) -> Iterator[list[Job]]:
        """Jobs of like length together."""
        batch: list[Job] = []
        for job in sorted(jobs, key=lambda job: (-self.codes.frames(job.parent), job.number)):
            longest = self.codes.frames((batch or [job])[0].parent)
            if batch and (len(batch) + 1) * longest > self.config.batch_frames:
                yield batch
                batch = []
            batch.append(job)
        if batch:
            yield batch

    def _codes(self, jobs: Sequence[Job]) -> list[Tensor]:
        """`codes_KF` of each job."""
        if jobs[0].level == 0:
            return [self.codes.clip(job.parent).codes_KF for job in jobs]
        assert self.generator is not None
        units = []
        for job in jobs:
            units_U, frames = self.units.of(job.parent), self.codes.frames(job.parent)
            hop, rate = self.codec.hop_samples, self.units.rate_hz
            span = Span(start=job.mask[0], end=job.mask[1])
            units.append((units_at_frames(units_U, rate, frames, hop), span))
        return draw_codes_from_units(
            self.generator,
            units,
            [self.codes.clip(job.voice).timbre_D for job in jobs],
            [job.seed for job in jobs],
            self.config.sampler,
        )

    @torch.no_grad()
    def _clips(self, jobs: Sequence[Job], codes: Sequence[Tensor]) -> list[PackedClip]:
        """Speak the codes in the voices, each as long and as loud as its parent."""
        said = [Codes.of(codes_KF, self.codec.quantizer.counts) for codes_KF in codes]
        timbre_BD = torch.stack([self.codes.clip(job.voice).timbre_D for job in jobs])
        heard = self.codec.acoustics_batch(said, timbre_BD)
        rngs = [generator(derive(job.seed, "vocoder"), self.device) for job in jobs]
        waves = self.codec.speak_batch(heard, [item.frames for item in said], rngs)
        f0_BG = (heard.f0_BG * heard.voiced_BG).cpu()
        clips = []
        for job, wave_T, f0_G in zip(jobs, waves, f0_BG, strict=True):
            parent_T = self.corpus.wave(job.parent)
            wave_T = at_loudness_of(wave_T.cpu()[: len(parent_T)], parent_T)
            f0_F = f0_G[: f0_frames(len(wave_T))].numpy()
            clips.append(PackedClip(info=self.info(job), pcm_T=pcm16(wave_T), f0_F=f0_F))
        return clips

    def info(self, job: Job) -> ClipInfo:
        """What the packed file says of the clip."""
        parent, voice = self.corpus.clips[job.parent], self.corpus.clips[job.voice]
        licences = sorted({parent["license"], voice["license"]})
        return ClipInfo(
            id=job.id,
            # What is heard need not be what was said: no one should learn to read from it.
            text=None,
            speaker=voice["speaker"],
            language=parent["language"],
            license=" AND ".join(licences),
            split=SYNTHETIC,
            source=f"{SYNTHETIC}/level{job.level}",
        )


def at_loudness_of(wave_T: Tensor, parent_T: Tensor) -> Tensor:
    """The wave with the speech level of its parent, below full scale."""
    # A silent clip has no level to match: the cap keeps its noise from being blown up.
    gain = min(speech_gain(wave_T, 1.0) / max(speech_gain(parent_T, 1.0), 1e-9), 100.0)
    louder_T = wave_T * gain
    peak = float(louder_T.abs().max()) if len(louder_T) else 0.0
    return louder_T * (PEAK / peak) if peak > PEAK else louder_T
