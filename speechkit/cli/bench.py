"""The verb that times: `bench`.

Shapes: T samples.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechkit.cli import arguments, inputs
from speechkit.cli.output import Outcome

if TYPE_CHECKING:
    from speechkit.tts import ZeroShotTTS


def add_verbs(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add `bench`."""
    bench = verbs.add_parser("bench", help="speed and memory of speaking or coding, stages apart")
    bench.add_argument(
        "what",
        nargs="?",
        choices=("tts", "codec"),
        default="tts",
        help="speak texts alone, streamed and in a batch, or encode and decode the prompt "
        "(default tts)",
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
    arguments.add_device(bench, generator=True)
    bench.add_argument(
        "--compare",
        choices=("bfloat16", "float16"),
        help="with tts: time this number format beside float32, and say how often it draws the "
        "same codes",
    )
    bench.add_argument(
        "--compile",
        action="store_true",
        help="with tts: the generator's networks through torch.compile",
    )
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
    found = load_pretrained(args.codec, device=args.device)
    codec = found.codec
    bench = bench_codec(
        codec, read_audio(args.prompt, codec.sample_rate_hz), runs=args.runs, seed=args.seed
    )
    facts: dict[str, Any] = {"weights": found.name, "trained": found.trained}
    return Outcome(text=f"{bench.text()}\n{found.name}", data={**bench.to_json(), **facts})


def _bench_tts(args: argparse.Namespace) -> Outcome:
    """Time synthesis."""
    from speechkit.evaluate import bench_model
    from speechkit.evaluate.bench import BENCH_TEXTS
    from speechkit.evaluate.precision import code_agreement

    source = inputs.read_source(args.prompt)
    arguments.use_threads(args.threads)
    started = time.perf_counter()
    dtype = "float32" if args.compare else args.dtype
    tts: ZeroShotTTS = inputs.load_tts(args.model, {}, device=args.device, dtype=dtype)
    if args.compile:
        for network in (tts.generator.frame, tts.generator.duration):
            network.compile(dynamic=True)  # type: ignore[no-untyped-call]
    loaded = time.perf_counter()
    voice = inputs.make_voice(tts, args.prompt, source, None)
    prompt_seconds = time.perf_counter() - loaded
    settings = {
        "runs": args.runs,
        "seed": args.seed,
        "steps": args.steps,
        "candidates": args.candidates,
    }
    bench = bench_model(tts, voice, **settings)
    lines = [f"{tts.device}, {str(tts.dtype).removeprefix('torch.')}", bench.text()]
    data: dict[str, Any] = bench.to_json()
    if args.compare:
        other = bench_model(tts.to(dtype=args.compare), voice, **settings)
        tts.to(dtype="float32")
        same = code_agreement(tts, [*BENCH_TEXTS.values()], voice, args.compare, seed=args.seed)
        lines += [args.compare, other.text(), same.text()]
        data |= {"compared": other.to_json(), "agreement": asdict(same)}
    times = {"load_seconds": loaded - started, "prompt_seconds": prompt_seconds}
    lines.append(f"loading {loaded - started:.2f} s, prompt {prompt_seconds:.2f} s, {tts.weights}")
    facts = {
        "weights": tts.weights,
        "trained": tts.trained,
        "device": str(tts.device),
        "dtype": dtype,
        "compiled": args.compile,
    }
    return Outcome(text="\n".join(lines), data={**data, **times, **facts})
