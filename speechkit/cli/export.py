"""The verb `export`: models for other runtimes."""

from __future__ import annotations

import argparse
from pathlib import Path

from speechkit.cli import arguments
from speechkit.cli.output import Outcome


def add_verbs(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add `export` with its one verb."""
    kinds = verbs.add_parser("export", help="models for other runtimes").add_subparsers(
        title="verbs", metavar="VERB", required=True
    )
    onnx = kinds.add_parser(
        "onnx",
        help="write codec and generator as ONNX graphs",
        description="Write codec and generator as ONNX graphs for any batch and length. Given as "
        "--model, or to verbs of the codec as --codec, the folder runs on onnxruntime.",
    )
    onnx.add_argument(
        "model",
        nargs="?",
        type=Path,
        metavar="FOLDER",
        help="folder with codec/ and generator/ (default: the bundled weights)",
    )
    onnx.add_argument(
        "-o", "--out", type=Path, required=True, metavar="FOLDER", help="new or empty folder"
    )
    onnx.add_argument(
        "--int8",
        action="store_true",
        help="multiply in 8 bits in the two largest networks: smaller and faster, for speech that "
        "is as clear and not the same",
    )
    arguments.add_json(onnx)
    onnx.set_defaults(handler=_onnx)


def _onnx(args: argparse.Namespace) -> Outcome:
    """Write the graphs."""
    from speechkit.export import OPSET, export_onnx

    done = export_onnx(args.model, args.out, int8=args.int8)
    lines = [f"{args.out}: {len(done.sizes)} graphs, opset {OPSET}"]
    lines += [f"  {name}  {size / 1e6:.1f} MB" for name, size in done.sizes.items()]
    data = {"folder": str(args.out), "opset": OPSET, "int8": args.int8, "bytes": dict(done.sizes)}
    return Outcome(text="\n".join(lines), data=data)
