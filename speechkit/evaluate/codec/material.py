"""The codec's codes of every clip, made once for all parts of the report.

Legend: T samples at 16 kHz, F code frames, D channels of the timbre vector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.core.results import Codes
from speechkit.evaluate.codec.labels import FrameLabels, PhoneReader, frame_labels
from speechkit.evaluate.codec.parts import embeddings
from speechkit.evaluate.codec.probes import ProbeClip, reference_sources
from speechkit.evaluate.pairs import SAMPLE_RATE_HZ, EvalClip
from speechkit.facodec.codec import Codec


@dataclass(frozen=True, kw_only=True, eq=False)
class CodedClip:
    """A clip and what the codec makes of it."""

    clip: EvalClip
    """The recording."""
    codes: Codes
    """Its codes."""
    timbre_D: Tensor
    """Its timbre."""


def code_clips(
    codec: Codec, clips: Sequence[EvalClip], progress: Callable[[str], None]
) -> list[CodedClip]:
    """Codes and timbre of each clip. Raises DataError where the codec has another sample rate."""
    if codec.sample_rate_hz != SAMPLE_RATE_HZ:
        raise DataError(
            f"Held-out clips come at {SAMPLE_RATE_HZ} Hz and this codec reads "
            f"{codec.sample_rate_hz} Hz: give a codec of that rate."
        )
    coded = []
    for clip in clips:
        codes, timbre_D = codec.encode(clip.wave_T)
        coded.append(CodedClip(clip=clip, codes=codes, timbre_D=timbre_D))
        progress(f"encode {clip.id}")
    return coded


def label_clips(
    coded: Sequence[CodedClip],
    hop_samples: int,
    phones: PhoneReader,
    progress: Callable[[str], None],
) -> list[FrameLabels]:
    """True phone, pitch, voicing and energy of every frame of each clip."""
    labels = []
    for one in coded:
        labels.append(frame_labels(one.clip, hop_samples, phones))
        progress(f"align {one.clip.id}")
    return labels


def probe_clips(
    codec: Codec, coded: Sequence[CodedClip], labels: Sequence[FrameLabels], classes: int
) -> list[ProbeClip]:
    """Each clip's parts and references beside its labels."""
    return [
        ProbeClip(
            id=one.clip.id,
            speaker=one.clip.speaker,
            sources={
                "timbre": one.timbre_D,
                **embeddings(codec, one.codes),
                **reference_sources(known, classes),
            },
            labels=known,
        )
        for one, known in zip(coded, labels, strict=True)
    ]
