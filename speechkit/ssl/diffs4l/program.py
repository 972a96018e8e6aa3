"""From a corpus to a table (DiffS4L): seed, first encoder, codec, generator, pool, arms.

Every step leaves a file and is not done again where that is there; arms may be run on several
machines that share the folder (`--arms`). Equal updates for all arms.

Out:
    data/            seed, real and test speech; compositions with their units
    first/ codec/ generator/ pool/ gates.json
    runs/MODEL/ARM/SEED/   pretrain, finetune, result.json, test_loss.json
    table.md table.json composition.png
"""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from speechkit.core.checkpoint import WEIGHTS, load_checkpoint
from speechkit.core.config import load_toml, to_dict
from speechkit.core.errors import ConfigError
from speechkit.core.files import write_json, write_text
from speechkit.core.rng import derive, generator
from speechkit.data.index import INDEX_FILE
from speechkit.data.packed import PackedCorpus
from speechkit.diffusion.train_units import UnitGeneratorTraining, train_unit_generator
from speechkit.facodec.encode_corpus import encode_corpus
from speechkit.facodec.train import CodecTraining, train_codec
from speechkit.ssl.augment import augment_corpus
from speechkit.ssl.augment.check import check_pool
from speechkit.ssl.augment.files import Inputs, read_pool
from speechkit.ssl.augment.pool import shards_of_level
from speechkit.ssl.baselines import AugmentConfig as DistortConfig
from speechkit.ssl.checkpoints import Pretrainer, load_encoder, load_model
from speechkit.ssl.clip_loss import clip_losses
from speechkit.ssl.ctc.finetune import FinetuneConfig, finetune
from speechkit.ssl.ctc.model import load_ctc
from speechkit.ssl.ctc.recogniser import Recogniser
from speechkit.ssl.ctc.utterances import packed_utterances
from speechkit.ssl.diffs4l.config import Arm, Experiment
from speechkit.ssl.diffs4l.data import drawn, hours_of, split_test, within, write_clips
from speechkit.ssl.diffs4l.table import (
    LOSS_FILE,
    RESULT_FILE,
    cells,
    markdown,
    plot_composition,
    read_results,
)
from speechkit.ssl.pretrain import PretrainConfig, pretrain
from speechkit.ssl.selection import by_turns
from speechkit.ssl.units import KMeans, KMeansConfig, Units, UnitsConfig, make_units
from speechkit.train import TrainConfig
from speechkit.train.evaluation import BEST_FOLDER, LAST_FOLDER

PHASES = ("vocoder", "acoustic", "finetune")

log = logging.getLogger(__name__)

TrainConfigT = TypeVar("TrainConfigT", bound=TrainConfig)


@dataclass(frozen=True, kw_only=True)
class ExperimentReport:
    """What there is now."""

    out: Path
    """The folder."""
    done: int
    """Runs with a result."""
    of: int
    """Runs of the whole experiment."""
    table: str
    """The table so far."""


class Laboratory:
    """An experiment, its inputs and its folder."""

    def __init__(
        self, experiment: Experiment, home: Path, corpus: Path, test: Path | None, out: Path
    ) -> None:
        """Read all configs, so that what is wrong in them is said before anything runs.

        `home` is the folder that the paths of the experiment start from.
        """
        self.experiment, self.corpus, self.test, self.out = experiment, corpus, test, out
        self.pretrainings = {
            "wav2vec2": load_toml(home / experiment.wav2vec2, PretrainConfig),
            "hubert": load_toml(home / experiment.hubert, PretrainConfig),
        }
        self.finetuning = load_toml(home / experiment.finetune, FinetuneConfig)
        self.generator_recipe = load_toml(home / experiment.unit_generator, UnitGeneratorTraining)
        self.codec_recipe = (
            None if experiment.codec is None else load_toml(home / experiment.codec, CodecTraining)
        )
        hubert = self.pretrainings["hubert"].hubert
        if self.pretrainings["wav2vec2"].wav2vec2 is None or hubert is None:
            raise ConfigError("wav2vec2 and hubert must be configs of these two models.")
        if (hubert.clusters, hubert.label_rate_hz) != (experiment.target_clusters, 100):
            raise ConfigError(
                f"hubert.clusters must be target_clusters ({experiment.target_clusters}) and "
                "hubert.label_rate_hz 100: HuBERT learns MFCC units here."
            )
        self.data = out / "data"
        self.seed, self.real = self.data / "seed.corpus", self.data / "real.corpus"
        self.tested = self.data / "test.corpus"
        self.units, self.targets = self.data / "units", self.data / "mfcc"
        self.codec = WEIGHTS / "codec" if self.codec_recipe is None else out / "codec/finetune/last"
        self.generator, self.pool = out / "generator" / BEST_FOLDER, out / "pool"
        self.gates = out / "gates.json"

    def begin(self) -> None:
        """Make the folder, or check that it is of this experiment; raises ConfigError."""
        self.data.mkdir(parents=True, exist_ok=True)
        path = self.out / "experiment.json"
        content = json.loads(json.dumps(to_dict(self.experiment)))
        # More arms, models or seeds are more rows of the same table.
        fixed = {k: v for k, v in content.items() if k not in ("arms", "models", "seeds")}
        if path.is_file():
            before = json.loads(path.read_text(encoding="utf-8"))
            changed = sorted(k for k in fixed if before.get(k) != fixed[k])
            if changed:
                raise ConfigError(
                    f"{self.out} holds an experiment with another {', '.join(changed)}: choose "
                    "another --out."
                )
        write_json(path, content)

    def make_data(self) -> None:
        """Seed, real and test speech. The seed is a part of the real speech, without its text."""
        if (self.tested / INDEX_FILE).is_file():
            return
        experiment, corpus = self.experiment, PackedCorpus(self.corpus)
        if self.codec_recipe is not None:
            corpus.require_pitch()
        if self.test is None:
            train, test = split_test(corpus, experiment.test_share, 0)
            tested = [(corpus, n) for n in test]
        else:
            other = PackedCorpus(self.test)
            train = list(range(len(corpus)))
            tested = [(other, n) for n, info in enumerate(other.clips) if info["text"]]
        rng = generator(derive(0, "turns"))
        turns = [(corpus, n) for n in by_turns(train, corpus.speaker, rng)]
        seed = within(turns, experiment.seed_hours)
        # Labels are looked for before hours are spent.
        labelled = [(c, n) for c, n in turns if c.clips[n]["text"]]
        if hours_of(labelled) * 60 < experiment.label_minutes:
            raise ConfigError(
                f"label_minutes is {experiment.label_minutes:g}, but the speakers to train on "
                f"have {hours_of(labelled) * 60:.1f} minutes with text: lower it."
            )
        largest = max(arm.hours_1_2 + arm.hours_3 for arm in experiment.arms)
        wanted = experiment.seed_hours + largest
        if any(arm.real for arm in experiment.arms) and hours_of(turns) < 0.95 * wanted:
            log.warning(
                "The arm of real speech has %.2f h, the largest mix %.2f h.",
                hours_of(turns),
                wanted,
            )
        real = within(turns, min(wanted, hours_of(turns)))
        write_clips(self.seed, seed, text=False)
        write_clips(self.data / "labelled.corpus", labelled)
        write_clips(self.real, real)
        write_clips(self.tested, tested)

    def make_units(self) -> None:
        """The first encoder, on the seed alone; units of a layer of it, and MFCC units."""
        experiment = self.experiment
        first = self.out / "first"
        config = self.pretrainings["wav2vec2"]
        lasting = budget(config.train, experiment.first_steps, 0)
        trained = pretrain(self.seed, replace(config, train=lasting), first)
        require_finished(trained.finished, trained.message)
        wanted = UnitsConfig(
            features=first / LAST_FOLDER,
            layer=experiment.first_layer,
            kmeans=KMeansConfig(clusters=experiment.clusters),
        )
        make_units(self.seed, self.units, wanted)
        kmeans = KMeansConfig(clusters=experiment.target_clusters)
        make_units(self.seed, self.targets, UnitsConfig(kmeans=kmeans))

    def make_voice(self) -> None:
        """Codec and generator, on the seed alone unless the codec is the bundled one."""
        experiment = self.experiment
        if self.codec_recipe is not None:
            init = None
            for phase, steps in zip(PHASES, experiment.codec_steps, strict=True):
                out = self.out / "codec" / phase
                recipe = replace(
                    self.codec_recipe,
                    train=replace(self.codec_recipe.train, steps=steps, minutes=None),
                )
                trained = train_codec(phase, recipe, self.seed, out, init=init)
                require_finished(trained.finished, trained.message)
                init = out / "last"
        encode_corpus(self.seed, self.codec, unaligned=True)
        recipe_of_units = replace(
            self.generator_recipe,
            train=replace(
                self.generator_recipe.train, steps=experiment.generator_steps, minutes=None
            ),
        )
        trained = train_unit_generator(
            recipe_of_units,
            self.seed,
            partial(Units, self.units),
            self.codec,
            self.out / "generator",
        )
        require_finished(trained.finished, trained.message)

    def make_pool(self) -> None:
        """Synthetic speech of all levels that are asked for."""
        inputs = Inputs(
            corpus=self.seed,
            units=self.units,
            codec=self.codec,
            generator=self.generator,
        )
        augment_corpus(inputs, self.experiment.augment, self.pool)

    def make_gates(self) -> None:
        """What the pool is worth, all but the similarity of voices, which needs a verifier.

        A closed gate is told and noted in the table; it stops nothing, for a bad pool is a result.
        """
        if self.gates.is_file():
            return
        features = UnitsConfig(
            features=self.out / "first" / LAST_FOLDER, layer=self.experiment.first_layer
        ).load_features()
        kmeans, _ = KMeans.load(self.units / "kmeans")
        report = check_pool(self.pool, self.seed, self.units, kmeans, features, None)
        log.info("gates of the pool:\n%s", report.text())
        write_json(self.gates, report.to_json())

    def speech_of(self, arm: Arm, seed: int) -> tuple[Path, Path]:
        """The corpus that an arm hears, and its MFCC units by the seed's clusters."""
        if arm.real:
            speech = self.real
        elif not (arm.hours_1_2 or arm.hours_3):
            speech = self.seed
        else:
            speech = self.data / f"{arm.composition}-{seed}.corpus"
            if not (speech / INDEX_FILE).is_file():
                base = PackedCorpus(self.seed)
                places = [(base, n) for n in range(len(base))]
                for levels, hours in (((1, 2), arm.hours_1_2), ((3,), arm.hours_3)):
                    shards = read_pool(self.pool)["shards"]
                    parts = [p for k in levels for p in shards_of_level(self.pool, k, shards)]
                    places += drawn(parts, hours, seed)
                write_clips(speech, places)
        # In the folder of the seed's own: by the same centroids.
        make_units(speech, self.targets, kmeans=self.targets / "kmeans")
        return speech, self.targets

    def run(self, model: str, arm: Arm, seed: int) -> None:
        """Pre-train, fine-tune, test; nothing where the result is there."""
        folder = self.out / "runs" / model / arm.name / str(seed)
        if (folder / RESULT_FILE).is_file():
            return
        speech, units = self.speech_of(arm, seed)
        experiment, config = self.experiment, self.pretrainings[model]
        distort = replace(config.data.augment, kind=arm.distort)
        assert isinstance(distort, DistortConfig)
        config = replace(
            config,
            data=replace(config.data, augment=distort),
            train=budget(config.train, experiment.steps, seed),
        )
        trained = pretrain(
            speech, config, folder / "pretrain", units=units if model == "hubert" else None
        )
        require_finished(trained.finished, trained.message)
        tuning = replace(
            self.finetuning,
            clips=replace(self.finetuning.clips, minutes=experiment.label_minutes),
            train=budget(self.finetuning.train, experiment.finetune_steps, seed),
        )
        tuned = finetune(
            self.data / "labelled.corpus",
            tuning,
            folder / "finetune",
            encoder=load_encoder(folder / "pretrain" / LAST_FOLDER),
            source=load_checkpoint(folder / "pretrain" / LAST_FOLDER).sha256,
        )
        require_finished(tuned.run.finished, tuned.run.message)
        heard = Recogniser(load_ctc(folder / "finetune" / LAST_FOLDER)).evaluate(
            packed_utterances(PackedCorpus(self.tested))
        )
        corpus = PackedCorpus(speech)
        result = {
            "model": model,
            "arm": arm.name,
            "seed": seed,
            "wer": heard.score.words.rate,
            "cer": heard.score.characters.rate,
            "updates": trained.step,
            "hours": hours_of([(corpus, n) for n in range(len(corpus))]),
            "folder": str(folder.relative_to(self.out)),
            "commit": commit(),
            "clips": [asdict(clip) for clip in heard.clips],
        }
        write_json(folder / RESULT_FILE, result)

    def measure_loss(self, model: str, arm: Arm, seed: int) -> None:
        """The loss of a pre-trained encoder on the test clips, the same for all arms."""
        folder = self.out / "runs" / model / arm.name / str(seed)
        if (folder / LOSS_FILE).is_file():
            return
        corpus, units = PackedCorpus(self.tested), None
        if model == "hubert":
            make_units(self.tested, self.targets, kmeans=self.targets / "kmeans")
            units = Units(self.targets, corpus)
        trained = load_model(folder / "pretrain" / LAST_FOLDER)
        assert isinstance(trained, Pretrainer)
        found = clip_losses(trained, corpus, self.pretrainings[model].data, units)
        write_json(folder / LOSS_FILE, [asdict(clip) for clip in found])

    def table(self) -> str:
        """Write the table of the results so far, and the plot; returns it."""
        found = cells(read_results(self.out / "runs"))
        order = [arm.name for arm in self.experiment.arms]
        found.sort(key=lambda c: (c.model, order.index(c.arm) if c.arm in order else len(order)))
        notes = []
        if self.codec_recipe is None:
            notes.append("The codec saw speech and transcripts beyond the seed.")
        shares = {
            arm.name: arm.hours_3 / (arm.hours_1_2 + arm.hours_3)
            for arm in self.experiment.arms
            if arm.hours_1_2 + arm.hours_3 and arm.distort == "none"
        }
        if self.gates.is_file():
            gates = json.loads(self.gates.read_text(encoding="utf-8"))["gates"]
            notes += [
                f"Closed gate of the pool: {gate['name']}: {gate['value']:.3f}, limit "
                f"{gate['limit']:.3f}."
                for gate in gates
                if not gate["passed"]
            ]
        text = markdown(found, notes)
        write_text(self.out / "table.md", text)
        write_json(self.out / "table.json", [asdict(cell) for cell in found])
        if any(cell.arm in shares for cell in found):
            plot_composition(found, shares, self.out / "composition.png")
        return text


def run_experiment(
    experiment: Experiment,
    home: Path,
    corpus: Path,
    out: Path,
    *,
    test: Path | None = None,
    arms: Sequence[str] | None = None,
) -> ExperimentReport:
    """Do what is not done yet, of these arms (all); write the table; return a report.

    Raises ConfigError and DataError before anything is trained where something does not fit.
    """
    names = [arm.name for arm in experiment.arms]
    if unknown := sorted(set(arms or ()) - set(names)):
        raise ConfigError(f"There is no arm {', '.join(unknown)}: give any of {', '.join(names)}.")
    laboratory = Laboratory(experiment, home, corpus, test, out)
    laboratory.begin()
    laboratory.make_data()
    laboratory.make_units()
    wanted = [arm for arm in experiment.arms if arms is None or arm.name in arms]
    if any(arm.hours_1_2 or arm.hours_3 for arm in wanted):
        laboratory.make_voice()
        laboratory.make_pool()
        laboratory.make_gates()
    # Seeds outermost: a first row of every arm comes before a second seed of any.
    for seed in experiment.seeds:
        for arm in wanted:
            for model in experiment.models:
                laboratory.run(model, arm, seed)
                laboratory.measure_loss(model, arm, seed)
    table = laboratory.table()
    return ExperimentReport(
        out=out,
        done=len(read_results(out / "runs")),
        of=len(experiment.arms) * len(experiment.models) * len(experiment.seeds),
        table=table,
    )


def budget(config: TrainConfigT, steps: int, seed: int) -> TrainConfigT:
    """A run of so many updates, and never of minutes: those would rank the machine's load."""
    return replace(config, minutes=None, steps=steps, seed=seed)


def require_finished(finished: bool, message: str) -> None:
    """Raise KeyboardInterrupt where a signal ended a training: nothing after it may begin."""
    if not finished:
        log.warning("%s", message)
        raise KeyboardInterrupt


def commit() -> str:
    """The commit of the code that runs, with a + where files differ from it; or "unknown"."""
    home = Path(__file__).resolve().parent
    answers = []
    for words in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "-uno"]):
        try:
            done = subprocess.run(
                ["git", "-C", str(home), *words], capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            return "unknown"
        answers.append(done.stdout.strip())
    return answers[0] + ("+" if answers[1] else "")
