"""Stand-in for wandb, which fairseq2 imports even when it is turned off."""

from __future__ import annotations

from wandb import errors

__all__ = ["Run", "errors", "init"]


class Run:
    """Name in annotations."""


def init(*args: object, **kwargs: object) -> Run:
    """Raise: this is not wandb."""
    raise RuntimeError(
        "wandb is not installed; turn it off, or take recipes/ssl/stub from the path."
    )
