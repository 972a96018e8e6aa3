"""Recordings, the codec with and without detail codes, and other codecs, on the same clips.

Legend: T samples at 16 kHz, B batch, K codebooks, F code frames, M mel bands, G mel frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speechkit.core.metrics import Interval, bootstrap
from speechkit.core.rng import generator
from speechkit.core.timebase import SAMPLE_RATE_HZ
from speechkit.evaluate.codec.baselines import Baseline, Coded
from speechkit.evaluate.codec.parts import CodedClip
from speechkit.evaluate.codec.rate import payload_bytes
from speechkit.evaluate.scorers import Scorers, Wave
from speechkit.evaluate.scoring import (
    RECORDINGS,
    SPEECH_PARTS,
    RowLog,
    Scored,
    context_of,
    digest_of,
    file_name,
    score_against,
    score_speech,
    stored_wave,
    write_manifest,
)
from speechkit.evaluate.table import COLUMNS, ClipRow, Figure
from speechkit.facodec.codec import Codec
from speechkit.facodec.small.codec import FACodec
from speechkit.facodec.small.features import pitch_hz
from speechkit.facodec.training.losses import MultiScaleMelLoss

CODEC = "codec"
NO_DETAIL = "codec, no detail"
CEILING = "copy synthesis"

MEASURES = ("wer", "cer", "sim", "ovrl", "pesq", "stoi", "estoi", "mel", "mcd")
"""What systems are compared in."""
LOWER_IS_BETTER = frozenset({"wer", "cer", "mel", "mcd"})

Render = Callable[[CodedClip], Coded]
"""A clip to the wave that a system makes of it, and the bytes in between."""

_PARTS = (*SPEECH_PARTS, "aligned", "world")
_LONGEST_WINDOW_SAMPLES = 2048


def codec_systems(codec: Codec, seed: int) -> dict[str, Render]:
    """The codec with all its codes, and without those of detail."""
    quantizer = codec.quantizer

    def render(one: CodedClip, *, detail: bool) -> Coded:
        without = () if detail else ("detail",)
        wave_T = codec.decode(one.codes, one.timbre_D, generator(seed), without=without).cpu()
        kept = (
            quantizer.codebooks
            if detail
            else quantizer.prosody_codebooks + quantizer.content_codebooks
        )
        return Coded(
            wave_T=wave_T[: len(one.clip.wave_T)],
            payload_bytes=payload_bytes(one.codes.stacked(), [quantizer.codebook_size] * kept),
        )

    return {CODEC: partial(render, detail=True), NO_DETAIL: partial(render, detail=False)}


def ceiling_systems(codec: Codec, seed: int) -> dict[str, Render]:
    """The codec's vocoder on the recording's own log-mel and pitch: no loss but its own.

    Empty for a codec whose decoder has no spectrogram in between.
    """
    if not isinstance(codec, FACodec):
        return {}

    @torch.no_grad()
    def render(one: CodedClip) -> Coded:
        analysis = codec.analyse([one.clip.wave_T])
        f0_BG = pitch_hz(analysis.contour_BG, analysis.median_B)
        wave_BT = codec.vocoder(analysis.mel_BMG, f0_BG, analysis.voiced_BG, generator(seed))
        return Coded(wave_T=wave_BT[0, : len(one.clip.wave_T)].clamp(-1, 1).cpu(), payload_bytes=0)

    return {CEILING: render}


def baseline_system(baseline: Baseline) -> Render:
    """Another codec."""
    return lambda one: baseline(one.clip.wave_T)


class MelDistance:
    """Multi-scale log-mel distance of two waves, after both have the same power."""

    def __init__(self) -> None:
        self._loss = MultiScaleMelLoss(SAMPLE_RATE_HZ)

    @torch.no_grad()
    def __call__(self, wave: Wave, reference: Wave) -> dict[str, float]:
        """`mel`, in decades of magnitude summed over the scales; empty for the shortest clips."""
        if min(len(wave), len(reference)) < _LONGEST_WINDOW_SAMPLES:
            return {}
        samples = min(len(wave), len(reference))
        ours, theirs = wave[:samples], reference[:samples]
        gain = float(np.sqrt((theirs**2).mean() / max(1e-12, float((ours**2).mean()))))
        ours_BT, theirs_BT = torch.from_numpy(ours * gain)[None], torch.from_numpy(theirs)[None]
        return {"mel": float(self._loss(ours_BT, theirs_BT))}


def score_systems(
    systems: Mapping[str, Render],
    coded: Sequence[CodedClip],
    folder: Path,
    *,
    scorers: Scorers,
    log: RowLog,
) -> None:
    """Write and score the recordings and every system's waves; rows go to `log`."""
    context = context_of(scorers, _PARTS)
    distance = MelDistance()
    manifest: list[dict[str, str]] = []
    for one in coded:
        clip = one.clip
        real_path = wave_path(folder, RECORDINGS, clip.id)
        real = stored_wave(real_path, clip.wave_T)

        def plain(text: str = clip.text, real: Wave = real) -> Scored:
            return score_speech(real, text, scorers)

        log.add(RECORDINGS, clip.id, clip.speaker, digest_of(context, clip.text, real), plain)
        for system, render in systems.items():
            made = render(one)
            wave = stored_wave(wave_path(folder, system, clip.id), made.wave_T)

            def against(
                text: str = clip.text, wave: Wave = wave, real: Wave = real, made: Coded = made
            ) -> Scored:
                values, heard = score_speech(wave, text, scorers)
                values |= score_against(wave, real, scorers) | distance(wave, real)
                if made.payload_bytes:
                    kilobits = 8 * made.payload_bytes / 1000
                    rate = kilobits * SAMPLE_RATE_HZ / max(1, len(real))
                    values |= {"kilobits": kilobits, "kbps": rate}
                return values, heard

            size = str(made.payload_bytes)
            digest = digest_of(context, clip.text, real, wave, size)
            log.add(system, clip.id, clip.speaker, digest, against)
        manifest += [
            {"system": system, "id": clip.id, "hyp": str(wave_path(folder, system, clip.id))}
            | {"text": clip.text, "ref": str(real_path)}
            for system in (RECORDINGS, *systems)
        ]
    write_manifest(folder / "manifest.jsonl", manifest)


def wave_path(folder: Path, system: str, clip_id: str) -> Path:
    """Where a system's wave of a clip is kept."""
    return folder / system.replace(", ", "-").replace(" ", "-") / file_name(clip_id)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Ours less theirs, in one measure, on the clips that both have."""

    ours: float
    """Our figure."""
    theirs: float
    """Theirs."""
    interval: Interval
    """95 % interval of the difference: whole speakers are drawn, the same for both."""


@dataclass(frozen=True, kw_only=True)
class DifferenceReport:
    """The codec beside every other system."""

    by_system: dict[str, dict[str, Difference]]
    """By the other system and the measure."""

    def text(self) -> str:
        """A line a system: ours less theirs, `*` where the interval is clear of 0."""
        lines = ["codec less the other, * where the interval is clear of 0"]
        for other, found in self.by_system.items():
            cells = []
            for measure, one in found.items():
                column, low, high = COLUMNS[measure], one.interval.low, one.interval.high
                sure = "*" if low > 0 or high < 0 else ""
                cells.append(
                    f"{column.title} {column.show(one.ours - one.theirs, '+')}{sure} "
                    f"({column.show(low, '+')} to {column.show(high, '+')})"
                )
            lines.append(f"{other}: {'; '.join(cells)}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)["by_system"]  # type: ignore[no-any-return]


def compare_systems(
    rows: Sequence[ClipRow], ours: str, others: Sequence[str], seed: int = 0
) -> DifferenceReport:
    """Paired differences of every measure that our system and another have on the same clips."""
    by_system: dict[str, dict[str, Difference]] = {}
    for other in others:
        by_system[other] = {}
        for measure in MEASURES:
            first, second = (
                {r.id: r for r in rows if r.system == system and measure in r.values}
                for system in (ours, other)
            )
            shared = [name for name in first if name in second]
            if not shared:
                continue
            our, their = (
                Figure.of([one[name] for name in shared], measure) for one in (first, second)
            )
            interval = bootstrap(
                our.tops, our.bottoms, our.speakers, minus=(their.tops, their.bottoms), seed=seed
            )
            by_system[other][measure] = Difference(
                ours=our.value, theirs=their.value, interval=interval
            )
    return DifferenceReport(by_system={name: found for name, found in by_system.items() if found})
