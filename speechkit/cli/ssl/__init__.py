"""The verb `ssl`: self-supervised pre-training and what is built on it."""

from __future__ import annotations

import importlib
import pkgutil

from speechkit.cli import arguments


def add_verbs(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add `ssl` with one verb of its own for each module in this folder."""
    ssl = verbs.add_parser("ssl", help="self-supervised pre-training: wav2vec 2.0 and HuBERT")
    inner = ssl.add_subparsers(title="verbs", metavar="VERB", required=True)
    for found in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        importlib.import_module(f"{__name__}.{found.name}").add_verbs(inner)
