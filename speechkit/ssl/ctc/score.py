"""Word and character error rates of a corpus, with the interval that its speakers allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from speechkit.core.errors import DataError
from speechkit.core.metrics import Edits, bootstrap, edits

FEWEST_GROUPS = 5
"""Below so many speakers there is no interval: it would tell nothing of other speakers."""

NO_EDITS = Edits(hits=0, substitutions=0, insertions=0, deletions=0)


@dataclass(frozen=True, kw_only=True)
class ErrorRate:
    """A rate over a corpus, as shares of the reference (more than 1 is possible)."""

    rate: float
    """Errors over reference tokens."""
    low: float | None
    """Lower end of the 95 % bootstrap interval over groups; None for fewer than `FEWEST_GROUPS`."""
    high: float | None
    """Upper end."""
    edits: Edits
    """Sums over the corpus."""

    def text(self) -> str:
        """Return the rate and its interval in percent."""
        if self.low is None or self.high is None:
            return f"{100 * self.rate:.1f}"
        return f"{100 * self.rate:.1f} ({100 * self.low:.1f} to {100 * self.high:.1f})"


@dataclass(frozen=True, kw_only=True)
class Score:
    """How well a corpus was recognised."""

    words: ErrorRate
    """WER."""
    characters: ErrorRate
    """CER; spaces between words count as letters, as in jiwer."""
    sentences: int
    """Sentences scored."""
    sentences_right: int
    """Those without any error."""
    groups: int
    """What the bootstrap drew from: speakers, or sentences where none are given."""

    def text(self) -> str:
        """Return a table for a terminal."""
        rows = [f"{'':4}{'% (95 % interval)':>24}{'sub':>7}{'ins':>7}{'del':>7}{'of':>8}"]
        for name, rate in (("WER", self.words), ("CER", self.characters)):
            found = rate.edits
            counts = (found.substitutions, found.insertions, found.deletions)
            columns = "".join(f"{count:>7}" for count in counts)
            rows.append(f"{name:4}{rate.text():>24}{columns}{found.reference_tokens:>8}")
        foot = f"{self.sentences_right} of {self.sentences} sentences without an error"
        few = "" if self.groups >= FEWEST_GROUPS else ", too few for an interval"
        return "\n".join([*rows, f"{foot}; {self.groups} speakers{few}"])

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def score(
    references: Sequence[str],
    hypotheses: Sequence[str],
    groups: Sequence[str] | None = None,
    seed: int = 0,
) -> Score:
    """Return the error rates of hypotheses, texts already normalised, in the references' order.

    Raises DataError for lists of different lengths and for references without a word.
    """
    if len(references) != len(hypotheses) or (groups and len(groups) != len(references)):
        raise DataError(
            f"There are {len(hypotheses)} hypotheses for {len(references)} references: score the "
            "same clips in the same order."
        )
    words = [edits(r.split(), h.split()) for r, h in zip(references, hypotheses, strict=True)]
    if not any(edit.reference_tokens for edit in words):
        raise DataError("The references hold no words, so there is no error rate.")
    characters = [
        edits(" ".join(r.split()), " ".join(h.split()))
        for r, h in zip(references, hypotheses, strict=True)
    ]
    names = [str(number) for number in range(len(references))] if groups is None else groups
    return Score(
        words=_rate(words, names, seed),
        characters=_rate(characters, names, seed),
        sentences=len(references),
        sentences_right=sum(edit.errors == 0 for edit in words),
        groups=len(set(names)),
    )


def _rate(sentences: Sequence[Edits], groups: Sequence[str], seed: int) -> ErrorRate:
    """Return the rate over all sentences, with groups drawn for the interval."""
    total = sum(sentences, NO_EDITS)
    low = high = None
    if len(set(groups)) >= FEWEST_GROUPS:
        errors = [one.errors for one in sentences]
        lengths = [one.reference_tokens for one in sentences]
        interval = bootstrap(errors, lengths, groups, seed=seed)
        low, high = interval.low, interval.high
    return ErrorRate(rate=total.errors / total.reference_tokens, low=low, high=high, edits=total)
