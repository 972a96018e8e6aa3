"""speechkit: zero-shot speech synthesis and self-supervised speech learning."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speechkit.conversion import VoiceConverter
    from speechkit.core.results import Codes, Speech, Voice
    from speechkit.facodec.small.codec import FACodec
    from speechkit.swap import swap_recording
    from speechkit.tts import ZeroShotTTS
    from speechkit.voices import bundled_voice, bundled_voices

if "torch" not in sys.modules:
    # Threads that spin while they wait make a busy machine tens of times slower. OpenMP reads this
    # once, when torch loads it; whoever imported torch first, or set the variable, has decided.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"

__all__ = [
    "Codes",
    "FACodec",
    "Speech",
    "Voice",
    "VoiceConverter",
    "ZeroShotTTS",
    "__version__",
    "bundled_voice",
    "bundled_voices",
    "swap_recording",
]

_HOME = {
    "Codes": "speechkit.core.results",
    "FACodec": "speechkit.facodec.small.codec",
    "Speech": "speechkit.core.results",
    "Voice": "speechkit.core.results",
    "VoiceConverter": "speechkit.conversion",
    "ZeroShotTTS": "speechkit.tts",
    "bundled_voice": "speechkit.voices",
    "bundled_voices": "speechkit.voices",
    "swap_recording": "speechkit.swap",
}


def __getattr__(name: str) -> Any:
    """The public names, imported when first asked for: torch takes seconds to load."""
    if name not in _HOME:
        raise AttributeError(f"module 'speechkit' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
