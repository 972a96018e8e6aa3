"""Which clips of a packed corpus a step works on: units, pre-training, fine-tuning, probes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from speechkit.core.errors import DataError
from speechkit.data.packed import PackedCorpus


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Clips that fit every field; None takes all."""

    languages: tuple[str, ...] | None = None
    """Language codes."""
    sources: tuple[str, ...] | None = None
    """Starts of the clip ids or of the `source` of the clips, such as `librispeech`."""
    splits: tuple[str, ...] | None = None
    """Splits, such as `train`."""
    speakers: tuple[str, ...] | None = None
    """Speakers, as the corpus names them."""
    without_speakers: tuple[str, ...] = ()
    """Speakers to leave out: those that a later step is tested on."""

    def of(self, corpus: PackedCorpus) -> list[int]:
        """Indices of the clips; raises DataError where nothing fits, naming what there is."""
        taken_N = np.ones(len(corpus), dtype=bool)
        for label, wanted in (
            ("language", self.languages),
            ("split", self.splits),
            ("speaker", self.speakers),
        ):
            if wanted is not None:
                taken_N &= _is_one_of(corpus, label, wanted)
        taken_N &= ~_is_one_of(corpus, "speaker", self.without_speakers)
        chosen: list[int] = np.flatnonzero(taken_N).tolist()
        if self.sources is not None:
            infos = ((clip, corpus.clips[clip]) for clip in chosen)
            chosen = [
                clip
                for clip, info in infos
                if info["id"].startswith(self.sources) or info["source"].startswith(self.sources)
            ]
        if not chosen:
            sources = {info["source"] for info in corpus.clips}
            known = [
                f"languages {', '.join(sorted(corpus.names['language'])[:20])}",
                f"sources {', '.join(sorted(sources)[:20])}",
                f"splits {', '.join(sorted(corpus.names['split'])[:20])}",
            ]
            raise DataError(f"No clip of '{corpus}' fits the selection; it has {'; '.join(known)}.")
        return chosen


def _is_one_of(corpus: PackedCorpus, label: str, wanted: Sequence[str]) -> npt.NDArray[np.bool_]:
    """True for the clips `[N]` whose label is one of these names."""
    names = frozenset(wanted)
    is_wanted = np.array([name in names for name in corpus.names[label]], dtype=bool)
    return is_wanted[corpus.label_N[label]]
