"""Parsing: errors as exceptions, numbers with limits, and the flags that verbs share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from speechkit.core.errors import ConfigError

if TYPE_CHECKING:
    from speechkit.data.work import Crew
    from speechkit.watermark import Watermark

Verbs = argparse._SubParsersAction  # noqa: SLF001
MAX_SEED = 2**63 - 1


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are `ConfigError`s, so that they end like all others."""

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError with argparse's message and where to read on."""
        raise ConfigError(f"{message}; {self.prog} --help lists what it takes")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print help; argparse's own hides it where the stream refuses that."""
        (file or sys.stderr).write(message or "")


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """An argument type: a whole number from `low` to `high`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return value

    return parse


def number(low: float, high: float) -> Callable[[str], float]:
    """An argument type: a number from `low` to `high`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low:g} to {high:g}")
        return value

    return parse


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument(
        "--json", action="store_true", help="print exactly one JSON object on standard output"
    )


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """Add --quiet to every verb of a parser."""
    nested = [action for action in parser._actions if isinstance(action, Verbs)]  # noqa: SLF001
    for verbs in nested:
        for verb in dict.fromkeys(verbs.choices.values()):
            add_quiet(verb)
    if not nested:
        parser.add_argument(
            "--quiet", action="store_true", help="print errors, warnings and the JSON object alone"
        )


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add --threads; `use_threads` acts on it."""
    parser.add_argument(
        "--threads", type=whole_number(1, 1024), help="CPU threads (default: torch's choice)"
    )


def add_corpora(parser: argparse.ArgumentParser, flag: str = "corpus", more: str = "") -> None:
    """Add the corpora that a verb reads, as positional words or with a flag such as --data."""
    text = f"folder from prepare{more}; also CORPUS:WEIGHT, a TOML list, or several"
    if flag.startswith("-"):
        parser.add_argument(
            flag, nargs="+", action="extend", required=True, metavar="CORPUS", help=text
        )
    else:
        parser.add_argument(flag, nargs="+", metavar="CORPUS", help=text)


def add_work(parser: argparse.ArgumentParser) -> None:
    """Add --workers and --shard, for work that is done shard by shard."""
    parser.add_argument(
        "--workers", type=whole_number(1, 256), default=1, help="processes, a shard each (1)"
    )
    parser.add_argument(
        "--threads", type=whole_number(1, 1024), help="CPU threads of each process (1)"
    )
    share = parser.add_mutually_exclusive_group()
    share.add_argument(
        "--shard",
        type=part,
        default=(1, 1),
        metavar="I/N",
        help="only every N-th shard, from the I-th: for several machines that share a folder",
    )
    share.add_argument(
        "--ray",
        type=whole_number(1, 10_000),
        default=0,
        metavar="WORKERS",
        help="workers of Ray Data instead; the files are the same",
    )


def crew(args: argparse.Namespace, device: Any = "cpu") -> Crew:
    """Who does the work that `add_work` asks about, on a device."""
    from speechkit.data.work import Crew

    return Crew(
        workers=args.workers,
        threads=args.threads or 1,
        device=str(device),
        part=args.shard,
        ray=args.ray,
    )


def part(text: str) -> tuple[int, int]:
    """An argument type: I/N."""
    first, _, of = text.partition("/")
    try:
        return whole_number(1, 10**6)(first), whole_number(1, 10**6)(of)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no part such as 2/4") from error


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add --model."""
    parser.add_argument(
        "--model",
        type=Path,
        metavar="FOLDER",
        help="folder with codec/ and generator/ (default: the bundled weights)",
    )


def add_codec(parser: argparse.ArgumentParser) -> None:
    """Add --codec."""
    parser.add_argument(
        "--codec",
        type=Path,
        metavar="FOLDER",
        help="folder of the codec (default: the bundled one)",
    )


def add_device(parser: argparse.ArgumentParser, *, generator: bool) -> None:
    """Add --device and, for verbs that run the generator, --dtype; `inputs` acts on them."""
    parser.add_argument(
        "--device",
        default="cpu",
        metavar="NAME",
        help="where to compute: auto, cpu, cuda, cuda:1, mps (default cpu)",
    )
    if generator:
        parser.add_argument(
            "--dtype",
            default="auto",
            metavar="NAME",
            help="what the generator computes in: auto, float32, bfloat16, float16 (default auto: "
            "bfloat16 on GPUs that have it)",
        )


def add_seed(parser: argparse.ArgumentParser) -> None:
    """Add --seed."""
    parser.add_argument(
        "--seed",
        type=whole_number(0, MAX_SEED),
        default=0,
        help="all draws follow from it: the same seed gives the same bytes (default 0)",
    )


def add_watermark(parser: argparse.ArgumentParser) -> None:
    """Add --payload and --no-watermark; `watermark` reads them."""
    group = parser.add_mutually_exclusive_group()
    add_payload(group)
    group.add_argument(
        "--no-watermark", action="store_true", help="leave out the watermark of synthetic speech"
    )


def add_payload(parser: argparse._ActionsContainer) -> None:
    """Add --payload."""
    parser.add_argument(
        "--payload",
        type=whole_number(0, 65535),
        metavar="NUMBER",
        help="16 bits that the inaudible watermark carries (default: one that names speechkit)",
    )


def watermark(args: argparse.Namespace) -> Watermark | None:
    """The watermark that was asked for; None leaves it out."""
    from speechkit.watermark import Watermark

    if args.no_watermark:
        return None
    return Watermark() if args.payload is None else Watermark(payload=args.payload)


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Add --steps."""
    parser.add_argument(
        "--steps",
        type=whole_number(1, 64),
        help="passes of the first codebooks of prosody and content; more is slower and clearer",
    )
    parser.add_argument(
        "--candidates",
        type=whole_number(1, 16),
        metavar="N",
        help="draw words that are not clear again, N times at most in all, and keep the clearest "
        "try of each (4, swap 1); 1 is fastest",
    )


def add_overrides(parser: argparse.ArgumentParser, example: str) -> None:
    """Add --set."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="KEY=VALUE",
        help=f"change one value of the config, such as {example}",
    )


_SELECTED = {
    "languages": ("CODE", "to take (all)"),
    "sources": ("START", "to take, by the start of source or id (all)"),
    "splits": ("NAME", "to take (all)"),
}


def add_selection(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add flags that choose clips of a corpus; `inputs.selection` reads them."""
    for name in names:
        metavar, what = _SELECTED[name]
        parser.add_argument(f"--{name}", nargs="+", metavar=metavar, help=what)


def use_threads(threads: int | None) -> None:
    """Let torch use this many threads; None leaves it as it is."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
