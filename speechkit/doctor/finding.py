"""What one check found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check's result, in plain words."""

    name: str
    """What was looked at: one or two words, the same on every machine."""
    status: Status
    """A warning leaves everything working; a problem is something broken."""
    says: str
    """One sentence on what was found."""
    advice: str = ""
    """What to do about it; empty where all is well."""


Check = Callable[[], Iterable[Finding]]


def ok(name: str, says: str) -> Finding:
    """A finding with nothing to do."""
    return Finding(name=name, status="ok", says=says)


def warning(name: str, says: str, advice: str) -> Finding:
    """A finding that does no harm yet."""
    return Finding(name=name, status="warning", says=says, advice=advice)


def problem(name: str, says: str, advice: str) -> Finding:
    """A finding that keeps something from working."""
    return Finding(name=name, status="problem", says=says, advice=advice)
