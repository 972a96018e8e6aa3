"""The report on a codec: reconstruction, and what each of its parts carries."""

from __future__ import annotations

from speechkit.evaluate.codec.suite import SECTIONS, CodecSuite, run_codec_suite

__all__ = ["SECTIONS", "CodecSuite", "run_codec_suite"]
