"""The verbs `ssl transcribe`, `ssl evaluate` and `ssl ngram`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from speechkit.cli import arguments, inputs, output
from speechkit.cli.output import Outcome
from speechkit.core.errors import AudioError, ConfigError, DataError

if TYPE_CHECKING:
    from speechkit.ssl.ctc.recogniser import Recogniser

REPORT_SUFFIX = ".json"


def add_verbs(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add the three verbs."""
    transcribe = verbs.add_parser("transcribe", help="write down what recordings say")
    _add_model(transcribe)
    transcribe.add_argument("files", nargs="+", type=Path, metavar="FILE", help="recordings")
    arguments.add_threads(transcribe)
    arguments.add_json(transcribe)
    transcribe.set_defaults(handler=_transcribe)

    evaluate = verbs.add_parser("evaluate", help="word and character error rates of a recogniser")
    _add_model(evaluate)
    source = evaluate.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--corpus", nargs="+", metavar="CORPUS", help="folder from prepare, with text, or several"
    )
    source.add_argument(
        "--eval-manifest",
        type=Path,
        metavar="TABLE",
        help="manifest.jsonl, metadata.csv or corpus folder with text",
    )
    evaluate.add_argument("--splits", nargs="+", metavar="NAME", help="of the corpus, to take")
    evaluate.add_argument("--languages", nargs="+", metavar="CODE", help="of the corpus, to take")
    evaluate.add_argument("-o", "--out", type=Path, help="report with all texts, ending in .json")
    arguments.add_seed(evaluate)
    arguments.add_threads(evaluate)
    arguments.add_json(evaluate)
    evaluate.set_defaults(handler=_evaluate)

    ngram = verbs.add_parser("ngram", help="make a language model for the recogniser from text")
    ngram.add_argument(
        "texts", nargs="+", type=Path, metavar="TEXT", help="text files, a sentence a line"
    )
    ngram.add_argument("-o", "--out", type=Path, required=True, help="new model (.arpa)")
    ngram.add_argument(
        "--unit", choices=("word", "character"), default="word", help="tokens (word)"
    )
    ngram.add_argument(
        "--order", type=arguments.whole_number(2, 6), help="longest n-gram (word 3, letter 6)"
    )
    ngram.add_argument(
        "--min-count",
        type=arguments.whole_number(1, 10**6),
        default=1,
        help="rarer tokens count as unknown (1)",
    )
    arguments.add_json(ngram)
    ngram.set_defaults(handler=_ngram)


def _add_model(parser: arguments.Parser) -> None:
    """Add the recogniser and how it searches."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="folder from ssl finetune")
    parser.add_argument(
        "--lm",
        type=Path,
        metavar="MODEL",
        help="ARPA file, from ssl ngram or elsewhere, or a KenLM binary",
    )
    parser.add_argument(
        "--lm-unit", choices=("word", "character"), default="word", help="its tokens (word)"
    )
    parser.add_argument(
        "--lm-words",
        type=Path,
        metavar="FILE",
        help="words that may be written, one a line; a KenLM binary needs them (all of the ARPA)",
    )
    parser.add_argument(
        "--beam",
        type=arguments.whole_number(1, 10_000),
        help="prefixes kept (1: greedy; 50 with a language model)",
    )
    weight = arguments.number(0.0, 100.0)
    parser.add_argument("--lm-weight", type=weight, help="factor on the language model (1)")
    parser.add_argument(
        "--word-score", type=arguments.number(-100.0, 100.0), help="added for each word (0)"
    )
    arguments.add_device(parser, generator=False)


def _recogniser(args: argparse.Namespace) -> Recogniser:
    """Load the model and the language model."""
    from speechkit.core.devices import pick_device
    from speechkit.ssl.ctc.decoding import DecodingConfig, LanguageModel
    from speechkit.ssl.ctc.model import load_ctc
    from speechkit.ssl.ctc.recogniser import Recogniser

    if args.lm is None and (args.lm_weight is not None or args.lm_words is not None):
        raise ConfigError("--lm-weight and --lm-words go with a language model: give it with --lm.")
    language_model = None
    if args.lm is not None:
        language_model = LanguageModel(path=args.lm, unit=args.lm_unit, words=args.lm_words)
    given = {
        "beam": args.beam or (None if language_model is None else 50),
        "lm_weight": args.lm_weight,
        "word_score": args.word_score,
    }
    decoding = DecodingConfig(**{k: v for k, v in given.items() if v is not None})
    arguments.use_threads(args.threads)
    model = load_ctc(args.model).to(pick_device(args.device))
    return Recogniser(model, decoding, language_model)


def _transcribe(args: argparse.Namespace) -> Outcome:
    """Transcribe recordings."""
    from speechkit.core.audio import read_audio

    for path in args.files:
        if not path.is_file():
            raise AudioError(f"There is no recording {path}: check the path.")
    recogniser = _recogniser(args)
    texts = [(str(path), recogniser.transcribe(read_audio(path))) for path in args.files]
    lines = [text if len(texts) == 1 else f"{path}: {text}" for path, text in texts]
    data = {"model": str(args.model), "texts": [{"file": p, "text": t} for p, t in texts]}
    return Outcome(text="\n".join(lines), data=data)


def _evaluate(args: argparse.Namespace) -> Outcome:
    """Score a recogniser."""
    if args.out is not None:
        inputs.check_output(args.out, (REPORT_SUFFIX,))
    if args.eval_manifest is not None and (args.splits or args.languages):
        raise ConfigError("--splits and --languages choose clips of a packed --corpus.")

    from speechkit.core.files import write_json
    from speechkit.data.packed import PackedCorpus
    from speechkit.ssl.ctc.utterances import listed_utterances, packed_utterances

    if args.corpus is not None:
        utterances = packed_utterances(PackedCorpus(args.corpus), inputs.selection(args))
    else:
        utterances = listed_utterances(args.eval_manifest)
    evaluation = _recogniser(args).evaluate(
        utterances, seed=args.seed, progress=output.count_progress
    )
    report = {
        "model": str(args.model),
        "corpus": str(args.eval_manifest or " ".join(args.corpus)),
        "lm": None if args.lm is None else str(args.lm),
        **evaluation.to_json(),
    }
    if args.out is not None:
        write_json(args.out, report)
    return Outcome(text=evaluation.text(), data=report)


def _ngram(args: argparse.Namespace) -> Outcome:
    """Train a language model."""
    inputs.check_output(args.out, (".arpa",), *args.texts)

    from speechkit.core.files import write_text
    from speechkit.ssl.ctc.characters import normalise, spelled
    from speechkit.ssl.ctc.ngram import train_ngram

    lines: list[str] = []
    for path in args.texts:
        try:
            lines += path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"Cannot read the text {path} as UTF-8: {error}.") from error
    texts = [text for line in lines if (text := normalise(line))]
    characters = args.unit == "character"
    order = args.order or (6 if characters else 3)
    sentences = [spelled(text) if characters else text.split() for text in texts]
    model = train_ngram(sentences, order, args.min_count)
    write_text(args.out, model.arpa)
    tokens = len(model.vocabulary) - 3
    return Outcome(
        text=f"{args.unit} {order}-gram of {len(texts)} sentences, {tokens} tokens: {args.out}",
        data={
            "out": str(args.out),
            "unit": args.unit,
            "order": order,
            "sentences": len(texts),
            "vocabulary": tokens,
        },
    )
