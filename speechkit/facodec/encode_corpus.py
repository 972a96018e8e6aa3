"""Every clip of a packed corpus as codes: `python -m speechkit.facodec.encode_corpus …`."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from speechkit.core.checkpoint import load_checkpoint
from speechkit.core.errors import DataError
from speechkit.data.alignment import Alignment, sidecar_path
from speechkit.data.codes import codes_path, write_codes
from speechkit.data.packed import PackedCorpus
from speechkit.facodec.small.codec import FACodec, load_codec
from speechkit.train import show_progress

_log = logging.getLogger("speechkit.facodec.encode_corpus")


@torch.no_grad()
def corpus_codes(
    codec: FACodec, corpus: PackedCorpus, wanted: Alignment | None
) -> Iterator[Tensor]:
    """`codes_KF` of each clip in order; empty where an alignment is given and lacks the clip."""
    empty = torch.zeros(codec.config.quantizer.books, 0, dtype=torch.long)
    for clip in range(len(corpus)):
        if wanted is not None and not wanted.has(clip):
            yield empty
            continue
        # Codes alone: the timbre vector, which takes a fifth of the time, is not kept.
        parts = codec.quantize(codec.analyse(corpus.wave(clip), corpus.f0(clip)))
        yield torch.cat([part.codes_BKF[0] for part in vars(parts).values()]).cpu()
        if clip % 500 == 0:
            _log.info("encoded %d of %d clips", clip, len(corpus))


def main(argv: list[str] | None = None) -> None:
    """Encode a corpus; clips without an alignment are left out unless --all is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="packed corpus")
    parser.add_argument("--codec", type=Path, required=True, help="folder of the codec")
    parser.add_argument("--all", action="store_true", help="also clips without an alignment")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="(cpu)")
    args = parser.parse_args(argv)
    show_progress()
    if args.threads:
        torch.set_num_threads(args.threads)
    corpus = PackedCorpus(args.data)
    ids = [clip["id"] for clip in corpus.clips]
    wanted = None
    if not args.all:
        if not sidecar_path(args.data).exists():
            raise DataError("The corpus has no alignment yet: run align first, or give --all.")
        wanted = Alignment(sidecar_path(args.data), ids)
    codes = corpus_codes(load_codec(args.codec).to(args.device), corpus, wanted)
    write_codes(codes_path(args.data), codes, ids, load_checkpoint(args.codec).sha256)


if __name__ == "__main__":
    main()
