"""Every clip of a packed corpus as codes, in a file beside it: `speechkit encode`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from speechkit.core.errors import DataError
from speechkit.data.alignment import Alignment, sidecar_path
from speechkit.data.codes import ClipCodes, codes_path, empty_codes, write_codes
from speechkit.data.packed import PackedCorpus
from speechkit.facodec.codec import Codec
from speechkit.facodec.pretrained import load_pretrained
from speechkit.facodec.recognition import recognise
from speechkit.train.progress import progress


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """What became of a corpus."""

    out: str
    """The file of codes."""

    clips: int
    """Clips of the corpus."""

    encoded: int
    """Clips that have codes."""

    codec: str
    """Hash of the codec's weights, in hexadecimal."""

    def text(self) -> str:
        """A line for people."""
        return f"encoded {self.encoded} of {self.clips} clips in {self.out}"

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return asdict(self)


def encode_corpus(
    path: str | Path,
    codec_folder: str | Path | None = None,
    *,
    unaligned: bool = False,
    device: str | torch.device = "cpu",
) -> Encoded:
    """Write the codes of a packed corpus beside it, made by a codec (the bundled one).

    Clips without an alignment are left out unless `unaligned`. Raises DataError for a corpus that
    is missing, damaged or, without `unaligned`, not aligned yet; CheckpointError for what is no
    codec.
    """
    corpus = PackedCorpus(path)
    wanted = None
    if not unaligned:
        if not sidecar_path(path).exists():
            raise DataError("The corpus has no alignment yet: run align first, or give --all.")
        wanted = Alignment(sidecar_path(path), corpus.ids)
    found = load_pretrained(codec_folder)
    made = corpus_codes(found.codec.to(device), corpus, wanted)
    codes = list(progress("encoding", made, total=len(corpus), unit="clip"))
    write_codes(codes_path(path), codes, corpus.ids, found.sha256)
    return Encoded(
        out=str(codes_path(path)),
        clips=len(corpus),
        encoded=sum(clip.frames > 0 for clip in codes),
        codec=found.sha256,
    )


@torch.no_grad()
def corpus_codes(
    codec: Codec, corpus: PackedCorpus, wanted: Alignment | None
) -> Iterator[ClipCodes]:
    """Each clip in order; empty where an alignment is given and lacks the clip."""
    empty = empty_codes(codec.quantizer.codebooks, codec.timbre_channels)
    for clip in range(len(corpus)):
        if wanted is not None and not wanted.has(clip):
            yield empty
            continue
        wave_T = corpus.wave(clip)
        codes, timbre_D = codec.encode(wave_T, corpus.f0(clip))
        yield ClipCodes(
            codes_KF=codes.stacked().cpu(),
            phone_F=recognise(codec, codes, wave_T),
            timbre_D=timbre_D.cpu(),
        )
