"""The verbs of codecs: `codec encode`, `codec decode`, `codec info`, and `convert-checkpoint`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from speechkit.cli import arguments, batch, inputs, output
from speechkit.cli.batch import Done, Job, Plan
from speechkit.cli.output import Outcome, say_aside
from speechkit.core.errors import ConfigError, SpeechkitError

if TYPE_CHECKING:
    from torch import Tensor

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

    convert = verbs.add_parser(
        "convert-checkpoint", help="turn the public FACodec weights into a model folder"
    )
    convert.add_argument("encoder", type=Path, help="ns3_facodec_encoder.bin, or that of V2")
    convert.add_argument("decoder", type=Path, help="the decoder of the same version")
    convert.add_argument("-o", "--out", type=Path, required=True, metavar="FOLDER", help="output")
    convert.add_argument(
        "--redecoder",
        type=Path,
        metavar="FILE",
        help="ns3_facodec_redecoder.bin; it goes into FOLDER/redecoder",
    )
    arguments.add_json(convert)
    convert.set_defaults(handler=_convert)


def _add_files(parser: arguments.Parser, sources: str, out: str) -> None:
    """Add the flags of both verbs that write."""
    parser.add_argument("sources", nargs="+", type=Path, metavar="IN", help=sources)
    parser.add_argument("-o", "--out", type=Path, required=True, help=out)
    parser.add_argument(
        "--overwrite", action="store_true", help="make again what the output folder has already"
    )
    arguments.add_codec(parser)
    arguments.add_device(parser, generator=False)
    arguments.add_threads(parser)
    arguments.add_json(parser)


def _open(args: argparse.Namespace) -> tuple[Codec, bytes]:
    """The codec, and what codec files know it by."""
    arguments.use_threads(args.threads)

    from speechkit.facodec.files import model_hash
    from speechkit.facodec.pretrained import load_pretrained

    found = load_pretrained(args.codec, device=args.device)
    return found.codec, model_hash(found.sha256)


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

    from speechkit.core.devices import pick_device
    from speechkit.facodec.codec import ENCODED_AT_ONCE
    from speechkit.facodec.files import write_codec_file

    seconds, size_bytes = 0.0, 0
    at_once = ENCODED_AT_ONCE.get(pick_device(args.device).type, 1)
    encoded = _encoded(planned.jobs, codec, codec_hash, at_once, wide=args.timbre_bits == 32)

    def work(job: Job) -> str:
        nonlocal seconds, size_bytes
        # A job whose folder cannot be made does not come here.
        file = next(found for other, found in encoded if other is job)
        if isinstance(file, Exception):
            raise file
        write_codec_file(job.out, file)
        seconds += file.seconds
        size_bytes += job.out.stat().st_size
        return f"{file.seconds:.1f} s, {job.out.stat().st_size} bytes"

    done = batch.carry_out(planned, work, "encoded")
    return _summary(args, planned, done, codec_hash, seconds, size_bytes)


def _encoded(
    jobs: Sequence[Job], codec: Codec, codec_hash: bytes, at_once: int, *, wide: bool
) -> Iterator[tuple[Job, CodecFile | Exception]]:
    """What the file of each job holds, in order, or what is wrong with its recording.

    Up to `at_once` recordings that follow each other are encoded together, but for long ones.
    """
    from speechkit.core.audio import read_audio
    from speechkit.facodec.stream import WHOLE_SECONDS, record

    longest = WHOLE_SECONDS * codec.sample_rate_hz
    for start in range(0, len(jobs), at_once):
        waves: dict[Job, Tensor] = {}
        faults: dict[Job, Exception] = {}
        for job in jobs[start : start + at_once]:
            try:
                waves[job] = read_audio(job.source, codec.sample_rate_hz)
            except (SpeechkitError, OSError) as error:
                faults[job] = error
        short = [job for job, wave_T in waves.items() if len(wave_T) <= longest]
        groups = [short] if short else []
        groups += [[job] for job in waves if job not in short]
        files: dict[Job, CodecFile] = {}
        for group in groups:
            made = record(codec, codec_hash, [waves[job] for job in group], wide=wide)
            files.update(zip(group, made, strict=True))
        for job in jobs[start : start + at_once]:
            yield job, faults[job] if job in faults else files[job]


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
    made = f"{len(done.finished)} files, {seconds:.1f} s, {size_bytes} bytes ({kbps:.2f} kb/s)"
    return Outcome(
        text=output.tally(f"{out}: {made}", len(planned.kept), len(done.failed)),
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

    found = [(path, read_codec_file(path)) for path in args.files]
    return Outcome(
        text="\n\n".join(f"file     {path}\n{file.text()}" for path, file in found),
        data={"files": [{"file": str(path), **file.to_json()} for path, file in found]},
    )


def _convert(args: argparse.Namespace) -> Outcome:
    """Read, check, write public weights."""
    if args.out.exists() and not args.out.is_dir():
        raise ConfigError(f"The output {args.out} is a file: give the name of a folder.")
    from speechkit.facodec.paper.convert import convert_checkpoint
    from speechkit.facodec.paper.public_files import PICKLE_WARNING

    say_aside("warning", PICKLE_WARNING)
    made = convert_checkpoint(args.encoder, args.decoder, args.out, redecoder=args.redecoder)
    return Outcome(text=made.text(), data=made.to_json())
