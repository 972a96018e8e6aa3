"""The command line: `speechkit VERB …`.

Every fault of the input ends in one line on standard error and exit code 2, with no output file
left behind. Only the module of the verb that was asked for is imported, and handlers import what
they need when they run, so that `--help` needs no torch.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

from speechkit import __version__
from speechkit.cli.arguments import Parser, add_quiet
from speechkit.cli.output import Outcome, emit, fail, flush, hushed, printing, streams
from speechkit.core.errors import SpeechkitError
from speechkit.core.extras import missing_package

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells have it."""

VERBS: Mapping[str, Sequence[str]] = {
    "say": ("say", "swap", "voice"),
    "voices": ("voices",),
    "data": ("prepare", "align", "encode"),
    "train": ("train", "release"),
    "evaluate": ("eval",),
    "bench": ("bench",),
    "conversion": ("convert",),
    "codec": ("codec", "convert-checkpoint"),
    "demo": ("demo",),
    "serve": ("serve",),
    "export": ("export",),
    "doctor": ("doctor",),
    "ssl": ("ssl",),
    "watermark": ("watermark",),
}
"""Modules of this package and the verbs that each adds, in the order of `--help`."""


def build_parser(verb: str | None = None) -> Parser:
    """The parser of all verbs, or of those in the module of one, where there is such a verb.

    Each verb sets `handler`, a function of the parsed arguments.
    """
    parser = Parser(
        prog="speechkit",
        description="Zero-shot speech synthesis: any text in the voice of a short recording. "
        "Clone a voice only with the consent of the person it belongs to.",
    )
    parser.add_argument("--version", action="version", version=f"speechkit {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    wanted = [module for module, added in VERBS.items() if verb in added] or list(VERBS)
    for module in wanted:
        import_module(f"speechkit.cli.{module}").add_verbs(verbs)
    add_quiet(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code: 0, 2 for bad input, 130 when interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    with streams():
        try:
            code = _run(argv)
            flush()
            return code
        except SpeechkitError as error:
            fail(str(error))
            return error.exit_code
        except ModuleNotFoundError as error:
            missing = missing_package(error)
            if missing is None:
                raise
            fail(str(missing))
            return missing.exit_code
        except KeyboardInterrupt:
            fail("interrupted")
            return INTERRUPTED
        except OSError as error:
            fail(f"{error.filename or 'The system'}: {error.strerror or error}.")
            return SpeechkitError.exit_code


def _run(argv: list[str]) -> int:
    """Parse, do, print; returns the exit code, also of `--help`."""
    try:
        parser = build_parser(argv[0] if argv else None)
        with printing():
            args = parser.parse_args(argv)
        as_json = bool(getattr(args, "json", False))
        with hushed(quiet=args.quiet):
            # With --json, standard output belongs to the one object.
            with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
                result = args.handler(args)
            if isinstance(result, Outcome):
                emit(result, as_json=as_json)
                return result.exit_code
            return int(result or 0)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
