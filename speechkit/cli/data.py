"""The verbs that make training data: `prepare`, `align`, `encode`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from speechkit.cli import arguments, inputs
from speechkit.cli.output import Outcome
from speechkit.core.errors import DataError

PACKED_SUFFIX = ".safetensors"
KINDS = ("auto", "manifest", "metadata", "librispeech", "libritts", "vctk", "ljspeech")


def add_verbs(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add the three verbs."""
    _add_prepare(verbs)
    align = verbs.add_parser("align", help="find when each phone of a packed corpus is spoken")
    align.add_argument("corpus", type=Path, help="packed corpus, from prepare")
    align.add_argument("-o", "--out", type=Path, help="sidecar file (default: beside the corpus)")
    align.add_argument(
        "--model", type=Path, metavar="FOLDER", help="trained aligner; without one it is trained"
    )
    align.add_argument(
        "--run", type=Path, metavar="FOLDER", help="where it is trained (NAME.aligner)"
    )
    align.add_argument(
        "--minutes",
        type=arguments.number(0.01, 1e5),
        default=10.0,
        help="how long it is trained (default 10)",
    )
    align.add_argument("--languages", nargs="+", default=["en"], metavar="CODE", help="(en)")
    arguments.add_seed(align)
    arguments.add_threads(align)
    arguments.add_json(align)
    align.set_defaults(handler=_align)

    encode = verbs.add_parser("encode", help="turn a packed corpus into codes, beside it")
    encode.add_argument("corpus", type=Path, help="packed corpus, from prepare")
    arguments.add_codec(encode)
    encode.add_argument("--all", action="store_true", help="also clips without an alignment")
    encode.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="(cpu)")
    arguments.add_threads(encode)
    arguments.add_json(encode)
    encode.set_defaults(handler=_encode)


def _add_prepare(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add `prepare`."""
    prepare = verbs.add_parser("prepare", help="pack a corpus into one file for training")
    prepare.add_argument(
        "sources",
        nargs="+",
        type=Path,
        metavar="CORPUS",
        help="folder of LibriSpeech, LibriTTS, VCTK or LJSpeech, or with metadata.csv or "
        "manifest.jsonl; or such a table itself",
    )
    prepare.add_argument(
        "-o", "--out", type=Path, required=True, help="file ending in .safetensors"
    )
    prepare.add_argument("--kind", choices=KINDS, default="auto", help="layout of the corpora")
    for name, default in (("language", "en"), ("license", "unknown"), ("split", "train")):
        prepare.add_argument(
            f"--{name}", default=default, help=f"{name} of clips that name none ({default})"
        )
    prepare.add_argument("--speaker", help="speaker of clips that name none (each its own)")
    prepare.add_argument(
        "--splits", nargs="+", default=["train"], metavar="NAME", help="to take; all (train)"
    )
    prepare.add_argument("--languages", nargs="+", metavar="CODE", help="to take (all)")
    seconds = arguments.number(0.0, 3600.0)
    prepare.add_argument("--min-seconds", type=seconds, default=1.0, help="shortest clip (1)")
    prepare.add_argument("--max-seconds", type=seconds, default=40.0, help="longest clip (40)")
    prepare.add_argument(
        "--workers", type=arguments.whole_number(1, 256), default=1, help="processes (1)"
    )
    arguments.add_json(prepare)
    prepare.set_defaults(handler=_prepare)


def _prepare(args: argparse.Namespace) -> Outcome:
    """Pack the corpora."""
    inputs.check_suffix(args.out, (PACKED_SUFFIX,))

    from speechkit.data.corpora import Corpus
    from speechkit.data.prepare import PrepareLimits, prepare

    corpora = [
        Corpus(
            path=path,
            kind=args.kind,
            language=args.language,
            license=args.license,
            split=args.split,
            speaker=args.speaker,
        )
        for path in args.sources
    ]
    limits = PrepareLimits(
        min_seconds=args.min_seconds,
        max_seconds=args.max_seconds,
        splits=None if args.splits == ["all"] else tuple(args.splits),
        languages=tuple(args.languages) if args.languages else None,
    )
    report = prepare(corpora, args.out, limits=limits, workers=args.workers)
    return Outcome(text=report.table(), data={"out": str(args.out), **report.to_dict()})


def _align(args: argparse.Namespace) -> Outcome:
    """Align a packed corpus, training the aligner first where none is given."""
    if args.out is not None:
        inputs.check_output(args.out, (PACKED_SUFFIX,), args.corpus)
    _check_corpus(args.corpus)
    arguments.use_threads(args.threads)

    from speechkit.data.align import align
    from speechkit.data.alignment import sidecar_path

    report = align(
        args.corpus,
        model=args.model,
        out=args.out,
        run=args.run,
        minutes=args.minutes,
        languages=args.languages,
        seed=args.seed,
    )
    out = str(args.out or sidecar_path(args.corpus))
    return Outcome(text="\n".join(report.lines()), data={"out": out, **asdict(report)})


def _encode(args: argparse.Namespace) -> Outcome:
    """Encode a packed corpus."""
    _check_corpus(args.corpus)
    arguments.use_threads(args.threads)

    from speechkit.facodec.encode_corpus import encode_corpus
    from speechkit.train import show_progress

    show_progress()
    made = encode_corpus(args.corpus, args.codec, unaligned=args.all, device=args.device)
    return Outcome(text=made.text(), data=made.to_json())


def _check_corpus(path: Path) -> None:
    """Raise DataError where there is no packed corpus to read."""
    if not path.is_file():
        raise DataError(f"There is no packed corpus {path}: make one with speechkit prepare.")
