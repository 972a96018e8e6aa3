"""Results of runs to a table: mean and deviation over seeds, paired intervals against `none`.

Every cell leads to the folder and the commit of its runs.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechkit.core.errors import DataError
from speechkit.core.metrics import Interval, bootstrap, edits
from speechkit.ssl.clip_loss import ClipLoss, interval_of_less, mean_loss
from speechkit.ssl.ctc.score import FEWEST_GROUPS
from speechkit.ssl.diffs4l.config import BASELINE

RESULT_FILE = "result.json"
LOSS_FILE = "test_loss.json"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A figure less that of `none`, over seeds that both have: errors as shares of the reference,
    or the loss of a frame."""

    value: float
    """On the same clips."""
    interval: Interval | None
    """95 % interval of it, speakers drawn; None for fewer than five."""

    def text(self, times: float = 100.0, digits: int = 1) -> str:
        """In points, or other parts of one, with the interval."""
        ends = [self.value]
        if self.interval is not None:
            ends += [self.interval.low, self.interval.high]
        value, *others = (f"{times * end:+.{digits}f}" for end in ends)
        return f"{value} ({' to '.join(others)})" if others else value


@dataclass(frozen=True, kw_only=True)
class Cell:
    """An arm of a model over its seeds."""

    model: str
    arm: str
    words: tuple[float, ...]
    """Word error rate of each seed."""
    characters: tuple[float, ...]
    """Character error rate of each seed."""
    loss: tuple[float, ...]
    """Pre-training loss of each seed on the test clips, which no arm heard, in nats."""
    loss_difference: Difference | None
    """Of that loss; None for `none` itself."""
    word_difference: Difference | None
    """Of words; None for `none` itself."""
    character_difference: Difference | None
    """Of characters, which tell arms apart where a recogniser is too poor to get words right."""
    updates: tuple[int, ...]
    """Updates of pre-training: the same everywhere, or the row compares nothing."""
    hours: float
    """Speech it was pre-trained on."""
    runs: tuple[str, ...]
    """Folders of the runs."""
    commits: tuple[str, ...]
    """Commits that made them."""


def read_results(folder: Path) -> list[dict[str, Any]]:
    """All results below a folder."""
    found = []
    for path in sorted(folder.glob(f"*/*/*/{RESULT_FILE}")):
        result = _read(path)
        losses = path.with_name(LOSS_FILE)
        result["test_loss"] = (
            [ClipLoss(**clip) for clip in _read(losses)] if losses.is_file() else []
        )
        found.append(result)
    return found


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}): delete it and run again.") from error


def cells(results: Sequence[Mapping[str, Any]]) -> list[Cell]:
    """A cell for each model and arm, in order of appearance."""
    grouped: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for result in results:
        grouped.setdefault((result["model"], result["arm"]), []).append(result)
    return [_cell(model, arm, runs, grouped) for (model, arm), runs in grouped.items()]


def _cell(
    model: str,
    arm: str,
    runs: Sequence[Mapping[str, Any]],
    grouped: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]],
) -> Cell:
    against = {run["seed"]: run for run in grouped.get((model, BASELINE), ())}
    pairs = [(run, against[run["seed"]]) for run in runs if run["seed"] in against]
    compared = pairs if arm != BASELINE else []
    return Cell(
        model=model,
        arm=arm,
        words=tuple(run["wer"] for run in runs),
        characters=tuple(run["cer"] for run in runs),
        loss=tuple(mean_loss(run["test_loss"]) for run in runs if run["test_loss"]),
        loss_difference=_less_loss([(a["test_loss"], b["test_loss"]) for a, b in compared]),
        word_difference=paired(compared, str.split) if compared else None,
        character_difference=paired(compared, list) if compared else None,
        updates=tuple(run["updates"] for run in runs),
        hours=statistics.fmean(run["hours"] for run in runs),
        runs=tuple(run["folder"] for run in runs),
        commits=tuple(sorted({run["commit"] for run in runs})),
    )


def paired(
    pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]],
    units: Callable[[str], Sequence[str]],
) -> Difference:
    """Errors in `units` of a text of the first runs less those of the second ones."""
    errors: dict[int, list[int]] = {0: [], 1: []}
    lengths: list[int] = []
    groups: list[str] = []
    for pair in pairs:
        if [clip["clip"] for clip in pair[0]["clips"]] != [c["clip"] for c in pair[1]["clips"]]:
            raise DataError("Runs that were tested on other clips cannot be compared: run again.")
        for side, run in enumerate(pair):
            errors[side] += [
                edits(units(clip["reference"]), units(clip["hypothesis"])).errors
                for clip in run["clips"]
            ]
        lengths += [len(units(clip["reference"])) for clip in pair[0]["clips"]]
        groups += [clip["speaker"] for clip in pair[0]["clips"]]
    value = (sum(errors[0]) - sum(errors[1])) / max(sum(lengths), 1)
    interval = None
    if len(set(groups)) >= FEWEST_GROUPS:
        interval = bootstrap(errors[0], lengths, groups, minus=(errors[1], lengths))
    return Difference(value=value, interval=interval)


def _less_loss(pairs: Sequence[tuple[list[ClipLoss], list[ClipLoss]]]) -> Difference | None:
    """The loss of the first runs less that of the second, over the runs that have one."""
    ones = [clip for one, other in pairs if one and other for clip in one]
    others = [clip for one, other in pairs if one and other for clip in other]
    if not ones:
        return None
    return Difference(
        value=mean_loss(ones) - mean_loss(others), interval=interval_of_less(ones, others)
    )


def markdown(found: Sequence[Cell], notes: Sequence[str]) -> str:
    """The table for people."""
    rates = ("WER %", "less that of none", "CER %", "less that of none")
    head = ("model", "arm", "hours", *rates, "loss", "less that of none")
    lines = [_row(head), _row(["---"] * len(head))]
    for cell in found:
        errors = []
        for shares, less in (
            (cell.words, cell.word_difference),
            (cell.characters, cell.character_difference),
        ):
            errors += [_spread([100 * v for v in shares]), less.text() if less else ""]
        name = f"[{cell.arm}]({cell.runs[0]})"
        lower = cell.loss_difference.text(1.0, 3) if cell.loss_difference else ""
        losses = [_spread(cell.loss, digits=3), lower]
        row = [cell.model, name, f"{cell.hours:.2f}", *errors, *losses]
        lines.append(_row(row))
    updates = sorted({count for cell in found for count in cell.updates})
    commits = sorted({commit for cell in found for commit in cell.commits})
    fair = "" if len(updates) == 1 else " **Rows of other numbers of updates compare nothing.**"
    foot = [
        f"Updates of each pre-training: {', '.join(map(str, updates))}.{fair}",
        "The loss is that of pre-training, on the test clips: the same crops and masks for all.",
        f"Commits: {', '.join(commits)}.",
        *notes,
    ]
    return "\n".join([*lines, "", *(f"- {note}" for note in foot)]) + "\n"


def _spread(values: Sequence[float], digits: int = 1) -> str:
    """Mean, and the deviation where there are several."""
    if not values:
        return ""
    text = f"{statistics.fmean(values):.{digits}f}"
    return text if len(values) < 2 else f"{text} ± {statistics.stdev(values):.{digits}f}"


def _row(columns: Sequence[str]) -> str:
    return "| " + " | ".join(columns) + " |"


def plot_composition(found: Sequence[Cell], hours: Mapping[str, float], path: Path) -> bool:
    """Draw WER over the share of level 3 of each synthetic mix; False without matplotlib.

    `hours` is the share of level 3 among the synthetic speech of each arm that has some.
    """
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.5))
    axes = figure.subplots()
    for model in dict.fromkeys(cell.model for cell in found):
        points = sorted(
            (hours[cell.arm], 100 * statistics.fmean(cell.words))
            for cell in found
            if cell.model == model and cell.arm in hours
        )
        axes.plot(*zip(*points, strict=True), marker="o", label=model) if points else None
    axes.set_xlabel("share of level 3 in the synthetic speech")
    axes.set_ylabel("WER %")
    axes.legend()
    figure.savefig(path, bbox_inches="tight")
    return True
