"""Train an aligner on a packed corpus with transcripts.

`python -m speechkit.data.align.train --data corpus.safetensors --out runs/aligner --minutes 10`
Run the same command again to go on after an interruption.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from speechkit.core.errors import SpeechkitError
from speechkit.data.align.corpus import FeatureCache, read_transcripts
from speechkit.data.align.evaluate import evaluate, format_table, read_truth, truth_lag_ms
from speechkit.data.align.model import Aligner, AlignerConfig, load_aligner
from speechkit.data.align.phones import read_phones
from speechkit.data.align.task import AlignTask, AlignTaskConfig
from speechkit.data.packed import PackedCorpus
from speechkit.text import DEFAULT_VOCABULARY, Frontend
from speechkit.train.config import TrainConfig
from speechkit.train.loop import train


def train_aligner(
    data: Path,
    out: Path,
    config: TrainConfig,
    *,
    languages: Sequence[str] = ("en",),
    phones: Path | None = None,
    truth: tuple[Path, Path] | None = None,
    task_config: AlignTaskConfig | None = None,
    model_config: AlignerConfig | None = None,
) -> Aligner:
    """Train on all clips of `data` with text and return the aligner of `out/last`.

    `phones` is a file of `speechkit.data.align.phones`; without it the front end runs here.

    `truth` is a packed corpus and a JSONL file with known phone times; it is only measured,
    never trained on or selected by. Raises DataError when no clip can be aligned.
    """
    corpus = PackedCorpus(data)
    model_config = model_config or AlignerConfig(symbols=DEFAULT_VOCABULARY.symbols)
    model = Aligner(model_config)
    phones_of = Frontend().phones if phones is None else read_phones(phones)
    transcripts = read_transcripts(corpus, model.classes, phones_of, languages)
    print(f"{len(transcripts.utterances)} clips to train on; left out: {transcripts.skipped}")
    figures = None if truth is None else _Truth(*truth, model)
    features = FeatureCache(corpus, model_config)
    task = AlignTask(model, transcripts, features, task_config or AlignTaskConfig(), figures)
    train(task, config, out)
    aligner = load_aligner(out / "last")
    if figures is not None:
        print(figures.report(aligner))
    return aligner


class _Truth:
    """Boundary errors against a corpus with known phone times."""

    def __init__(self, data: Path, times: Path, model: Aligner) -> None:
        corpus = PackedCorpus(data)
        self._features = FeatureCache(corpus, model.config)
        self._truth = read_truth(times, corpus, model.classes)

    def __call__(self, model: Aligner) -> dict[str, float]:
        return evaluate(model, self._features, self._truth)

    def report(self, model: Aligner) -> str:
        """The errors as they are, and with the truth's own lag against its sound taken off."""
        lag_ms = truth_lag_ms(model, self._features, self._truth)
        plain = format_table(self(model))
        if not math.isfinite(lag_ms):
            return plain
        shifted = format_table(evaluate(model, self._features, self._truth, lag_ms))
        return f"{plain}\nthe truth is {lag_ms:.0f} ms late; with that taken off:\n{shifted}"


def default_config(minutes: float | None, steps: int | None = None, seed: int = 0) -> TrainConfig:
    """Optimiser settings that suit the aligner on a CPU with AVX512-BF16 or on a GPU."""
    return TrainConfig(
        minutes=minutes,
        steps=steps,
        lr=2e-3,
        betas=(0.9, 0.98),
        weight_decay=0.01,
        warmup_steps=40,
        decay="trapezoid",
        decay_share=0.4,
        final_lr_share=0.02,
        clip_norm=1.0,
        ema_decay=0.99,
        amp="auto",
        log_every_steps=20,
        validate_every_steps=200,
        save_every_minutes=2.0,
        seed=seed,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="speechkit.data.align.train", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="packed corpus")
    parser.add_argument("--out", type=Path, required=True, help="folder for model and metrics")
    parser.add_argument("--minutes", type=float, help="wall-clock budget (default 10)")
    parser.add_argument("--steps", type=int, help="budget in steps instead")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--languages", nargs="*", default=["en"], help="none given: all")
    parser.add_argument("--phones", type=Path, help="file of speechkit.data.align.phones")
    parser.add_argument("--truth", type=Path, help="packed corpus with known phone times")
    parser.add_argument("--truth-times", type=Path, help="JSONL: id, phones, frames_50hz")
    options = parser.parse_args(arguments)
    if (options.truth is None) != (options.truth_times is None):
        parser.error("--truth and --truth-times go together")
    minutes = options.minutes if options.minutes or options.steps else 10.0
    truth = None if options.truth is None else (options.truth, options.truth_times)
    try:
        train_aligner(
            options.data,
            options.out,
            default_config(minutes, options.steps, options.seed),
            languages=options.languages,
            phones=options.phones,
            truth=truth,
        )
    except SpeechkitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
