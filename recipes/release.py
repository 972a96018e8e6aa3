"""Put trained models where the package looks for them: `python recipes/release.py …`.

Stores half precision (half the size, no audible difference), records how the weights came about,
and writes their checksums beside the folder; the model cards are written by hand.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from speechkit.core.checkpoint import load_checkpoint, save_checkpoint
from speechkit.core.checksums import record_sums


def release(source: Path, target: Path, training: dict[str, object]) -> None:
    """Write the checkpoint of `source` to `target` in half precision, and its checksums."""
    found = load_checkpoint(source)
    state = {
        name: tensor.half() if tensor.dtype == torch.float32 else tensor
        for name, tensor in found.state.items()
    }
    save_checkpoint(target, state, {**found.config, "training": training})
    record_sums(target)


def main() -> None:
    """Release one model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="export of a training run")
    parser.add_argument("target", type=Path, help="speechkit/weights/codec or …/generator")
    parser.add_argument(
        "--training", type=json.loads, required=True, help='JSON, such as {"minutes": 45}'
    )
    args = parser.parse_args()
    release(args.source, args.target, args.training)


if __name__ == "__main__":
    main()
