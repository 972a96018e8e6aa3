"""Phone classes of single frames: all boundary symbols become one silence."""

from __future__ import annotations

from speechkit.text.vocab import PAD, PhoneVocabulary, is_boundary

SILENCE = "sil"
"""Class 0: every frame of a pause, whatever mark it stands for."""


class FrameClasses:
    """Maps phone ids of a vocabulary to frame classes and back; class 0 is silence."""

    def __init__(self, vocabulary: PhoneVocabulary) -> None:
        spoken = [s for s in vocabulary.symbols if s != PAD and not is_boundary(s)]
        self.symbols: tuple[str, ...] = (SILENCE, *spoken)
        self._class_of = [
            self.symbols.index(s) if s in self.symbols else 0 for s in vocabulary.symbols
        ]

    def __len__(self) -> int:
        """The number of classes, silence included."""
        return len(self.symbols)

    @property
    def of_phone(self) -> tuple[int, ...]:
        """Class of each phone id."""
        return tuple(self._class_of)
