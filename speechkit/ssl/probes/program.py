"""All probes of all sources, one source at a time."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from speechkit.core.errors import ConfigError, DataError
from speechkit.data.alignment import Alignment
from speechkit.data.packed import Data, PackedCorpus
from speechkit.ssl.heard import clip_key, read_heard
from speechkit.ssl.probes.config import ProbeConfig
from speechkit.ssl.probes.phones import (
    PhoneFrames,
    PhoneMaterial,
    phone_material,
    probe_ctc,
    probe_frames,
)
from speechkit.ssl.probes.queries import QueryMaterial, probe_queries, query_material
from speechkit.ssl.probes.report import BASELINE, ProbeReport, TaskFigures, source_figures
from speechkit.ssl.probes.sources import Source, encoder_sources, plain_sources
from speechkit.ssl.probes.speakers import SpeakerMaterial, probe_speakers, speaker_material
from speechkit.ssl.probes.words import WordMaterial, probe_words, word_material


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """What the chosen tasks are trained and tested on; None where they are not asked for."""

    corpus: PackedCorpus
    """Where the audio is."""
    phones: PhoneMaterial | None
    """For phones and ctc."""
    speakers: SpeakerMaterial | None
    """For speaker and verification."""
    words: WordMaterial | None
    """For words."""
    queries: QueryMaterial | None
    """For query."""
    clips: dict[str, float]
    """Clips that may be used, and those left out because pre-training had heard them."""

    def counts(self) -> dict[str, dict[str, float]]:
        """Return what was taken and left out, by kind."""
        kinds = {
            "phones": self.phones,
            "speakers": self.speakers,
            "words": self.words,
            "queries": self.queries,
        }
        found = {kind: one.counts for kind, one in kinds.items() if one is not None}
        return {"clips": self.clips, **found}


def gather(
    corpus: PackedCorpus,
    config: ProbeConfig,
    heard: frozenset[str] = frozenset(),
) -> Material:
    """Choose clips and pieces.

    Clips whose keys are in `heard` are left out. Raises DataError where the corpus has too little
    for a task, or no alignment that one needs.
    """
    whole = config.selection.of(corpus)
    chosen = [clip for clip in whole if clip_key(corpus.clips[clip]["id"]) not in heard]
    if not chosen:
        raise DataError(
            f"All {len(whole)} clips were heard in pre-training: probe on another corpus, or give "
            "--heard and say so beside the figures."
        )
    phones = words = queries = speakers = None
    if config.wants("phones", "ctc", "words", "query"):
        sidecar = Alignment(corpus)
        if config.wants("phones", "ctc"):
            phones = phone_material(corpus, sidecar, chosen, config)
        if config.wants("words"):
            words = word_material(corpus, sidecar, chosen, config)
        if config.wants("query"):
            queries = query_material(corpus, sidecar, chosen, config)
    if config.wants("speaker", "verification"):
        speakers = speaker_material(corpus, chosen, config)
    return Material(
        corpus=corpus,
        phones=phones,
        speakers=speakers,
        words=words,
        queries=queries,
        clips={"chosen": len(chosen), "heard_and_left_out": len(whole) - len(chosen)},
    )


def run_probes(
    encoders: Sequence[str | Path],
    data: Data,
    config: ProbeConfig,
    device: str | torch.device = "cpu",
    progress: Callable[[str], None] = lambda _: None,
) -> ProbeReport:
    """Probe encoder folders on packed corpora, and what stands beside them.

    Raises DataError for a corpus with too little for a task or without its alignment,
    CheckpointError for a folder without an encoder, ConfigError for an encoder that does not fit.
    """
    if not encoders:
        raise ConfigError("There is nothing to probe: give the folder of an encoder.")
    heard: frozenset[str] = frozenset()
    if not config.heard:
        heard = heard.union(*(read_heard(folder) or () for folder in encoders))
    corpus = PackedCorpus(data)
    found: dict[str, list[list[TaskFigures]]] = {}
    seconds: defaultdict[str, float] = defaultdict(float)
    first: Material | None = None
    for seed in range(config.seed, config.seed + config.repeats):
        drawn = replace(config, seed=seed)
        material = gather(corpus, drawn, heard)
        first = first or material
        for source in encoder_sources(encoders, config.layers, seed, device) + plain_sources():
            progress(source.name)
            start = time.perf_counter()
            found.setdefault(source.name, []).append(probe_source(source, material, drawn))
            seconds[source.name] += time.perf_counter() - start
    assert first is not None
    return ProbeReport(
        sources=[
            source_figures(name, repeats, found[BASELINE], seconds[name], config.seed)
            for name, repeats in found.items()
        ],
        chance={k: value for one in found[BASELINE][0] for k, value in one.chance.items()},
        counts=first.counts(),
        words=[] if first.words is None else first.words.words,
        layers=None if config.layers is None else list(config.layers),
    )


def probe_source(source: Source, material: Material, config: ProbeConfig) -> list[TaskFigures]:
    """Return what the tasks find about one source."""
    found: list[TaskFigures] = []
    if material.phones is not None:
        frames = PhoneFrames(source, material.corpus, material.phones, config)
        if config.wants("phones"):
            found.append(probe_frames(frames, config))
        if config.wants("ctc"):
            found.append(probe_ctc(frames, config))
    if material.speakers is not None:
        found.append(probe_speakers(source, material.corpus, material.speakers, config))
    if material.words is not None:
        found.append(probe_words(source, material.corpus, material.words, config))
    if material.queries is not None:
        found.append(probe_queries(source, material.corpus, material.queries))
    return found
