"""From a folder of audio to a table of error rates: units, pre-training, fine-tuning, evaluation.

`python recipes/ssl/all.py CORPUS --size tiny --out runs/ssl`

CORPUS is anything `speechkit prepare` reads, with transcripts for at least some clips, or what it
made. Without --eval a tenth of the speakers is kept for evaluation. Steps that are done are not
done again: give the same command to go on after an interruption.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from speechkit.core.errors import DataError, SpeechkitError
from speechkit.core.files import write_atomically
from speechkit.core.rng import derive, generator
from speechkit.data.index import INDEX_FILE
from speechkit.data.packed import PackedClip, PackedCorpus, write_packed

RECIPES = Path(__file__).resolve().parent
MODELS = ("random", "wav2vec2", "hubert1", "hubert2")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the command line asks for."""

    size: str
    """Which configs: tiny, small or base."""
    out: Path
    """Folder of everything."""
    minutes: float | None
    """Time of each pre-training and each fine-tuning; the configs' own if None."""
    labels: float
    """Minutes of labels."""
    layer: int
    """Layer of the first HuBERT whose clusters the second one learns."""
    clusters: int
    """Units of the second HuBERT."""

    def budget(self) -> list[str]:
        """Return the arguments that set the time of a training."""
        return [] if self.minutes is None else ["--minutes", str(self.minutes)]


def speechkit(*arguments: str | Path) -> None:
    """Run a verb in a process of its own; raise SpeechkitError when it fails."""
    command = [sys.executable, "-m", "speechkit.cli", *map(str, arguments)]
    print("$ speechkit", *map(str, arguments), flush=True)
    if subprocess.run(command, check=False).returncode:
        raise SpeechkitError(f"`speechkit {arguments[0]} {arguments[1]}` failed; see above.")


def split_speakers(corpus: PackedCorpus, train: Path, test: Path, seed: int = 0) -> None:
    """Write two corpora without a common speaker; the second has a tenth of them.

    Raises DataError for fewer than two speakers.
    """
    speakers = list(corpus.speakers)
    if len(speakers) < 2:
        raise DataError("One speaker cannot be split: give --eval with other speakers.")
    order = torch.randperm(len(speakers), generator=generator(derive(seed, "speakers"))).tolist()
    kept = {order[i] for i in range(max(1, round(len(speakers) / 10)))}
    for path, inside in ((train, False), (test, True)):
        write_packed(
            path,
            (
                PackedClip(
                    info=info,
                    pcm_T=(corpus.wave(clip).numpy() * 32768.0).round().astype("int16"),
                    f0_F=corpus.f0(clip).numpy(),
                )
                for clip, info in enumerate(corpus.clips)
                if (corpus.speaker(clip) in kept) == inside
            ),
        )


def make_data(source: Path, evaluation: Path | None, out: Path) -> tuple[Path, Path]:
    """Return corpora to train and to evaluate on."""
    packed = pack(source, out / "whole.corpus")
    if evaluation is not None:
        return packed, pack(evaluation, out / "eval.corpus")
    train, test = out / "train.corpus", out / "eval.corpus"
    if not (test / INDEX_FILE).is_file():
        split_speakers(PackedCorpus(packed), train, test)
    return train, test


def pack(source: Path, out: Path) -> Path:
    """Return the corpus packed; what is packed already is as it is."""
    if source.suffix == ".safetensors" or (source / INDEX_FILE).is_file():
        return source
    speechkit("prepare", source, "-o", out, "--splits", "all", "--workers", "2")
    return out


def pretrain_all(plan: Plan, train: Path) -> dict[str, Path]:
    """Return the model folders of wav2vec 2.0 and of both iterations of HuBERT."""
    out = plan.out
    wav2vec2, hubert = (RECIPES / f"{name}-{plan.size}.toml" for name in ("wav2vec2", "hubert"))
    mfcc, units = out / "mfcc", out / "units"
    speechkit("ssl", "units", train, "-o", mfcc, "--clusters", "100")
    run: list[str | Path] = ["ssl", "pretrain", train, *plan.budget()]
    speechkit(*run, "--config", wav2vec2, "--out", out / "wav2vec2")
    speechkit(*run, "--config", hubert, "--units", mfcc, "--out", out / "hubert1")
    clustered = ("--features", out / "hubert1" / "last", "--layer", str(plan.layer))
    speechkit("ssl", "units", train, "-o", units, "--clusters", str(plan.clusters), *clustered)
    changes = [f"hubert.clusters={plan.clusters}", "hubert.label_rate_hz=50"]
    second = [word for change in changes for word in ("--set", change)]
    speechkit(*run, "--config", hubert, "--units", units, "--out", out / "hubert2", *second)
    return {name: out / name / "last" for name in MODELS[1:]}


def finetune_all(plan: Plan, train: Path, test: Path, models: dict[str, Path]) -> list[str]:
    """Return a table row for each model and for random weights."""
    rows = []
    for name in MODELS:
        tuned, report = plan.out / f"ctc-{name}", plan.out / f"ctc-{name}.json"
        start: list[str | Path] = ["--random-init", RECIPES / f"hubert-{plan.size}.toml"]
        if name in models:
            start = ["--encoder", models[name]]
        if not report.is_file():
            speechkit(
                *("ssl", "finetune", "--corpus", train, "--out", tuned),
                *("--config", RECIPES / f"finetune-{plan.size}.toml"),
                *("--minutes-of-labels", str(plan.labels)),
                *(*start, *plan.budget()),
            )
            speechkit("ssl", "evaluate", tuned / "last", "--corpus", test, "-o", report)
        rows.append(row(name, json.loads(report.read_text(encoding="utf-8"))))
    return rows


def row(name: str, report: dict[str, Any]) -> str:
    """Return one line of the table, with 95 % intervals."""
    cells = [name]
    for rate in (report["letters"], report["words"]):
        low, high = 100 * rate["low"], 100 * rate["high"]
        cells.append(f"{100 * rate['rate']:.1f} ({low:.1f} to {high:.1f})")
    return "| " + " | ".join(cells) + " |"


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--eval", type=Path, help="corpus to evaluate on, with transcripts")
    parser.add_argument("--size", choices=("tiny", "small", "base"), default="small")
    parser.add_argument("--out", type=Path, required=True, help="folder of everything")
    parser.add_argument("--minutes", type=float, help="of each training (the configs' own)")
    parser.add_argument("--labels", type=float, default=60.0, help="minutes of labels (60)")
    parser.add_argument("--layer", type=int, help="of HuBERT 1 to cluster (two thirds up)")
    parser.add_argument("--clusters", type=int, default=100, help="units of HuBERT 2 (100)")
    args = parser.parse_args(arguments)
    layers = {"tiny": 1, "small": 3, "base": 6}
    plan = Plan(
        size=args.size,
        out=args.out,
        minutes=args.minutes,
        labels=args.labels,
        layer=layers[args.size] if args.layer is None else args.layer,
        clusters=args.clusters,
    )
    try:
        plan.out.mkdir(parents=True, exist_ok=True)
        train, test = make_data(args.corpus, args.eval, plan.out)
        rows = finetune_all(plan, train, test, pretrain_all(plan, train))
    except SpeechkitError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    table = "\n".join(["| pre-training | CER % | WER % |", "| --- | --- | --- |", *rows]) + "\n"
    write_atomically(plan.out / "table.md", lambda path: _write_text(path, table))
    print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
