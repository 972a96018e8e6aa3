"""Recordings, the codec with and without detail codes, and other codecs, on the same clips.

Legend: T samples at 16 kHz, B batch, K code books, F code frames, M mel bands, G mel frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from speechkit.core.rng import generator
from speechkit.evaluate.codec.baselines import Baseline, Coded
from speechkit.evaluate.codec.entropy import pack
from speechkit.evaluate.codec.material import CodedClip
from speechkit.evaluate.pairs import SAMPLE_RATE_HZ
from speechkit.evaluate.scorers import Scorers, Wave
from speechkit.evaluate.scoring import (
    RowBook,
    Scored,
    context_of,
    digest_of,
    file_name,
    score_against,
    score_speech,
    stored_wave,
    write_manifest,
)
from speechkit.facodec.codec import Codec
from speechkit.facodec.small.codec import FACodec
from speechkit.facodec.small.features import pitch_hz
from speechkit.facodec.training.losses import MultiScaleMelLoss

RECORDINGS = "recordings"
CODEC = "codec"
NO_DETAIL = "codec, no detail"
CEILING = "copy synthesis"

Render = Callable[[CodedClip], Coded]
"""A clip to the wave that a system makes of it, and the bytes in between."""

_PARTS = ("words", "embed", "quality", "aligned", "world")
_LONGEST_WINDOW_SAMPLES = 2048


def codec_systems(codec: Codec, seed: int) -> dict[str, Render]:
    """The codec with all its codes, and without those of detail."""
    books = codec.quantizer

    def render(one: CodedClip, *, detail: bool) -> Coded:
        without = () if detail else ("detail",)
        wave_T = codec.decode(one.codes, one.timbre_D, generator(seed), without=without)
        kept = books.books if detail else books.prosody_books + books.content_books
        sent_KF = one.codes.stacked()[:kept]
        return Coded(
            wave_T=wave_T[: len(one.clip.wave_T)],
            payload_bytes=len(pack(sent_KF, [books.entries] * kept)),
        )

    return {
        CODEC: lambda one: render(one, detail=True),
        NO_DETAIL: lambda one: render(one, detail=False),
    }


def ceiling_systems(codec: Codec, seed: int) -> dict[str, Render]:
    """The codec's head on the recording's own log-mel and pitch: no loss but its own.

    Empty for a codec whose decoder has no spectrogram in between.
    """
    if not isinstance(codec, FACodec):
        return {}

    @torch.no_grad()
    def render(one: CodedClip) -> Coded:
        analysis = codec.analyse(one.clip.wave_T)
        f0_BG = pitch_hz(analysis.contour_BG, analysis.median_B)
        wave_BT = codec.vocoder(analysis.mel_BMG, f0_BG, analysis.voiced_BG, generator(seed))
        return Coded(wave_T=wave_BT[0, : len(one.clip.wave_T)].clamp(-1, 1), payload_bytes=0)

    return {CEILING: render}


def baseline_systems(baselines: Sequence[Baseline]) -> dict[str, Render]:
    """Other codecs."""

    def system(baseline: Baseline) -> Render:
        return lambda one: baseline(one.clip.wave_T)

    return {baseline.name: system(baseline) for baseline in baselines}


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
    book: RowBook,
) -> None:
    """Write and score the recordings and every system's waves; rows go to `book`."""
    context = context_of(scorers, _PARTS)
    distance = MelDistance()
    manifest: list[dict[str, str]] = []
    for one in coded:
        clip = one.clip
        real_path = wave_path(folder, RECORDINGS, clip.id)
        real = stored_wave(real_path, clip.wave_T)

        def plain(text: str = clip.text, real: Wave = real) -> Scored:
            return score_speech(real, text, scorers)

        book.add(RECORDINGS, clip.id, clip.speaker, digest_of(context, clip.text, real), plain)
        for system, render in systems.items():
            made = render(one)
            wave = stored_wave(wave_path(folder, system, clip.id), made.wave_T)

            def against(
                text: str = clip.text, wave: Wave = wave, real: Wave = real, made: Coded = made
            ) -> Scored:
                values, heard = score_speech(wave, text, scorers)
                values |= score_against(wave, real, scorers) | distance(wave, real)
                return values | _rate(made, len(real)), heard

            size = str(made.payload_bytes)
            digest = digest_of(context, clip.text, real, wave, size)
            book.add(system, clip.id, clip.speaker, digest, against)
        manifest += [
            {"system": system, "id": clip.id, "hyp": str(wave_path(folder, system, clip.id))}
            | {"text": clip.text, "ref": str(real_path)}
            for system in (RECORDINGS, *systems)
        ]
    write_manifest(folder / "manifest.jsonl", manifest)


def wave_path(folder: Path, system: str, clip_id: str) -> Path:
    """Where a system's wave of a clip is kept."""
    return folder / system.replace(", ", "-").replace(" ", "-") / file_name(clip_id)


def _rate(made: Coded, samples: int) -> dict[str, float]:
    """Size in kilobits and rate in kb/s; nothing for a system that is no codec."""
    if not made.payload_bytes:
        return {}
    kilobits = 8 * made.payload_bytes / 1000
    return {"kilobits": kilobits, "kbps": kilobits * SAMPLE_RATE_HZ / max(1, samples)}
