"""Every clip of a corpus as codes, in a file beside each shard: `speechkit encode`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from speechkit.core.errors import DataError
from speechkit.data.alignment import ALIGNMENT, Alignment
from speechkit.data.codes import CODES, ClipCodes, CorpusCodes, empty_codes, write_codes
from speechkit.data.packed import Data, PackedCorpus, Source
from speechkit.data.sidecar import has_sidecars, is_made
from speechkit.data.work import ALONE, Crew, Report, run_shards
from speechkit.facodec.codec import ENCODED_AT_ONCE, Codec
from speechkit.facodec.pretrained import load_pretrained
from speechkit.facodec.recognition import recognise


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """What became of a corpus."""

    out: tuple[str, ...]
    """The corpora, whose shards have their codes beside them."""

    clips: int
    """Clips of the corpora."""

    encoded: int
    """Clips that have codes."""

    codec: str
    """Hash of the codec's weights, in hexadecimal."""

    shards: int
    """Shards of the corpora."""

    missing_shards: int
    """Shards that others have still to encode."""

    def text(self) -> str:
        """A line for people."""
        left = f"; {self.missing_shards} shards still to encode" if self.missing_shards else ""
        return f"encoded {self.encoded} of {self.clips} clips beside {', '.join(self.out)}{left}"

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return asdict(self)


def encode_corpus(
    data: Data,
    codec_folder: str | Path | None = None,
    *,
    unaligned: bool = False,
    batch: int | None = None,
    crew: Crew = ALONE,
) -> Encoded:
    """Write the codes of a corpus beside its shards, made by a codec (the bundled one).

    Clips without an alignment are left out unless `unaligned`. Shards that have these codes stay.
    `batch` clips of like length are encoded together (by the device where None): their codes are
    those that each has alone, their timbre vectors to 1e-5.
    Raises DataError for a corpus that is missing, damaged or, without `unaligned`, not aligned yet;
    CheckpointError for what is no codec.
    """
    corpus = PackedCorpus(data)
    wanted = None
    if not unaligned:
        if not has_sidecars(corpus, ALIGNMENT):
            raise DataError("The corpus has no alignment yet: run align first, or give --all.")
        wanted = Alignment(corpus)
    sha256 = load_pretrained(codec_folder).sha256

    def is_encoded(number: int) -> bool:
        shard = corpus.shards[number]
        made_by = _made_by(sha256, wanted, number)
        return is_made(shard.sidecar(CODES.name), CODES, shard, made_by)

    work = EncodeWork(
        sources=corpus.sources,
        codec=codec_folder,
        unaligned=unaligned,
        batch=batch or ENCODED_AT_ONCE.get(torch.device(crew.device).type, 1),
        device=crew.device,
    )
    done = run_shards("encoding", work, corpus, is_encoded, crew)
    codes = CorpusCodes(PackedCorpus(done))
    return Encoded(
        out=tuple(source.path for source in corpus.sources),
        clips=len(corpus),
        encoded=int((codes.lengths() > 0).sum()),
        codec=sha256,
        shards=len(corpus.shards),
        missing_shards=len(corpus.shards) - len(done),
    )


def _made_by(codec_sha256: str, wanted: Alignment | None, number: int) -> dict[str, str]:
    """What the codes of a shard follow from: the codec, and which clips are encoded."""
    if wanted is None:
        return {"codec": codec_sha256, "clips": "all"}
    aligned_N = wanted.parts[number].tensors["offsets_N1"].diff() > 0
    clips = hashlib.sha256(aligned_N.numpy().tobytes()).hexdigest()
    return {"codec": codec_sha256, "clips": clips}


@dataclass(frozen=True, kw_only=True)
class EncodeWork:
    """How a shard is encoded."""

    sources: tuple[Source, ...]
    codec: str | Path | None
    unaligned: bool
    batch: int
    device: str

    def load(self) -> Callable[[int, Report], None]:
        """Open the corpus and load the codec."""
        corpus = PackedCorpus(self.sources)
        wanted = None if self.unaligned else Alignment(corpus)
        found = load_pretrained(self.codec)
        codec = found.codec.to(self.device)

        def encode(number: int, report: Report) -> None:
            codes = shard_codes(codec, corpus, number, wanted, self.batch, report)
            made_by = _made_by(found.sha256, wanted, number)
            write_codes(corpus.shards[number], codes, found.sha256, made_by)

        return encode


@torch.no_grad()
def shard_codes(
    codec: Codec,
    corpus: PackedCorpus,
    number: int,
    wanted: Alignment | None,
    batch: int,
    report: Report,
) -> list[ClipCodes]:
    """Each clip of a shard in order; empty where an alignment is given and lacks the clip."""
    clips = corpus.clips_of(number)
    empty = empty_codes(codec.quantizer.codebooks, codec.timbre_channels)
    made: dict[int, ClipCodes] = {}
    chosen = [clip for clip in clips if wanted is None or wanted.has(clip)]
    report(len(clips) - len(chosen))
    if batch > 1:
        # Of like length, so that little is padded.
        chosen.sort(key=corpus.samples)
    for first in range(0, len(chosen), batch):
        together = chosen[first : first + batch]
        waves = [corpus.wave(clip) for clip in together]
        known = corpus.shards[number].has_pitch
        f0s = [corpus.f0(clip) for clip in together] if known else None
        found = codec.encode_batch(waves, f0s, whole=False)
        for clip, wave_T, (codes, timbre_D) in zip(together, waves, found, strict=True):
            made[clip] = ClipCodes(
                codes_KF=codes.stacked().cpu(),
                phone_F=recognise(codec, codes, wave_T),
                timbre_D=timbre_D[-codec.timbre_channels :].cpu(),
            )
        report(len(together))
    return [made.get(clip, empty) for clip in clips]
