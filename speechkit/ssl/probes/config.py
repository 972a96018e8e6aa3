"""Settings of the probes."""

from __future__ import annotations

from dataclasses import dataclass

from speechkit.core.config import require_range
from speechkit.core.errors import ConfigError
from speechkit.ssl.selection import Selection

TASKS = ("phones", "ctc", "speaker", "verification", "words", "query")
"""What encoders can be asked."""


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """Which probes, on how much audio."""

    tasks: tuple[str, ...] = TASKS
    """Some of `TASKS`."""
    minutes: float = 30.0
    """Audio for the phone tasks, for the speaker tasks, for what queries look through and, at most,
    for the words, each."""
    selection: Selection = Selection()
    """Clips of the corpus that are used."""
    layers: tuple[int, ...] | None = None
    """Levels that the weighted sum may use: 0 = input of the first block; None = all."""
    words: int = 10
    """Classes of the word probe: the most frequent content words."""
    steps: int = 400
    """Updates of each head."""
    learning_rate: float = 1e-2
    """At first; it falls linearly to zero."""
    weight_decay: float = 1e-2
    """On the heads (AdamW), not on the layer weights."""
    dropouts: tuple[float, ...] = (0.0, 0.5)
    """Dropout before the heads of the phone tasks: that with the fewest errors on a fifth of the
    training speakers is taken, by each source for itself."""
    max_gigabytes: float = 8.0
    """Most memory that features may take."""
    test_splits: tuple[str, ...] = ()
    """Splits that the phone tasks are tested on, whole, such as `eval`; `minutes` is then what the
    heads learn from. Without any, a fifth of the speakers and of the minutes is the test."""
    repeats: int = 1
    """How often all is done, with other draws of clips, heads and random encoders."""
    heard: bool = False
    """Whether clips that an encoder was pre-trained on may be used; it knows them too well."""
    seed: int = 0
    """All draws follow from it."""

    def __post_init__(self) -> None:
        """Raise ConfigError or ValueError for what cannot be run."""
        unknown = [task for task in self.tasks if task not in TASKS]
        if unknown or not self.tasks:
            raise ConfigError(f"Probes are {', '.join(TASKS)}, not {', '.join(unknown) or 'none'}.")
        if self.layers is not None and (not self.layers or min(self.layers) < 0):
            raise ConfigError("Layers are whole numbers from 0; leave them out to use all.")
        if self.test_splits and not {"phones", "ctc"}.issuperset(self.tasks):
            raise ConfigError(
                "Only `phones` and `ctc` can be tested on splits: ask for them alone."
            )
        require_range(
            self,
            minutes=(0.01, 1e6),
            words=(2, 1000),
            steps=(1, 10**6),
            repeats=(1, 1000),
            learning_rate=(1e-9, 10),
            weight_decay=(0, 10),
            max_gigabytes=(1e-6, 1e6),
        )
        if not self.dropouts or not all(0 <= dropout < 1 for dropout in self.dropouts):
            raise ConfigError("dropouts are numbers from 0 and below 1, at least one.")

    def wants(self, *tasks: str) -> bool:
        """Return whether one of these is among the tasks."""
        return any(task in self.tasks for task in tasks)
