"""Phone classes of single frames: all boundary symbols become one silence."""

from __future__ import annotations

from collections.abc import Sequence

from speechkit.text.vocab import PAD, PhoneVocabulary, is_boundary

SILENCE = "sil"
"""Class 0: every frame of a pause, whatever mark it stands for."""


def class_symbols(symbols: Sequence[str]) -> tuple[str, ...]:
    """Silence, then every spoken symbol in the order of `symbols`."""
    return (SILENCE, *(s for s in symbols if s != PAD and not is_boundary(s)))


def classes_of(symbols: Sequence[str]) -> tuple[int, ...]:
    """Frame class of each symbol."""
    places = {symbol: n for n, symbol in enumerate(class_symbols(symbols))}
    return tuple(places.get(symbol, 0) for symbol in symbols)


class FrameClasses:
    """Maps phone ids of a vocabulary to frame classes and back; class 0 is silence."""

    def __init__(self, vocabulary: PhoneVocabulary) -> None:
        self.symbols: tuple[str, ...] = class_symbols(vocabulary.symbols)
        self.of_phone: tuple[int, ...] = classes_of(vocabulary.symbols)
        """Class of each phone id."""

    def __len__(self) -> int:
        """The number of classes, silence included."""
        return len(self.symbols)
