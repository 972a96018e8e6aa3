"""The verb that looks whether this machine has what is needed: `doctor`."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from speechkit.cli import arguments
from speechkit.cli.output import Outcome

if TYPE_CHECKING:
    from speechkit.doctor import CheckResult

BROKEN = 1
"""Exit code where something is broken; warnings alone leave it at 0."""


def add_verbs(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add `doctor`."""
    doctor = verbs.add_parser(
        "doctor",
        help="is everything here that is needed? exit code 1 where something is broken",
    )
    arguments.add_json(doctor)
    doctor.set_defaults(handler=_doctor)


def _doctor(args: argparse.Namespace) -> Outcome:
    """Examine the machine."""
    from speechkit import __version__
    from speechkit.doctor import examine

    del args
    results = examine()
    counts = Counter(result.status for result in results)
    return Outcome(
        text=report(results),
        data={
            "speechkit": __version__,
            "well": not counts["problem"],
            "problems": counts["problem"],
            "warnings": counts["warning"],
            "checks": [asdict(result) for result in results],
        },
        exit_code=BROKEN if counts["problem"] else 0,
    )


def report(results: Sequence[CheckResult]) -> str:
    """A line for each result, its advice under it, and what it comes to."""
    width = max(len(result.name) for result in results)
    lines = []
    for result in results:
        lines.append(f"{result.status:8} {result.name:{width}}  {result.says}")
        if result.advice:
            lines.append(f"{'':8} {'':{width}}  -> {result.advice}")
    counts = Counter(result.status for result in results)
    told = [f"{counts[kind]} {kind}{'s' * (counts[kind] > 1)}" for kind in ("problem", "warning")]
    told = [text for text in told if not text.startswith("0 ")]
    return "\n".join([*lines, "", f"{' and '.join(told)}." if told else "All is well."])
