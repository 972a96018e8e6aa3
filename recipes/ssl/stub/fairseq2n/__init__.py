"""Stand-in for fairseq2's native half where its wheel does not fit (another torch, Python 3.12).

Put the folder above on PYTHONPATH. ``DOC_MODE`` is the switch with which fairseq2 builds its own
documentation: its C++ data pipeline, audio decoder and tokenizers are then only names. Models,
optimisers, gangs, checkpoints and the trainer are pure Python and work.
"""

from __future__ import annotations

__version__ = "0.8.1"
DOC_MODE = True


def supports_cuda() -> bool:
    """Return False: there is no native part."""
    return False


def supports_image() -> bool:
    """Return False: there is no native part."""
    return False
