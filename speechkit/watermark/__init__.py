"""An inaudible watermark on synthetic speech, 16 bits that outlive codecs, and its detector.

Spread spectrum on log magnitudes (Cox et al. 1997; Kirovski and Malvar 2003): 1024 chips a period
of 1.024 s, 64 slots of 16 ms by 16 bands between 0.3 and 3.3 kHz, each a little louder or softer
as a code word says. Phase, silence and everything above stay as they are. It names the tool that
made the speech, and is no proof against somebody who removes it on purpose: the key is public.
"""

from __future__ import annotations

from speechkit.watermark.apply import Watermarked, apply_watermark
from speechkit.watermark.code import DEFAULT_PAYLOAD, Watermark
from speechkit.watermark.detection import MIN_SECONDS, Detection, detect
from speechkit.watermark.embedding import StreamingEmbedder, embed, embed_pieces

__all__ = [
    "DEFAULT_PAYLOAD",
    "MIN_SECONDS",
    "Detection",
    "Watermarked",
    "StreamingEmbedder",
    "Watermark",
    "detect",
    "embed",
    "embed_pieces",
    "apply_watermark",
]
