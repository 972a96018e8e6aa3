"""Every clip of a packed corpus as codes, beside it: `speechkit encode`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from speechkit.core.checkpoint import load_checkpoint
from speechkit.core.errors import DataError
from speechkit.data.alignment import Alignment, sidecar_path
from speechkit.data.codes import CorpusCodes, codes_path, write_codes
from speechkit.data.packed import PackedCorpus
from speechkit.facodec.small.codec import FACodec, load_codec
from speechkit.train.progress import progress


def encode_corpus(
    data: Path, codec: Path, *, everything: bool = False, device: str | torch.device = "cpu"
) -> CorpusCodes:
    """Write the codes that the codec in the folder `codec` gives for the packed corpus `data`.

    Clips without an alignment are left out, unless `everything` is wanted. Returns the codes, read
    again. Raises DataError where the corpus has no alignment yet, CheckpointError for no codec.
    """
    corpus = PackedCorpus(data)
    wanted = None
    if not everything:
        if not sidecar_path(data).exists():
            raise DataError("The corpus has no alignment yet: run align first, or give --all.")
        wanted = Alignment(sidecar_path(data), corpus.ids)
    codes = corpus_codes(load_codec(codec).to(device), corpus, wanted)
    listed = progress("encoding", codes, total=len(corpus), unit="clip")
    path = codes_path(data)
    write_codes(path, listed, corpus.ids, load_checkpoint(codec).sha256)
    return CorpusCodes(path, corpus.ids)


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
