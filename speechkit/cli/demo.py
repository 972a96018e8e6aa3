"""The verb `demo`: the page in a browser."""

from __future__ import annotations

import argparse
from dataclasses import replace

from speechkit.cli import arguments


def add_verbs(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add the verb."""
    demo = verbs.add_parser(
        "demo",
        help="speak, swap, convert and look at codes in a browser",
        description="Serve the demo, by default to this machine alone: "
        "speechkit demo --port 7860, then open http://127.0.0.1:7860.",
    )
    add_flags(demo)
    demo.set_defaults(handler=run)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the demo."""
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to bind; 0.0.0.0 lets the network in (default 127.0.0.1)",
    )
    parser.add_argument(
        "--port",
        type=arguments.whole_number(1, 65535),
        help="port (default: the first free one from 7860)",
    )
    parser.add_argument(
        "--share",
        action="store_true",
        help="open a public address through Gradio's servers, which anybody with it can use",
    )
    parser.add_argument(
        "--max-file-mb",
        type=arguments.number(0.1, 512),
        default=25.0,
        help="largest upload, in MiB (default 25)",
    )
    arguments.add_model(parser)
    arguments.add_device(parser, generator=True)
    arguments.add_threads(parser)


def run(args: argparse.Namespace) -> None:
    """Serve until interrupted."""
    from speechkit.demo.serve import ServeOptions, serve

    arguments.use_threads(args.threads)
    options = ServeOptions(
        host=args.host,
        port=args.port,
        share=args.share,
        model=args.model,
        device=args.device,
        dtype=args.dtype,
    )
    serve(replace(options, limits=replace(options.limits, max_file_mb=args.max_file_mb)))
