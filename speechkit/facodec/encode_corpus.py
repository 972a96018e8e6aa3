"""Every clip of a packed corpus as codes, in a file beside it: `speechkit encode`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from speechkit.core.checkpoint import WEIGHTS, load_checkpoint
from speechkit.core.errors import DataError
from speechkit.data.alignment import Alignment, sidecar_path
from speechkit.data.codes import ClipCodes, codes_path, empty_codes, write_codes
from speechkit.data.packed import PackedCorpus
from speechkit.facodec.recognition import recognise_phones
from speechkit.facodec.small.codec import FACodec, codec_of
from speechkit.text.vocab import DEFAULT_VOCABULARY
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
    small codec.
    """
    corpus = PackedCorpus(path)
    wanted = None
    if not unaligned:
        if not sidecar_path(path).exists():
            raise DataError("The corpus has no alignment yet: run align first, or give --all.")
        wanted = Alignment(sidecar_path(path), corpus.ids)
    checkpoint = load_checkpoint(WEIGHTS / "codec" if codec_folder is None else codec_folder)
    made = corpus_codes(codec_of(checkpoint).to(device), corpus, wanted)
    codes = list(progress("encoding", made, total=len(corpus), unit="clip"))
    write_codes(codes_path(path), codes, corpus.ids, checkpoint.sha256)
    return Encoded(
        out=str(codes_path(path)),
        clips=len(corpus),
        encoded=sum(clip.frames > 0 for clip in codes),
        codec=checkpoint.sha256,
    )


@torch.no_grad()
def corpus_codes(
    codec: FACodec, corpus: PackedCorpus, wanted: Alignment | None
) -> Iterator[ClipCodes]:
    """Each clip in order; empty where an alignment is given and lacks the clip."""
    empty = empty_codes(codec.config.quantizer.books, codec.timbre_channels)
    for clip in range(len(corpus)):
        if wanted is not None and not wanted.has(clip):
            yield empty
            continue
        analysis = codec.analyse(corpus.wave(clip), corpus.f0(clip))
        parts = codec.quantize(analysis)
        logits_FV = codec.phone_logits(parts.content.codes_BKF)[0]
        yield ClipCodes(
            codes_KF=torch.cat([part.codes_BKF[0] for part in vars(parts).values()]).cpu(),
            phone_F=recognise_phones(logits_FV, codec.config.phone_symbols, DEFAULT_VOCABULARY),
            timbre_D=codec.timbre(analysis)[0].cpu(),
        )
