"""Fixtures for the tests of training."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def _no_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if TensorBoard were not installed: its import takes seconds."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
