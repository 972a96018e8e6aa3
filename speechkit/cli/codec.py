"""The verbs of codec files: `codec encode`, `codec decode`, `codec info`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechkit.cli import arguments, batch, inputs
from speechkit.cli.batch import Done, Job, Plan
from speechkit.cli.conversion import add_codec
from speechkit.cli.output import Outcome

if TYPE_CHECKING:
    from speechkit.facodec.codec import Codec
    from speechkit.facodec.files import CodecFile

SUFFIX = ".skc"
HEARD_SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".caf"),
)
"""What is taken for sound in a folder; a file that is named may be called anything."""


def add_verbs(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add `codec` with its three verbs."""
    kinds = verbs.add_parser("codec", help="recordings as small files, and back").add_subparsers(
        title="verbs", metavar="VERB", required=True
    )
    encode = kinds.add_parser("encode", help="turn recordings into codec files")
    _add_files(encode, "recordings, or folders of them", f"file ending in {SUFFIX}, or folder")
    encode.add_argument(
        "--timbre-bits",
        type=int,
        choices=(16, 32),
        default=16,
        help="of each number of the timbre vector (default 16)",
    )
    encode.set_defaults(handler=_encode)

    decode = kinds.add_parser("decode", help="turn codec files into recordings")
    out = "file ending in .wav, .flac or .ogg, or folder"
    _add_files(decode, "codec files, or folders of them", out)
    decode.add_argument(
        "--format",
        choices=[suffix[1:] for suffix in inputs.AUDIO_SUFFIXES],
        default="wav",
        help="of the files in a folder (default wav)",
    )
    arguments.add_seed(decode)
    decode.set_defaults(handler=_decode)

    info = kinds.add_parser("info", help="say what is in codec files")
    info.add_argument("files", nargs="+", type=Path, metavar="IN", help="codec files")
    arguments.add_json(info)
    info.set_defaults(handler=_info)


def _add_files(parser: arguments.Parser, sources: str, out: str) -> None:
    """Add the flags of both verbs that write."""
    parser.add_argument("sources", nargs="+", type=Path, metavar="IN", help=sources)
    parser.add_argument("-o", "--out", type=Path, required=True, help=out)
    parser.add_argument(
        "--overwrite", action="store_true", help="make again what the output folder has already"
    )
    add_codec(parser)
    arguments.add_threads(parser)
    arguments.add_json(parser)


def _open(args: argparse.Namespace) -> tuple[Codec, bytes]:
    """The codec, and what codec files know it by."""
    arguments.use_threads(args.threads)

    from speechkit.facodec.codec import open_codec
    from speechkit.facodec.files import model_hash
    from speechkit.tts import WEIGHTS

    folder = WEIGHTS / "codec" if args.codec is None else args.codec
    return open_codec(folder), model_hash(folder)


def _encode(args: argparse.Namespace) -> Outcome:
    """Encode files and folders."""
    planned = batch.plan(
        args.sources,
        args.out,
        reads=HEARD_SUFFIXES,
        writes=(SUFFIX,),
        suffix=SUFFIX,
        overwrite=args.overwrite,
    )
    codec, codec_hash = _open(args)

    from speechkit.core.audio import read_audio
    from speechkit.facodec.files import write_codec_file
    from speechkit.facodec.stream import record

    seconds, size_bytes = 0.0, 0

    def work(job: Job) -> str:
        nonlocal seconds, size_bytes
        wave_T = read_audio(job.source, codec.sample_rate_hz)
        file = record(codec, codec_hash, wave_T, wide=args.timbre_bits == 32)
        write_codec_file(job.out, file)
        seconds += file.seconds
        size_bytes += job.out.stat().st_size
        return f"{file.seconds:.1f} s, {job.out.stat().st_size} bytes"

    done = batch.carry_out(planned, work, "encoded")
    return _summary(args, planned, done, codec_hash, seconds, size_bytes)


def _decode(args: argparse.Namespace) -> Outcome:
    """Decode files and folders."""
    planned = batch.plan(
        args.sources,
        args.out,
        reads=(SUFFIX,),
        writes=inputs.AUDIO_SUFFIXES,
        suffix=f".{args.format}",
        overwrite=args.overwrite,
    )
    codec, codec_hash = _open(args)

    from speechkit.core.audio import write_audio_pieces
    from speechkit.core.rng import generator
    from speechkit.facodec.files import check_codec, read_codec_file
    from speechkit.facodec.stream import play

    seconds, size_bytes = 0.0, 0

    def work(job: Job) -> str:
        nonlocal seconds, size_bytes
        file = read_codec_file(job.source)
        check_codec(file, codec, codec_hash, str(job.source))
        waves = play(codec, file, generator(args.seed))
        write_audio_pieces(job.out, waves, codec.sample_rate_hz)
        seconds += file.seconds
        size_bytes += job.source.stat().st_size
        return f"{file.seconds:.1f} s"

    done = batch.carry_out(planned, work, "decoded")
    return _summary(args, planned, done, codec_hash, seconds, size_bytes)


def _summary(
    args: argparse.Namespace,
    planned: Plan,
    done: Done,
    codec_hash: bytes,
    seconds: float,
    size_bytes: int,
) -> Outcome:
    """What was done, kept and refused; `size_bytes` is that of the codec files."""
    kbps = 8 * size_bytes / seconds / 1000 if seconds else 0.0
    out = planned.jobs[0].out if planned.single else args.out
    parts = [f"{len(done.finished)} files, {seconds:.1f} s, {size_bytes} bytes ({kbps:.2f} kb/s)"]
    parts += [f"{len(planned.kept)} kept that were there"] if planned.kept else []
    parts += [f"{len(done.failed)} failed"] if done.failed else []
    return Outcome(
        text=f"{out}: {'; '.join(parts)}",
        data={
            "out": str(out),
            "files": [{"in": str(job.source), "out": str(job.out)} for job in done.finished],
            "kept": [str(path) for path in planned.kept],
            "failed": [{"in": str(path), "error": reason} for path, reason in done.failed],
            "seconds": seconds,
            "codec_bytes": size_bytes,
            "kbps": kbps,
            "codec": codec_hash.hex(),
        },
        exit_code=done.exit_code,
    )


def _info(args: argparse.Namespace) -> Outcome:
    """Describe codec files, without the codec."""
    from speechkit.facodec.files import read_codec_file

    found = [(path, _facts(path, read_codec_file(path))) for path in args.files]
    return Outcome(
        text="\n\n".join(_described(path, facts) for path, facts in found),
        data={"files": [{"file": str(path), **facts} for path, facts in found]},
    )


def _facts(path: Path, file: CodecFile) -> dict[str, Any]:
    """What a codec file says, as plain values."""
    from speechkit.facodec.quantizer import code_usage

    size_bytes = path.stat().st_size
    return {
        "sample_rate_hz": file.sample_rate_hz,
        "hop_samples": file.hop_samples,
        "samples": file.samples,
        "seconds": file.seconds,
        "frames": file.frames,
        "books": {
            "prosody": len(file.codes.prosody_KF),
            "content": len(file.codes.content_KF),
            "detail": len(file.codes.detail_KF),
        },
        "entries": file.entries,
        "payload_kbps": file.payload_kbps,
        "file_bytes": size_bytes,
        "file_kbps": 8 * size_bytes / file.seconds / 1000,
        "codec": file.model_hash.hex(),
        "gain": file.gain,
        "timbre_channels": len(file.timbre_D),
        "timbre_type": str(file.timbre_D.dtype).removeprefix("torch."),
        "usage": code_usage(file.codes.stacked(), file.entries),
    }


def _described(path: Path, facts: dict[str, Any]) -> str:
    """A few lines on one file."""
    rate, hop = facts["sample_rate_hz"], facts["hop_samples"]
    names = [name for name, count in facts["books"].items() for _ in range(count)]
    used = [
        f"{name} {round(one['used'] * facts['entries'])} (perplexity {one['perplexity']:.0f})"
        for name, one in zip(names, facts["usage"], strict=True)
    ]
    gain = "none stored" if facts["gain"] is None else f"{facts['gain']:.4g}"
    lines = [
        f"file     {path}",
        f"rate     {rate} Hz, {rate / hop:g} frames/s",
        f"length   {facts['frames']} frames, {facts['seconds']:.2f} s",
        f"payload  {facts['payload_kbps']:.2f} kb/s, with timbre and header "
        f"{facts['file_kbps']:.2f} kb/s ({facts['file_bytes']} bytes)",
        f"timbre   {facts['timbre_channels']} numbers, {facts['timbre_type']}",
        f"gain     {gain}",
        f"codec    {facts['codec']}",
        f"codes    used of {facts['entries']}: {', '.join(used)}",
    ]
    return "\n".join(lines)
