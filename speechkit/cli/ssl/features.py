"""The verb `ssl features`: what a layer of an encoder makes of recordings."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from speechkit.cli import arguments, inputs
from speechkit.cli.output import Outcome
from speechkit.core.errors import AudioError

SUFFIX = ".safetensors"


def add_verbs(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add `features`."""
    features = verbs.add_parser("features", help="write the states of a layer for recordings")
    features.add_argument("encoder", type=Path, help="model folder, from ssl pretrain or import")
    features.add_argument("files", nargs="+", type=Path, metavar="FILE", help="recordings")
    features.add_argument(
        "--layer",
        type=arguments.whole_number(0, 1000),
        required=True,
        help="0 is the input of the first block, k the output of block k",
    )
    features.add_argument(
        "-o", "--out", type=Path, required=True, help="a tensor FD for each file (.safetensors)"
    )
    arguments.add_device(features, generator=False)
    arguments.add_threads(features)
    arguments.add_json(features)
    features.set_defaults(handler=_features)


def _features(args: argparse.Namespace) -> Outcome:
    """Write the states."""
    inputs.check_output(args.out, (SUFFIX,), *args.files)
    names = [path.name for path in args.files]
    if len(set(names)) < len(names):
        raise AudioError("Two recordings have the same name: rename one, names are the keys.")
    arguments.use_threads(args.threads)

    from safetensors.torch import save_file

    from speechkit.core.audio import read_audio
    from speechkit.core.devices import pick_device
    from speechkit.core.files import write_atomically
    from speechkit.ssl.units.features import encoder_features

    source = encoder_features(args.encoder, args.layer, pick_device(args.device))
    waves = [read_audio(path) for path in args.files]
    for path, wave_T in zip(args.files, waves, strict=True):
        if source.frames(len(wave_T)) < 1:
            raise AudioError(f"{path} is too short for one frame of 25 ms.")
    made = source.of_many(waves)
    states = {name: one.contiguous() for name, one in zip(names, made, strict=True)}
    metadata = {"features": json.dumps(source.source), "rate_hz": str(source.rate_hz)}
    write_atomically(args.out, lambda place: save_file(states, str(place), metadata))
    lines = [f"{name}: {tuple(value.shape)}" for name, value in states.items()]
    data = {"out": str(args.out), "shapes": {n: list(v.shape) for n, v in states.items()}}
    return Outcome(text="\n".join(lines), data=data)
