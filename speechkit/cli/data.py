"""The verbs that make training data: `prepare`, `align`, `encode`."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from speechkit.cli import arguments
from speechkit.cli.output import Outcome
from speechkit.core.errors import ConfigError

if TYPE_CHECKING:
    from speechkit.train import TrainReport

STOPPED = 130
"""Exit code where a signal ended the training of the aligner."""
KINDS = (
    "auto", "manifest", "metadata", "ljspeech", "librispeech", "libritts", "vctk", "commonvoice",
    "kaldi", "lhotse", "folder",
)  # fmt: skip


def add_verbs(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add the three verbs."""
    add_prepare(verbs)
    add_align(verbs)
    add_encode(verbs)


def add_align(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add `align`."""
    align = verbs.add_parser("align", help="find when each phone of a corpus is spoken")
    arguments.add_corpora(align)
    which = align.add_mutually_exclusive_group()
    which.add_argument(
        "--model",
        type=Path,
        metavar="FOLDER",
        help="trained aligner, from train aligner (default: the bundled one, for English)",
    )
    which.add_argument(
        "--train",
        action="store_true",
        help="train an aligner on this corpus first; a run that was interrupted goes on",
    )
    align.add_argument(
        "--run", type=Path, metavar="FOLDER", help="with --train: where (CORPUS.aligner)"
    )
    align.add_argument(
        "--minutes",
        type=arguments.number(0.01, 1e5),
        help="with --train: how long (10)",
    )
    align.add_argument("--seed", type=arguments.whole_number(0, 2**63 - 1), help="with --train")
    align.add_argument(
        "--languages", nargs="+", default=["en"], metavar="CODE", help="of the clips to take (en)"
    )
    arguments.add_work(align)
    _add_device(align)
    arguments.add_json(align)
    align.set_defaults(handler=_align)


def add_encode(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add `encode`."""
    encode = verbs.add_parser("encode", help="turn a corpus into codes, beside its shards")
    arguments.add_corpora(encode)
    arguments.add_codec(encode)
    encode.add_argument("--all", action="store_true", help="also clips without an alignment")
    encode.add_argument(
        "--batch",
        type=arguments.whole_number(1, 4096),
        metavar="N",
        help="clips encoded together, with the codes of each alone (16 on GPUs, else 1)",
    )
    arguments.add_work(encode)
    _add_device(encode)
    arguments.add_json(encode)
    encode.set_defaults(handler=_encode)


def _add_device(parser: argparse.ArgumentParser) -> None:
    """Add --device."""
    parser.add_argument(
        "--device",
        default="auto",
        metavar="NAME",
        help="where to compute: auto, cpu, cuda, cuda:1, mps (auto)",
    )


def add_prepare(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add `prepare`."""
    prepare = verbs.add_parser("prepare", help="pack corpora into shards for training")
    prepare.add_argument(
        "sources",
        nargs="+",
        type=Path,
        metavar="CORPUS",
        help="folder of LibriSpeech, LibriTTS, VCTK, LJSpeech, Common Voice or Kaldi, or with "
        "metadata.csv or manifest.jsonl; or such a table itself (CSV, TSV, pipes, JSON lines); or "
        "a folder of audio whose first folders are the speakers",
    )
    prepare.add_argument(
        "-o",
        "--out",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="where, such as NAME.corpus; a run that was interrupted goes on",
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
        "--shard-clips",
        type=arguments.whole_number(1, 10**6),
        default=500,
        metavar="N",
        help="clips of a shard, which is what an interruption loses (500)",
    )
    prepare.add_argument(
        "--speeds",
        nargs="+",
        type=arguments.number(0.5, 2.0),
        default=[1.0],
        metavar="X",
        help="pack every clip at each of these speeds, each another speaker (1): 0.9 1 1.1 makes "
        "three voices of one",
    )
    prepare.add_argument(
        "--no-pitch",
        action="store_true",
        help="work out no pitch, which takes most of the time: training a codec needs it, aligner, "
        "generator and SSL do not",
    )
    arguments.add_work(prepare)
    arguments.add_json(prepare)
    prepare.set_defaults(handler=_prepare)


def _prepare(args: argparse.Namespace) -> Outcome:
    """Pack the corpora."""
    from speechkit.data.clips import Corpus
    from speechkit.data.prepare import PrepareLimits, prepare
    from speechkit.train import show_progress

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
    show_progress()
    report = prepare(
        corpora,
        args.out,
        limits=limits,
        crew=arguments.crew(args),
        shard_clips=args.shard_clips,
        pitch=not args.no_pitch,
        speeds=args.speeds,
    )
    return Outcome(text=report.table(), data={"out": str(args.out), **report.to_dict()})


def _align(args: argparse.Namespace) -> Outcome:
    """Align a packed corpus with a trained aligner, or where --train says so with one made now."""
    only_train = ("run", "minutes", "seed")
    if not args.train and any(getattr(args, name) is not None for name in only_train):
        raise ConfigError(
            f"--{', --'.join(only_train)} go with --train: add that, or leave them out."
        )

    from speechkit.core.checkpoint import WEIGHTS
    from speechkit.core.devices import pick_device
    from speechkit.data.align.align import align_corpus
    from speechkit.data.packed import PackedCorpus
    from speechkit.train import show_progress

    device = pick_device(args.device)
    folder: Path = WEIGHTS / "aligner" if args.model is None else args.model
    corpus = PackedCorpus(args.corpus)
    show_progress()
    if args.train:
        run: Path = args.run or Path(f"{corpus.path.with_suffix('')}.aligner")
        report = _train_aligner(args, run)
        if not report.finished:
            return Outcome(text=report.message, data=asdict(report), exit_code=STOPPED)
        folder = run / "last"
    aligned = align_corpus(
        args.corpus,
        folder,
        languages=args.languages,
        crew=arguments.crew(args, device),
    )
    out = [source.path for source in corpus.sources]
    data = {"out": out, "model": str(folder), **asdict(aligned)}
    return Outcome(text="\n".join(aligned.lines()), data=data)


def _train_aligner(args: argparse.Namespace, run: Path) -> TrainReport:
    """Train an aligner on the corpus that is to be aligned."""
    from speechkit.data.align.train import AlignerTraining, train_aligner

    recipe = AlignerTraining()
    given = {
        "minutes": 10.0 if args.minutes is None else args.minutes,
        "seed": args.seed or 0,
        "device": args.device,
        "threads": args.threads,
    }
    recipe = replace(recipe, train=replace(recipe.train, **given))
    return train_aligner(args.corpus, recipe, run, languages=args.languages)


def _encode(args: argparse.Namespace) -> Outcome:
    """Encode corpora."""
    from speechkit.core.devices import pick_device
    from speechkit.facodec.encode_corpus import encode_corpus
    from speechkit.train import show_progress

    device = pick_device(args.device)
    show_progress()
    made = encode_corpus(
        args.corpus,
        args.codec,
        unaligned=args.all,
        batch=args.batch,
        crew=arguments.crew(args, device),
    )
    return Outcome(text=made.text(), data=made.to_json())
