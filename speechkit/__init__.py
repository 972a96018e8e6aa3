"""speechkit: zero-shot speech synthesis and self-supervised speech learning in one small package."""

from __future__ import annotations

__version__ = "0.1.0"
