"""The watermark measured: what it survives, what it finds where nothing is, what it costs.

Legend: T samples at 16 kHz.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.core.rng import derive, generator
from speechkit.core.timebase import SAMPLE_RATE_HZ
from speechkit.data.packed import PackedCorpus
from speechkit.evaluate.attacks import ATTACKS, CROP_SECONDS, crop
from speechkit.evaluate.intrusive import pesq_wide_band
from speechkit.evaluate.pairs import eval_clips
from speechkit.evaluate.scoring import silent
from speechkit.watermark import detect, embed
from speechkit.watermark.code import PAYLOADS

PROGRESS_CLIPS = 250


@dataclass(frozen=True, kw_only=True)
class HostClip:
    """A recording, read when it is wanted."""

    id: str
    """Its name."""
    wave: Callable[[], Tensor]
    """Gives wave_T."""


@dataclass(frozen=True, kw_only=True)
class Survival:
    """How watermarked speech fares under one attack, as shares of the clips."""

    clips: int
    """Watermarked clips."""
    found: float
    """Watermarks found in the whole clip."""
    right: float
    """Found with the payload that was written."""
    found_crop: float
    """Found in 2 s from anywhere in the attacked clip."""
    right_crop: float
    """Of all crops, those found with the right payload."""


@dataclass(frozen=True, kw_only=True)
class FalseAlarms:
    """Watermarks found in recordings that have none."""

    tried: int
    """Recordings looked at."""
    found: int
    """Called watermarked."""
    smallest_p_value: float
    """The one most like watermarked."""

    @property
    def bound(self) -> float:
        """Upper end of the one-sided 95 % interval of the rate (Garwood 1936; for none, the rule
        of three)."""
        from scipy.stats import chi2

        return float(chi2.ppf(0.95, 2 * (self.found + 1)) / 2 / self.tried)


@dataclass(frozen=True, kw_only=True)
class WatermarkReport:
    """All figures."""

    survival: dict[str, dict[str, Survival]]
    """By kind of host and attack."""
    false_alarms: dict[str, FalseAlarms]
    """By kind: whole clips, crops of 2 s."""
    pesq: dict[str, dict[str, float]]
    """By kind of host: mean, min, and the clips behind them; empty without pesq."""
    embed_real_time_factor: float
    """CPU seconds a second of speech."""
    share_of_synthesis: float | None
    """Embedding time over synthesis time; None where nothing was synthesised."""

    def text(self) -> str:
        """Tables for a terminal."""
        lines = []
        for kind, attacks in self.survival.items():
            lines.append(f"{kind:22s} clips  found%  right%  2s found%  right%")
            for name, one in attacks.items():
                shares = (one.found, one.right, one.found_crop, one.right_crop)
                cells = " ".join(
                    f"{100 * s:{w}.1f}" for s, w in zip(shares, (7, 7, 10, 7), strict=True)
                )
                lines.append(f"{name:22s} {one.clips:5d} {cells}")
        for kind, alarms in self.false_alarms.items():
            lines.append(
                f"false alarms, {kind}: {alarms.found} of {alarms.tried} (95 % bound "
                f"{alarms.bound:.1e}, smallest p {alarms.smallest_p_value:.1e})"
            )
        for kind, pesq in self.pesq.items():
            lines.append(
                f"PESQ-WB, {kind}: mean {pesq['mean']:.3f}, lowest {pesq['min']:.3f} "
                f"of {pesq['clips']:.0f}"
            )
        lines.append(f"embedding: {self.embed_real_time_factor:.5f} s a second of speech")
        if self.share_of_synthesis is not None:
            lines[-1] += f", {100 * self.share_of_synthesis:.2f} % of synthesis"
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        alarms = {k: asdict(one) | {"bound": one.bound} for k, one in self.false_alarms.items()}
        return asdict(self) | {"false_alarms": alarms}


def host_clips(source: str | Path) -> list[HostClip]:
    """The recordings of a packed corpus, all of it, or of a held-out shard.

    Raises DataError for what is neither.
    """
    if Path(source).suffix == ".tar":
        clips = eval_clips(source)
        return [HostClip(id=clip.id, wave=partial(getattr, clip, "wave_T")) for clip in clips]
    corpus = PackedCorpus(source)
    return [
        HostClip(id=info["id"], wave=partial(corpus.wave, i)) for i, info in enumerate(corpus.clips)
    ]


def run_watermark_suite(
    watermarked: Mapping[str, Sequence[HostClip]],
    unwatermarked: Sequence[HostClip],
    *,
    seed: int = 0,
    synthesis_real_time_factor: float | None = None,
    progress: Callable[[str], None] = silent,
) -> WatermarkReport:
    """Watermark the hosts of each kind and attack them; look for watermarks in the unwatermarked
    ones.

    Each clip gets a payload of its own. Raises DataError where there is nothing to watermark.
    """
    if not any(watermarked.values()):
        raise DataError("There is nothing to watermark: give a corpus with clips.")
    survival: dict[str, dict[str, Survival]] = {}
    pesq: dict[str, dict[str, float]] = {}
    spent, seconds = 0.0, 0.0
    for kind, hosts in watermarked.items():
        tally: dict[str, list[tuple[bool, bool, bool, bool]]] = {}
        scores: list[float] = []
        for number, host in enumerate(hosts, start=1):
            wave_T = host.wave()
            payload = derive(seed, "payload", host.id) % PAYLOADS
            began = time.process_time()
            watermarked_T = embed(wave_T, SAMPLE_RATE_HZ, payload)
            spent += time.process_time() - began
            seconds += len(wave_T) / SAMPLE_RATE_HZ
            scores += _pesq(wave_T, watermarked_T)
            for name, outcome in _attacked(watermarked_T, payload, derive(seed, host.id)).items():
                tally.setdefault(name, []).append(outcome)
            if number % PROGRESS_CLIPS == 0:
                progress(f"{number} of {len(hosts)} watermarked clips, {kind}")
        survival[kind] = {name: _survival(outcomes) for name, outcomes in tally.items()}
        if scores:
            mean, least = float(np.mean(scores)), min(scores)
            pesq[kind] = {"mean": mean, "min": least, "clips": len(scores)}
    factor = spent / max(seconds, 1e-9)
    return WatermarkReport(
        survival=survival,
        false_alarms=_false_alarms(unwatermarked, progress),
        pesq=pesq,
        embed_real_time_factor=factor,
        share_of_synthesis=synthesis_real_time_factor and factor / synthesis_real_time_factor,
    )


def _attacked(
    watermarked_T: Tensor, payload: int, seed: int
) -> dict[str, tuple[bool, bool, bool, bool]]:
    """Of each attack: found, right, found in a crop, right in a crop."""
    outcomes = {}
    for name, attack in ATTACKS.items():
        rng = generator(derive(seed, name))
        attacked_T = attack(watermarked_T, rng)
        whole, part = (detect(w, SAMPLE_RATE_HZ) for w in (attacked_T, crop(attacked_T, rng)))
        outcomes[name] = (
            whole.present,
            whole.payload == payload,
            part.present,
            part.payload == payload,
        )
    return outcomes


def _survival(outcomes: Sequence[tuple[bool, bool, bool, bool]]) -> Survival:
    found, right, found_crop, right_crop = (float(s) for s in np.mean(outcomes, axis=0))
    return Survival(
        clips=len(outcomes),
        found=found,
        right=right,
        found_crop=found_crop,
        right_crop=right_crop,
    )


def _pesq(wave_T: Tensor, watermarked_T: Tensor) -> list[float]:
    """PESQ-WB of the watermarked wave; nothing where pesq is missing or hears no speech."""
    try:
        score = pesq_wide_band(watermarked_T.numpy(), wave_T.numpy())
    except ImportError:
        return []
    return [] if score is None else [score]


def _false_alarms(
    hosts: Sequence[HostClip], progress: Callable[[str], None]
) -> dict[str, FalseAlarms]:
    """Watermarks found in whole clips, and in the 2 s pieces that they can be cut into."""
    wholes: list[tuple[bool, float]] = []
    parts: list[tuple[bool, float]] = []
    for number, host in enumerate(hosts, start=1):
        wave_T = host.wave()
        wholes += _looked([wave_T])
        parts += _looked(_pieces(wave_T))
        if number % PROGRESS_CLIPS == 0:
            alarms = sum(found for found, _ in (*wholes, *parts))
            progress(f"{number} of {len(hosts)} unwatermarked clips, {alarms} false alarms")
    return {
        kind: FalseAlarms(
            tried=len(tries),
            found=sum(found for found, _ in tries),
            smallest_p_value=min(p for _, p in tries),
        )
        for kind, tries in (("whole clips", wholes), ("pieces of 2 s", parts))
        if tries
    }


def _pieces(wave_T: Tensor) -> list[Tensor]:
    samples = round(CROP_SECONDS * SAMPLE_RATE_HZ)
    return [piece for piece in torch.split(wave_T, samples) if len(piece) == samples]


def _looked(waves: Iterable[Tensor]) -> list[tuple[bool, float]]:
    results = [detect(wave_T, SAMPLE_RATE_HZ) for wave_T in waves]
    return [(one.present, one.p_value) for one in results]
