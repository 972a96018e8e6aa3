"""Imports fairseq2, and repairs what its import breaks."""

from __future__ import annotations

import contextlib
import importlib
from functools import lru_cache

from speechkit.core.errors import ConfigError


@lru_cache(maxsize=1)
def require_fairseq2() -> None:
    """Make `import fairseq2` work, or raise ConfigError with what is missing.

    Its native half looks for a libsndfile that fresh machines lack; soundfile carries one, and a
    library that is already loaded is found. Where the native half cannot be installed at all
    (another torch, Python 3.12), a stand-in on the path does: see `recipes/ssl/stub`.
    """
    # Without one the native half says so itself below; the stand-in needs none.
    with contextlib.suppress(ImportError, OSError):
        importlib.import_module("soundfile")
    try:
        importlib.import_module("fairseq2")
    except (ImportError, OSError, RuntimeError) as error:
        raise ConfigError(
            f"fairseq2 cannot be imported ({error}). Install fairseq2==0.8.1 with torch==2.9.1 and "
            "soundfile, or put recipes/ssl/stub on PYTHONPATH where its native half does not fit."
        ) from error
