"""The verbs that make models: `train` with a model or `voice`, the whole way to one; `release`.

`speechkit train` also runs under torchrun (`torchrun … -m speechkit train …`) and srun: every
process trains, the first one reports.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from speechkit.cli import arguments
from speechkit.cli.data import STOPPED
from speechkit.cli.output import Outcome
from speechkit.train import add_training_arguments, config_from_args

if TYPE_CHECKING:
    from speechkit.train import TrainReport

RecipeT = TypeVar("RecipeT")

CODEC_PHASES = {
    "vocoder": "the vocoder on real log-mel",
    "acoustic": "everything else: encoder, codebooks, timbre, decoder",
    "decoder": "the decoder against a discriminator",
    "finetune": "the vocoder on the codec's own log-mel",
    "adversarial": "the vocoder against discriminators",
    "paper": "the paper's codec, all of it",
}
"""Phases of the codec for the help; the training knows for itself which there are."""


def add_verbs(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add the two verbs."""
    add_train(verbs)
    add_release(verbs)


def add_train(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add `train` with its models."""
    train = verbs.add_parser("train", help="train the aligner, the codec or the generator")
    models = train.add_subparsers(title="models", metavar="MODEL", required=True)

    aligner = models.add_parser("aligner", help="when is each phone spoken?")
    _add_data(aligner)
    aligner.add_argument(
        "--languages", nargs="+", default=["en"], metavar="CODE", help="of the clips to take (en)"
    )
    _add_training(aligner, _train_aligner)

    codec = models.add_parser(
        "codec",
        help="speech as codes and back; several phases",
        description="Phases: "
        + "; ".join(f"{name} trains {what}" for name, what in CODEC_PHASES.items())
        + ".",
    )
    codec.add_argument("phase", metavar="PHASE", help=", ".join(CODEC_PHASES))
    _add_data(codec)
    codec.add_argument("--init", type=Path, metavar="FOLDER", help="export of an earlier phase")
    _add_training(codec, _train_codec)

    _add_helpers(models)
    _add_generators(models)
    _add_voice(models)


def _add_generators(models: arguments.Verbs[arguments.Parser]) -> None:
    """Add `train generator` and `train unit-generator`."""
    generator = models.add_parser("generator", help="phones and a prompt as codes")
    _add_data(generator)
    generator.add_argument(
        "--codec", type=Path, required=True, metavar="FOLDER", help="that made the codes"
    )
    generator.add_argument(
        "--init", type=Path, metavar="FOLDER", help="export of an earlier run to go on from"
    )
    _add_training(generator, _train_generator)

    units = models.add_parser(
        "unit-generator", help="units of an SSL encoder and a voice as codes: needs no text"
    )
    _add_data(units)
    units.add_argument(
        "--units", type=Path, required=True, metavar="FOLDER", help="of the corpus, from ssl units"
    )
    units.add_argument(
        "--codec", type=Path, required=True, metavar="FOLDER", help="that made the codes"
    )
    units.add_argument(
        "--init", type=Path, metavar="FOLDER", help="export of an earlier run to go on from"
    )
    _add_training(units, _train_unit_generator)


def _add_voice(models: arguments.Verbs[arguments.Parser]) -> None:
    """Add `train voice`."""
    voice = models.add_parser(
        "voice",
        help="from a folder of recordings with texts to a sentence: all steps in one",
        description="Prepares, aligns and encodes one speaker's recordings, fine-tunes the "
        "generator on them (200 steps, unless --steps or --minutes say more), measures before and "
        "after on recordings held out, and speaks. The same command goes on where it stopped.",
    )
    voice.add_argument(
        "folder",
        type=Path,
        metavar="FOLDER",
        help="recordings, each with a .txt of the same name; or a table, as prepare takes",
    )
    voice.add_argument("--text", help="what to say at the end")
    voice.add_argument("--speaker", help="name of the speaker (that of the folder)")
    voice.add_argument(
        "--asr", default="base", metavar="NAME", help="recogniser for word errors, or none (base)"
    )
    arguments.add_model(voice)
    _add_training(voice, _train_voice)


def _add_data(parser: argparse.ArgumentParser) -> None:
    """Add --data."""
    arguments.add_corpora(parser, "--data", ", with its sidecars")


def _add_training(
    parser: argparse.ArgumentParser, handler: Callable[[argparse.Namespace], Outcome]
) -> None:
    """Add what all trainings take, and the handler."""
    add_training_arguments(parser)
    arguments.add_json(parser)
    parser.set_defaults(handler=handler)


def _add_helpers(models: arguments.Verbs[arguments.Parser]) -> None:
    """Add what recipes of the codec's decoder want beside the corpus."""
    statistics = models.add_parser(
        "statistics",
        help="what teachers know of each clip: for recipes of the codec's decoder with teachers",
        description="Writes a sidecar beside each shard, about 0.1 s a clip; run again, it goes "
        "on where it stopped. Such recipes train on the clips that are known.",
    )
    arguments.add_corpora(statistics)
    statistics.add_argument(
        "--clips",
        type=arguments.whole_number(1, 10**9),
        metavar="N",
        help="how many to know in all, dealt out among the speakers (default: all)",
    )
    arguments.add_work(statistics)
    arguments.add_device(statistics, generator=False)
    arguments.add_json(statistics)
    statistics.set_defaults(handler=_train_statistics)

    redraw = models.add_parser(
        "redraw",
        help="codes of clips as a generator draws them: for the codec's decoder to forgive",
        description="Writes a sidecar beside each shard of corpora that are aligned and encoded.",
    )
    arguments.add_corpora(redraw)
    redraw.add_argument(
        "--generator", type=Path, required=True, metavar="FOLDER", help="that draws them"
    )
    redraw.add_argument(
        "--minutes",
        type=arguments.number(0.0, 1e6),
        required=True,
        metavar="N",
        help="how long to draw",
    )
    redraw.add_argument("--seed", type=arguments.whole_number(0, 2**63 - 1), default=0)
    arguments.add_json(redraw)
    redraw.set_defaults(handler=_redraw)


def add_release(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add `release`."""
    release = verbs.add_parser(
        "release", help="put a trained model where say --model looks, in half precision"
    )
    release.add_argument("source", type=Path, help="export of a training run: its best or last")
    release.add_argument("target", type=Path, help="folder to write: …/codec or …/generator")
    release.add_argument(
        "--training",
        type=_json_object,
        metavar="JSON",
        help='what to record about the training, such as {"minutes": 45} (default: the figures '
        "beside the export)",
    )
    arguments.add_json(release)
    release.set_defaults(handler=_release)


def _json_object(text: str) -> dict[str, Any]:
    """An argument type: a JSON object."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'{text!r} is not a JSON object, such as {{"hours": 1}}')
    return value


def recipe_of(args: argparse.Namespace, cls: type[RecipeT]) -> RecipeT:
    """The recipe that was asked for; from now on the first process shows progress."""
    from speechkit.train import show_progress
    from speechkit.train.distributed import read_launch

    recipe = config_from_args(args, cls)
    if read_launch().rank == 0:
        show_progress()
    return recipe


def outcome_of(report: TrainReport) -> Outcome:
    """What the first process says at the end, and the others do not."""
    from speechkit.train.distributed import read_launch

    if read_launch().rank:
        return Outcome(text="", data={})
    return Outcome(text=report.message, data=asdict(report))


def _train_aligner(args: argparse.Namespace) -> Outcome:
    """Train the aligner."""
    from speechkit.data.align.train import AlignerTraining, train_aligner

    recipe = recipe_of(args, AlignerTraining)
    return outcome_of(train_aligner(args.data, recipe, args.out, languages=args.languages))


def _train_codec(args: argparse.Namespace) -> Outcome:
    """Train one phase of a codec."""
    from speechkit.facodec.train import CodecTraining, train_codec

    recipe = recipe_of(args, CodecTraining)
    return outcome_of(train_codec(args.phase, recipe, args.data, args.out, init=args.init))


def _train_statistics(args: argparse.Namespace) -> Outcome:
    """Work out what teachers know of each clip."""
    from speechkit.core.devices import pick_device
    from speechkit.data.packed import PackedCorpus
    from speechkit.facodec.small.config import FACodecConfig
    from speechkit.facodec.training.statistics import write_statistics
    from speechkit.facodec.training.teachers import load_verifier
    from speechkit.train import show_progress

    corpus, device = PackedCorpus(args.corpus), pick_device(args.device)
    show_progress()
    written = write_statistics(
        corpus,
        FACodecConfig(),
        load_verifier,
        args.clips,
        crew=arguments.crew(args, device),
    )
    return Outcome(
        text=f"{corpus}: {written} clips more",
        data={"out": [source.path for source in corpus.sources], "new": written},
    )


def _redraw(args: argparse.Namespace) -> Outcome:
    """Draw codes of clips of a corpus."""
    from speechkit.diffusion.redraw import redraw_corpus
    from speechkit.train import show_progress

    show_progress()
    made = redraw_corpus(args.corpus, args.generator, minutes=args.minutes, seed=args.seed)
    return Outcome(text=made.text(), data=made.to_json())


def _train_generator(args: argparse.Namespace) -> Outcome:
    """Train the generator."""
    from speechkit.diffusion.train import GeneratorTraining, train_generator

    recipe = recipe_of(args, GeneratorTraining)
    return outcome_of(train_generator(recipe, args.data, args.codec, args.out, init=args.init))


def _train_voice(args: argparse.Namespace) -> Outcome:
    """Train a voice on a folder of recordings."""
    from speechkit.evaluate.scorers import ScorerConfig, build_scorers
    from speechkit.voice_training.program import SENTENCE, VoiceTraining, train_voice

    measures = ScorerConfig(asr=args.asr, dnsmos=False, reference=False)
    report = train_voice(
        args.folder,
        args.out,
        recipe_of(args, VoiceTraining),
        scorers=partial(build_scorers, measures),
        model=args.model,
        text=SENTENCE if args.text is None else args.text,
        speaker=args.speaker,
    )
    exit_code = 0 if report.finished else STOPPED
    return Outcome(text=report.text(), data=asdict(report), exit_code=exit_code)


def _train_unit_generator(args: argparse.Namespace) -> Outcome:
    """Train the generator that speaks from units."""
    from speechkit.diffusion.train_units import UnitGeneratorTraining, train_unit_generator
    from speechkit.ssl.units.file import Units

    recipe = recipe_of(args, UnitGeneratorTraining)
    report = train_unit_generator(
        recipe, args.data, partial(Units, args.units), args.codec, args.out, init=args.init
    )
    return outcome_of(report)


def _release(args: argparse.Namespace) -> Outcome:
    """Write a release."""
    from speechkit.train.release import release

    release(args.source, args.target, args.training)
    return Outcome(text=f"released {args.source} as {args.target}", data={"out": str(args.target)})
