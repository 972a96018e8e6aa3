"""One speaker's recordings: looked at, prepared, aligned, encoded, and the best one chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from speechkit.core.audio import audio_seconds
from speechkit.core.checkpoint import WEIGHTS
from speechkit.core.errors import AudioError, DataError, PromptError, listed
from speechkit.core.prompt import prepare_prompt
from speechkit.core.results import Voice
from speechkit.data.align.align import align_corpus
from speechkit.data.alignment import Alignment
from speechkit.data.clips import Corpus
from speechkit.data.corpora import read_corpus
from speechkit.data.packed import PACKED_SAMPLE_RATE_HZ, PackedCorpus
from speechkit.data.prepare import PrepareLimits, prepare
from speechkit.data.split import split_clips
from speechkit.data.work import Crew
from speechkit.facodec.encode_corpus import encode_corpus
from speechkit.text.vocab import is_boundary
from speechkit.tts import ZeroShotTTS

LEAST_CLIPS = 4
LEAST_SECONDS = 20.0
"""With less speech there is nothing to learn that a prompt does not tell."""
PROMPT_SECONDS = (3.0, 15.0)
"""Length of the recordings that make good prompts."""
MOST_PROMPTS = 8
"""Recordings that are looked at for a prompt."""
LANGUAGE = "en"
"""Of the front end and of the bundled aligner."""


@dataclass(frozen=True, kw_only=True)
class Recordings:
    """One speaker's recordings, aligned and encoded."""

    corpus: PackedCorpus
    """All of them."""
    alignment: Alignment
    """When each phone is spoken."""
    mine: list[int]
    """Aligned clips to train on."""
    held_out: list[int]
    """Aligned clips that nothing is trained on."""
    phones: int
    """Phones of `mine`."""
    minutes: float
    """Speech in both."""
    notes: tuple[str, ...]
    """What was left out."""


def check_recordings(source: Corpus) -> None:
    """Raise DataError unless these are enough recordings of one speaker with English texts.

    Of the audio the headers alone are read.
    """
    clips = list(read_corpus(source))
    usable = [clip for clip in clips if clip.text and clip.language == LANGUAGE]
    if not usable:
        why = "is in English" if any(clip.text for clip in clips) else "has a text"
        raise DataError(
            f"None of the {len(clips)} recordings in {source.path} {why}: put a .txt of the same "
            "name beside each, or a metadata.csv with the header file,text."
        )
    speakers = sorted({clip.speaker for clip in usable})
    if len(speakers) > 1:
        raise DataError(
            f"{source.path} has {len(speakers)} speakers ({listed(speakers, 3)}), and this trains "
            "one voice: give the folder of one, with the recordings in it and not in folders below."
        )
    seconds, faults = [], []
    for clip in usable:
        try:
            if clip.missing is not None:
                raise AudioError(clip.missing)
            # What lies in a shard is trusted here, and decoded by prepare.
            whole = LEAST_SECONDS if clip.size_bytes is not None else audio_seconds(clip.path)
            seconds.append(whole if clip.seconds is None else clip.seconds)
        except AudioError as error:
            faults.append(str(error))
    _require(len(seconds), sum(seconds), faults)


def _require(clips: int, seconds: float, faults: Sequence[str]) -> None:
    """Raise DataError for fewer or less speech than there is anything to learn from."""
    if clips >= LEAST_CLIPS and seconds >= LEAST_SECONDS:
        return
    raise DataError(
        f"{clips} usable recordings with texts, {seconds:.0f} s in all, are too few: give at least "
        f"{LEAST_CLIPS}, and {LEAST_SECONDS:.0f} s; a few minutes are better."
        + (f" Not usable: {listed(faults, 2, '; ')}" if faults else "")
    )


def prepare_recordings(source: Corpus, out: Path, codec: Path, crew: Crew) -> Recordings:
    """Prepare, align and encode a corpus of one speaker in `out`; what is made already stays.

    Raises DataError where too few clips are left.
    """
    packed = prepare([source], out, limits=PrepareLimits(splits=None), crew=crew)
    notes = [f"left out, {reason}: {detail}" for reason, detail in packed.examples.items()]
    corpus = PackedCorpus(out)
    seconds = float(corpus.samples_N[corpus.text_N].sum()) / PACKED_SAMPLE_RATE_HZ
    _require(int(corpus.text_N.sum()), seconds, notes)
    report = align_corpus(out, WEIGHTS / "aligner", languages=(LANGUAGE,), crew=crew)
    notes += [f"not aligned, {reason}: {count} clips" for reason, count in report.skipped.items()]
    alignment = Alignment(corpus)
    mine, held_out = (
        [int(clip) for clip in split_clips(corpus, validation=which) if alignment.has(int(clip))]
        for which in (False, True)
    )
    _require(len(mine) + len(held_out), report.hours * 3600, notes)
    if not mine or not held_out:
        raise DataError(f"Too few texts fit their recordings: {listed(notes, 3, '; ')}.")
    encode_corpus(out, codec, crew=crew)
    pauses = torch.tensor([is_boundary(symbol) for symbol in alignment.symbols])
    return Recordings(
        corpus=corpus,
        alignment=alignment,
        mine=mine,
        held_out=held_out,
        phones=sum(int((~pauses[alignment.phones(clip)]).sum()) for clip in mine),
        minutes=report.hours * 60,
        notes=tuple(notes),
    )


def best_voice(tts: ZeroShotTTS, found: Recordings) -> tuple[str, Voice]:
    """The name of the clearest recording that is trained on, and its voice, with its text's times.

    Clear is what the aligner is surest of; recordings of `PROMPT_SECONDS` that nothing is to be
    said against come first. Raises PromptError where none is a prompt.
    """

    def rank(clip: int) -> tuple[bool, float]:
        seconds = found.corpus.samples(clip) / PACKED_SAMPLE_RATE_HZ
        return not PROMPT_SECONDS[0] <= seconds <= PROMPT_SECONDS[1], -found.alignment.score(clip)

    ranked, fallback = sorted(found.mine, key=rank), None
    for clip in ranked[:MOST_PROMPTS]:
        info = found.corpus.clips[clip]
        try:
            prompt = prepare_prompt(found.corpus.wave(clip))
            # A prompt that was cut does not say all of its text.
            whole = prompt.recording_seconds <= PROMPT_SECONDS[1]
            voice = tts.voice(found.corpus.wave(clip), info["text"] if whole else None)
        except PromptError:
            continue
        if not prompt.notes:
            return info["id"], voice
        fallback = fallback or (info["id"], voice)
    if fallback is None:
        raise PromptError("None of the clearest recordings can be a prompt: is there speech?")
    return fallback
