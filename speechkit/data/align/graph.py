"""Left-to-right phone graphs with optional silence, and batches of them.

A phone is one state that lasts at least one frame; a run of boundary symbols (word
gaps, punctuation, "^", "$") is one silence state that lasts zero frames or more. CTC's
graph lets its blank sit between any two phones, so its phones shrink to spikes; here
every frame between two boundaries belongs to a phone.

Shapes: B batch, S states, F frames, P phones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.text.vocab import is_boundary

SILENCE = "<sil>"
"""Name of the silence class, which always has index 0."""


def without_stress(symbol: str) -> str:
    """`symbol` without its trailing stress digits: AH0 and AH1 sound alike to the aligner."""
    return symbol.rstrip("0123456789") or symbol


@dataclass(frozen=True)
class PhoneClasses:
    """The classes a frame can have: silence, then the phones without stress."""

    names: tuple[str, ...]
    """Class names in index order."""

    index: dict[str, int]
    """Class index of every symbol of the vocabulary that may stand in a transcript."""

    def __len__(self) -> int:
        return len(self.names)


def phone_classes(symbols: Sequence[str]) -> PhoneClasses:
    """The frame classes of a vocabulary whose first symbol is padding."""
    names = [SILENCE]
    index: dict[str, int] = {}
    for symbol in symbols[1:]:
        if is_boundary(symbol):
            index[symbol] = 0
            continue
        name = without_stress(symbol)
        if name not in names:
            names.append(name)
        index[symbol] = names.index(name)
    return PhoneClasses(tuple(names), index)


@dataclass(frozen=True)
class PhoneGraph:
    """States of one utterance, from left to right."""

    classes: tuple[int, ...]
    """Frame class of each state; 0 is silence, and only silence may be skipped."""

    owners: tuple[int, ...]
    """Index, in the phone sequence, of the symbol that receives the frames of each state."""

    symbols: int
    """Length of the phone sequence, boundary symbols included."""

    @property
    def min_frames(self) -> int:
        """Fewest frames an utterance can have to pass through the graph."""
        return sum(1 for label in self.classes if label)


def build_graph(phones: Sequence[str], classes: PhoneClasses) -> PhoneGraph:
    """The graph of a phone sequence.

    Neighbouring boundary symbols share one silence state; its frames go to "^" or "$"
    where the run holds one, else to the first symbol of the run.

    Raises DataError for a symbol without a class and for a sequence with no phone in it.
    """
    states: list[int] = []
    owners: list[int] = []
    for position, symbol in enumerate(phones):
        if symbol not in classes.index:
            raise DataError(f"The aligner does not know the phone {symbol!r}; retrain it with it.")
        label = classes.index[symbol]
        if label == 0 and states and states[-1] == 0:
            if symbol == "$":
                owners[-1] = position
            continue
        states.append(label)
        owners.append(position)
    if not any(states):
        raise DataError("There is no phone to align: the text has nothing that can be spoken.")
    return PhoneGraph(tuple(states), tuple(owners), len(phones))


@dataclass(frozen=True)
class GraphBatch:
    """Graphs of several utterances, padded on the right with silence states."""

    classes_BS: Tensor
    """Frame class of every state, int64."""

    states_B: Tensor
    """Number of states of each graph, int64."""

    def to(self, device: torch.device | str) -> GraphBatch:
        """The same batch on another device."""
        return GraphBatch(self.classes_BS.to(device), self.states_B.to(device))

    def skip_penalty(self, dtype: torch.dtype) -> Tensor:
        """`[B, S]`: 0 where the state before may be skipped on the way in, else −inf."""
        skippable_BS = self.classes_BS == 0
        before_BS = torch.nn.functional.pad(skippable_BS[:, :-1], (1, 0), value=False)
        zero = torch.zeros(before_BS.shape, dtype=dtype, device=before_BS.device)
        return zero.masked_fill(~before_BS, float("-inf"))

    def first_states(self) -> Tensor:
        """`[B, S]`, True where a path may begin: the first state, the second after silence."""
        position_S = torch.arange(self.classes_BS.shape[1], device=self.classes_BS.device)
        return position_S[None] <= (self.classes_BS[:, :1] == 0).long()

    def last_states(self) -> Tensor:
        """`[B, S]`, True where a path may end: the last state, the one before final silence."""
        position_S = torch.arange(self.classes_BS.shape[1], device=self.classes_BS.device)
        last_B1 = self.states_B[:, None] - 1
        slack_B1 = (self.classes_BS.gather(1, last_B1) == 0).long()
        return (position_S[None] <= last_B1) & (position_S[None] >= (last_B1 - slack_B1))


def batch_graphs(graphs: Sequence[PhoneGraph]) -> GraphBatch:
    """Pad `graphs` to a common number of states."""
    states_B = torch.tensor([len(graph.classes) for graph in graphs])
    classes_BS = torch.zeros(len(graphs), int(states_B.max()), dtype=torch.int64)
    for row, graph in enumerate(graphs):
        classes_BS[row, : len(graph.classes)] = torch.tensor(graph.classes)
    return GraphBatch(classes_BS, states_B)


def linear_path(graph: PhoneGraph, frames: int, start: int, stop: int) -> Tensor:
    """Frame classes `[F]` of a flat start: silence outside `start`..`stop`, phones inside.

    All phones get the same length, inner silences get nothing. The span widens by itself
    when it holds fewer frames than phones.
    """
    labels = [label for label in graph.classes if label]
    if stop - start < len(labels):
        start = max(0, min(start, frames - len(labels)))
        stop = min(frames, max(stop, start + len(labels)))
    edges_P = torch.linspace(start, stop, len(labels) + 1).round().long()
    path_F = torch.zeros(frames, dtype=torch.int64)
    for label, begin, end in zip(labels, edges_P[:-1].tolist(), edges_P[1:].tolist(), strict=True):
        path_F[begin:end] = label
    return path_F
