"""The one native function that fairseq2 calls in any case."""

from __future__ import annotations


def _enable_aten_logging(*args: object, **kwargs: object) -> None:
    """Do nothing: there is no native logging to turn on."""
