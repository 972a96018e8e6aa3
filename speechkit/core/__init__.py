"""The ground every other package stands on: audio, time, configs, checkpoints, seeds, errors."""

from __future__ import annotations
