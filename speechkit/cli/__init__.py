"""The command line: `speechkit VERB …`.

Every fault of the input ends in one line on standard error and exit code 2, with no output file
left behind. Handlers import what they need when they run, so that `--help` needs no torch.
"""

from __future__ import annotations

import contextlib
import os
import sys

from speechkit import __version__
from speechkit.cli import (
    bench,
    codec,
    conversion,
    convert,
    data,
    demo,
    doctor,
    evaluate,
    say,
    ssl,
    train,
    watermark,
)
from speechkit.cli.arguments import Parser
from speechkit.cli.output import Outcome, emit, fail
from speechkit.core.errors import SpeechkitError

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells have it."""


def build_parser() -> Parser:
    """The parser of all verbs; each sets `handler`, a function of the parsed arguments."""
    parser = Parser(
        prog="speechkit",
        description="Zero-shot speech synthesis: any text in the voice of a short recording. "
        "Clone a voice only with the consent of the person it belongs to.",
    )
    parser.add_argument("--version", action="version", version=f"speechkit {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    modules = (say, data, train, evaluate, bench, convert, conversion, codec, demo, doctor, ssl)
    for module in (*modules, watermark):
        module.add_verbs(verbs)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code: 0, 2 for bad input, 130 when interrupted."""
    # Threads that spin while they wait make a busy machine tens of times slower; torch reads this
    # when it is first imported, which the handlers do.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        args = build_parser().parse_args(argv)
        as_json = bool(getattr(args, "json", False))
        # With --json, standard output belongs to the one object.
        with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
            result = args.handler(args)
        if isinstance(result, Outcome):
            emit(result, as_json=as_json)
            return result.exit_code
        return int(result or 0)
    except SpeechkitError as error:
        fail(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        fail("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone; flushing it once more at exit would complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:
        fail(f"{error.filename or 'The system'}: {error.strerror or error}.")
        return SpeechkitError.exit_code
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
