"""Is a pool what it says? Gates to pass before anything is pre-trained on it.

Similarity must move to the new voice; units must survive being spoken; what level 3 makes up must
be as varied, and as often silent, as speech.

Shapes: T samples, U units of a clip, K clusters, D channels of a speaker embedding.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from speechkit.core.errors import ConfigError, DataError
from speechkit.core.rng import derive, generator
from speechkit.data.packed import PackedCorpus
from speechkit.ssl.augment.files import is_made, read_manifest, read_pool, shard_path
from speechkit.ssl.units.features import Features
from speechkit.ssl.units.file import Units
from speechkit.ssl.units.kmeans import KMeans
from speechkit.ssl.units.quality import count_joint, quality, usage

Embed = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
"""A speaker verifier: wave_T at 16 kHz to a vector of length 1."""

QUIET_DB = 35.0
"""Frames so far below a clip's loud ones are silence."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Where the gates close."""

    similarity: float = 0.1
    """Least gain of similarity to the new voice over that to the old, levels 2 and 3."""
    survival: float = 0.6
    """Least information that units of the speech of levels 1 and 2 share with those given."""
    survival_of_codec: float = 0.8
    """Or this share of what survives the codec alone on as many frames, where the pool has
    level 0."""
    perplexity: float = 0.7
    """Least unit perplexity of level 3, as a share of that of its parents."""
    silence: float = 0.15
    """Largest difference of the share of silence between level 3 and its parents."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One figure and its limit."""

    name: str
    """What is measured, and on which level."""
    value: float
    """What it is."""
    limit: float
    """What it must reach."""
    passed: bool
    """Whether it does."""
    clips: int
    """Clips it was measured on."""


@dataclass(frozen=True, kw_only=True)
class GateReport:
    """All gates of a pool."""

    gates: tuple[Gate, ...]
    """In order of level."""

    @property
    def passed(self) -> bool:
        """Whether every gate is open."""
        return all(gate.passed for gate in self.gates)

    def text(self) -> str:
        """Lines for people."""
        return "\n".join(
            f"{'ok  ' if gate.passed else 'FAIL'} {gate.name}: {gate.value:.3f} "
            f"(limit {gate.limit:.3f}, {gate.clips} clips)"
            for gate in self.gates
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"passed": self.passed, "gates": [asdict(gate) for gate in self.gates]}


@dataclass(frozen=True, kw_only=True)
class _Made:
    """A synthetic clip and its history."""

    wave_T: Tensor
    line: dict[str, Any]


def check_pool(
    pool: Path,
    seed_corpus: Path,
    units_folder: Path,
    kmeans: KMeans,
    features: Features,
    embed: Embed | None,
    *,
    clips: int = 50,
    limits: Limits | None = None,
    seed: int = 0,
) -> GateReport:
    """Measure up to `clips` clips of each level, drawn from all finished shards.

    `embed` None leaves out the similarity. Raises ConfigError where k-means, units and pool do not
    belong together, DataError for a pool without a finished shard.
    """
    limits = limits or Limits()
    corpus = PackedCorpus(seed_corpus)
    units = Units(units_folder, corpus)
    if read_pool(pool)["kmeans"] != units.kmeans_sha256:
        raise ConfigError(f"The pool in {pool} was not made from the units in {units.path}.")
    if kmeans.clusters != units.clusters or kmeans.notes.get("features") != features.source:
        raise ConfigError("Give the k-means, and the features, that the units were made with.")
    index = {name: n for n, name in enumerate(corpus.ids)}
    levels = _draw(pool, clips, seed)

    def parent(made: _Made) -> Tensor:
        return corpus.wave(index[made.line["parent"]])

    gates = []
    found = {
        level: [kmeans.assign(features.of(made.wave_T))[0] for made in made_clips]
        for level, made_clips in levels.items()
    }
    given = {
        level: [units.of(index[made.line["parent"]]) for made in made_clips]
        for level, made_clips in levels.items()
    }
    lengths = {level: _frames(given[level], found[level]) for level in levels}
    for level in (0, 1, 2):
        if level not in levels:
            continue
        limit, frames = 0.0 if level == 0 else limits.survival, lengths[level]
        if level and 0 in levels:
            frames = min(frames, lengths[0])
            codec_keeps = survival(given[0], found[0], units.clusters, frames)
            limit = min(limit, limits.survival_of_codec * codec_keeps)
        value = survival(given[level], found[level], units.clusters, frames)
        gates.append(_at_least(f"level {level}, units survive", value, limit, levels[level]))
    for level in (2, 3):
        if level not in levels or embed is None:
            continue
        other = [m for m in levels[level] if m.line["speaker"] != m.line["parent_speaker"]]
        if other:
            gains = [_gain(embed, m, corpus.wave(index[m.line["voice"]]), parent(m)) for m in other]
            value = float(np.mean(gains))
            name = f"level {level}, similarity to the new voice over that to the old"
            gates.append(_at_least(name, value, limits.similarity, other))
    if 3 in levels:
        made_clips = levels[3]
        perplexity = usage(found[3], units.clusters).perplexity
        real = usage(given[3], units.clusters).perplexity
        name = "level 3, unit perplexity over that of speech"
        gates.append(_at_least(name, perplexity / real, limits.perplexity, made_clips))
        quiet = silence_share([made.wave_T for made in made_clips])
        away = abs(quiet - silence_share([parent(made) for made in made_clips]))
        gates.append(
            Gate(
                name="level 3, silence more or less than in speech",
                value=away,
                limit=limits.silence,
                passed=away <= limits.silence,
                clips=len(made_clips),
            )
        )
    return GateReport(gates=tuple(gates))


def survival(
    given: Sequence[Tensor], found: Sequence[Tensor], clusters: int, frames: int | None = None
) -> float:
    """I(given; found) / H(given): how much the units of the speech tell of those it was to say.

    Of the first ``frames`` frames. Few frames share information by chance (nine clips some 0.06
    more than fifty), so only figures on equally many compare.
    """
    joint_KK = torch.zeros(clusters, clusters, dtype=torch.int64)
    left = _frames(given, found) if frames is None else frames
    for given_U, found_U in zip(given, found, strict=True):
        length = min(len(given_U), len(found_U), left)
        joint_KK += count_joint(given_U[:length], found_U[:length], clusters, clusters)
        left -= length
    return quality(joint_KK).pnmi


def _frames(given: Sequence[Tensor], found: Sequence[Tensor]) -> int:
    """How many frames both have."""
    return sum(min(len(one), len(other)) for one, other in zip(given, found, strict=True))


def silence_share(waves: Sequence[Tensor]) -> float:
    """Share of 20 ms frames that lie `QUIET_DB` below the loud frames of their clip."""
    quiet = total = 0
    for wave_T in waves:
        power_F = wave_T[: len(wave_T) // 320 * 320].reshape(-1, 320).square().mean(-1)
        if not len(power_F):
            continue
        loud = float(torch.quantile(power_F, 0.95))
        quiet += int((power_F <= loud * 10 ** (-QUIET_DB / 10)).sum())
        total += len(power_F)
    return quiet / max(total, 1)


def _draw(pool: Path, clips: int, seed: int) -> dict[int, list[_Made]]:
    """Clips of each level, spread over the finished shards."""
    shards = read_pool(pool)["shards"]
    places: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, shard in enumerate(shards):
        if is_made(pool, number):
            places[shard["level"]] += [(number, clip) for clip in range(shard["clips"])]
    if not places:
        raise DataError(f"No shard of the pool in {pool} is finished: run ssl augment first.")
    drawn: dict[int, list[_Made]] = {}
    for level, found in sorted(places.items()):
        order = torch.randperm(len(found), generator=generator(derive(seed, "check", level)))
        chosen = sorted(found[place] for place in order[:clips].tolist())
        drawn[level] = []
        for number in sorted({number for number, _ in chosen}):
            corpus, lines = PackedCorpus(shard_path(pool, number)), read_manifest(pool, number)
            drawn[level] += [
                _Made(wave_T=corpus.wave(clip), line=lines[clip])
                for shard, clip in chosen
                if shard == number
            ]
    return drawn


def _gain(embed: Embed, made: _Made, voice_T: Tensor, parent_T: Tensor) -> float:
    """Similarity of a clip to its voice, less that to its parent."""
    spoken_D, voice_D, parent_D = (embed(w.numpy()) for w in (made.wave_T, voice_T, parent_T))
    return float(spoken_D @ voice_D - spoken_D @ parent_D)


def _at_least(name: str, value: float, limit: float, clips: Sequence[_Made]) -> Gate:
    return Gate(name=name, value=value, limit=limit, passed=value >= limit, clips=len(clips))
