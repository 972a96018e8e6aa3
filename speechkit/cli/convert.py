"""The verb `convert-checkpoint`: public FACodec weights into a model folder."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from speechkit.cli import arguments
from speechkit.cli.output import Outcome, say_aside
from speechkit.core.errors import ConfigError


def add_verbs(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add the verb."""
    convert = verbs.add_parser(
        "convert-checkpoint", help="turn the public FACodec weights into a model folder"
    )
    convert.add_argument("encoder", type=Path, help="ns3_facodec_encoder.bin, or that of V2")
    convert.add_argument("decoder", type=Path, help="the decoder of the same version")
    convert.add_argument("-o", "--out", type=Path, required=True, metavar="FOLDER", help="output")
    convert.add_argument(
        "--redecoder",
        type=Path,
        metavar="FILE",
        help="ns3_facodec_redecoder.bin; it goes into FOLDER/redecoder",
    )
    arguments.add_json(convert)
    convert.set_defaults(handler=_convert)


def _convert(args: argparse.Namespace) -> Outcome:
    """Read, check, write."""
    if args.out.exists() and not args.out.is_dir():
        raise ConfigError(f"The output {args.out} is a file: give the name of a folder.")
    from speechkit.facodec.paper.convert import convert_checkpoint
    from speechkit.facodec.paper.public_files import PICKLE_WARNING

    say_aside("warning", PICKLE_WARNING)
    made = convert_checkpoint(args.encoder, args.decoder, args.out, redecoder=args.redecoder)
    config = made.config
    lines = [
        f"version     {config.version.upper()}",
        f"hop         {config.hop_samples} samples at {config.sample_rate_hz} Hz",
        f"books       {config.quantizer.books} of {config.quantizer.entries} entries",
        f"parameters  {made.parameters} in {made.tensors} tensors",
        f"wrote       {made.folder}",
    ]
    if made.redecoder is not None:
        lines.append(f"wrote       {made.redecoder_folder}")
    data = {
        "out": str(made.folder),
        "redecoder": None if made.redecoder is None else str(made.redecoder_folder),
        "parameters": made.parameters,
        "tensors": made.tensors,
        "config": asdict(config),
    }
    return Outcome(text="\n".join(lines), data=data)
