"""The verb that times: `bench`.

Shapes: T samples.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechkit.cli import arguments, inputs
from speechkit.cli.output import Outcome

if TYPE_CHECKING:
    from speechkit.core.results import Speech
    from speechkit.tts import ZeroShotTTS


def add_verbs(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add `bench`."""
    bench = verbs.add_parser("bench", help="speed and memory of speaking or coding, stages apart")
    bench.add_argument(
        "what",
        nargs="?",
        choices=("tts", "codec"),
        default="tts",
        help="speak two texts, or encode and decode the prompt (default tts)",
    )
    bench.add_argument("--prompt", type=Path, required=True, metavar="FILE", help="as for say")
    bench.add_argument(
        "--codec",
        type=Path,
        metavar="FOLDER",
        help="with codec: folder of the codec (default: the bundled one)",
    )
    bench.add_argument(
        "--runs", type=arguments.whole_number(1, 1000), default=5, help="of each text (default 5)"
    )
    arguments.add_model(bench)
    arguments.add_sampling(bench)
    arguments.add_seed(bench)
    arguments.add_threads(bench)
    arguments.add_json(bench)
    bench.set_defaults(handler=_bench)


def _bench(args: argparse.Namespace) -> Outcome:
    """Time synthesis or coding."""
    return _bench_codec(args) if args.what == "codec" else _bench_tts(args)


def _bench_codec(args: argparse.Namespace) -> Outcome:
    """Time encoding and decoding."""
    from speechkit.core.audio import read_audio
    from speechkit.evaluate import bench_codec
    from speechkit.facodec.pretrained import load_pretrained

    arguments.use_threads(args.threads)
    found = load_pretrained(args.codec)
    codec = found.codec
    bench = bench_codec(
        codec, read_audio(args.prompt, codec.sample_rate_hz), runs=args.runs, seed=args.seed
    )
    facts: dict[str, Any] = {"weights": found.name, "trained": found.trained}
    return Outcome(text=f"{bench.text()}\n{found.name}", data={**bench.to_json(), **facts})


def _bench_tts(args: argparse.Namespace) -> Outcome:
    """Time synthesis."""
    from speechkit.evaluate import bench_tts

    source = inputs.read_source(args.prompt)
    arguments.use_threads(args.threads)
    started = time.perf_counter()
    tts: ZeroShotTTS = inputs.load_tts(args.model, {})
    loaded = time.perf_counter()
    voice = inputs.make_voice(tts, args.prompt, source, None)
    prompt_seconds = time.perf_counter() - loaded

    def speak(text: str, seed: int) -> Speech:
        return tts.synthesize(text, voice, seed=seed, steps=args.steps)

    bench = bench_tts(speak, runs=args.runs, seed=args.seed)
    times = {"load_seconds": loaded - started, "prompt_seconds": prompt_seconds}
    facts = {"weights": tts.weights, "trained": tts.trained}
    return Outcome(
        text=f"{bench.text()}\nloading {loaded - started:.2f} s, prompt {prompt_seconds:.2f} s, "
        f"{tts.weights}",
        data={**bench.to_json(), **times, **facts},
    )
