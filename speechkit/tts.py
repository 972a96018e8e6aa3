"""Zero-shot text-to-speech: the public API.

Shapes: T samples, P phones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from speechkit.core.audio import prepare_prompt, read_audio
from speechkit.core.checkpoint import load_checkpoint
from speechkit.core.errors import CheckpointError, ConfigError, PromptError, TextError
from speechkit.core.results import Speech, Voice
from speechkit.core.rng import derive, generator
from speechkit.diffusion.config import SamplerConfig, StageSampling
from speechkit.diffusion.generator import Generator, load_generator
from speechkit.facodec.small.codec import FACodec, load_codec
from speechkit.reading import read_voice
from speechkit.text import Frontend, PhoneVocabulary, chunk
from speechkit.text.frames import FrameClasses
from speechkit.watermark import Watermark, mark

WEIGHTS = Path(__file__).parent / "weights"
"""The bundled models: `codec` and `generator`."""

MAX_CHARACTERS = 20_000
"""Longest text of one call."""

CHUNK_CHARACTERS = 180
"""Longest piece that is spoken in one go; the models saw utterances of up to 16 s."""

Progress = Callable[[int, int, str], None]
"""Called with the chunk's number, how many there are, and the stage that begins."""


@dataclass
class _Clock:
    """Time spent in each stage."""

    seconds: dict[str, float] = field(default_factory=dict)
    _stage: str = ""
    _since: float = 0.0

    def enter(self, stage: str) -> None:
        now = time.perf_counter()
        if self._stage:
            spent = self.seconds.get(self._stage, 0.0)
            self.seconds[self._stage] = spent + now - self._since
        self._stage, self._since = stage, now


@contextmanager
def _timed(clock: _Clock) -> Iterator[_Clock]:
    yield clock
    clock.enter("")


class ZeroShotTTS:
    """Speaks text in the voice of a short recording; each attribute can have its own source."""

    def __init__(
        self,
        codec: FACodec,
        generator: Generator,
        *,
        lexicon: Mapping[str, Sequence[str]] | None = None,
        weights: str = "unnamed",
        trained: bool = False,
    ) -> None:
        """Take the two models; `lexicon` maps words to ARPAbet phones."""
        self.codec, self.generator = codec, generator
        self.weights, self.trained = weights, trained
        _check_partners(codec, generator)
        self.vocabulary = PhoneVocabulary(generator.config.phone_symbols)
        self.frontend = Frontend(lexicon)
        self.sampler = SamplerConfig()

    @classmethod
    def from_pretrained(
        cls, folder: str | Path | None = None, *, lexicon: Mapping[str, Sequence[str]] | None = None
    ) -> ZeroShotTTS:
        """The bundled model, or one from a folder with `codec` and `generator` inside.

        Raises CheckpointError when the folder does not hold both.
        """
        root = WEIGHTS if folder is None else Path(folder)
        for part in ("codec", "generator"):
            if not (root / part / "config.json").is_file():
                raise CheckpointError(
                    f"{root} holds no {part}: give a folder with codec/ and generator/, each with "
                    "model.safetensors and config.json."
                )
        stored = {part: load_checkpoint(root / part) for part in ("codec", "generator")}
        return cls(
            load_codec(root / "codec"),
            load_generator(root / "generator"),
            lexicon=lexicon,
            weights=", ".join(f"{part} {found.sha256[:8]}" for part, found in stored.items()),
            trained=all("training" in found.config for found in stored.values()),
        )

    @property
    def sample_rate_hz(self) -> int:
        """Samples a second of everything it says."""
        return self.codec.sample_rate_hz

    @torch.no_grad()
    def voice(self, prompt: str | Path | Tensor, transcript: str | None = None) -> Voice:
        """The voice of a recording: a file of any rate, or a wave at `sample_rate_hz`.

        `transcript`, where given, improves the phone times. Raises AudioError, PromptError.
        """
        wave_T = prompt if isinstance(prompt, Tensor) else read_audio(prompt, self.sample_rate_hz)
        ready = prepare_prompt(wave_T, self.sample_rate_hz)
        phones = None if transcript is None else self.frontend.phones(transcript)
        voice = read_voice(self.codec, self.vocabulary, ready.wave_T, phones)
        return replace(voice, notes=ready.notes)

    def synthesize(
        self,
        text: str,
        voice: Voice,
        *,
        seed: int = 0,
        speed: float = 1.0,
        steps: int | None = None,
        watermark: Watermark | None = Watermark(),  # noqa: B008 (frozen)
        progress: Progress | None = None,
    ) -> Speech:
        """The text in the voice, with an inaudible mark that `watermark=None` leaves out; speech
        under 0.6 s has none, and its notes say so.

        Long text is spoken in chunks of up to `CHUNK_CHARACTERS`, each with draws of its own.
        `steps` sets the passes of the first books of prosody and content; more is slower and
        usually clearer. Raises TextError for text that cannot be spoken, ConfigError for a
        setting out of range.
        """
        sampler = self.sampling(steps)
        self._check_voice(voice)
        pieces, notes = self._pieces(text)
        waves: list[Tensor] = []
        phones: list[str] = []
        frames: list[int] = []
        with _timed(_Clock()) as clock:
            for number, piece in enumerate(pieces):

                def report(stage: str, number: int = number) -> None:
                    clock.enter(stage)
                    if progress:
                        progress(number, len(pieces), stage)

                wave_T, frames_P = self._speak(
                    piece, voice, sampler, derive(seed, number), speed, report
                )
                waves.append(wave_T)
                phones.extend(piece)
                frames.extend(frames_P.tolist())
            if watermark is not None:
                clock.enter("watermark")
            marked = mark(torch.cat(waves), self.sample_rate_hz, watermark)
        return Speech(
            wave_T=marked.wave_T,
            sample_rate_hz=self.sample_rate_hz,
            phones=tuple(phones),
            frames=tuple(frames),
            seed=seed,
            stages_seconds=clock.seconds,
            notes=(*notes, *voice.notes, *marked.notes),
            watermark=marked.payload,
        )

    def _speak(
        self,
        phones: tuple[str, ...],
        voice: Voice,
        sampler: SamplerConfig,
        seed: int,
        speed: float,
        report: Callable[[str], None],
    ) -> tuple[Tensor, Tensor]:
        phones_P = torch.tensor(self.vocabulary.ids(phones))
        made = self.generator.generate(
            phones_P, voice, sampler=sampler, seed=seed, speed=speed, progress=report
        )
        report("decode")
        wave_T = self.codec.decode(made.codes, voice.timbre_D, generator(derive(seed, "noise")))
        return wave_T, made.frames_P

    def swap(
        self,
        text: str,
        *,
        timbre: Voice,
        prosody: Voice | None = None,
        duration: Voice | None = None,
        content: Voice | None = None,
        detail: Voice | None = None,
        seed: int = 0,
        speed: float = 1.0,
        steps: int | None = None,
        watermark: Watermark | None = Watermark(),  # noqa: B008 (frozen)
    ) -> Speech:
        """The text with each attribute from its own voice; what is not given follows `timbre`."""
        mixed = mix_voices(
            timbre, prosody=prosody, duration=duration, content=content, detail=detail
        )
        return self.synthesize(
            text, mixed, seed=seed, speed=speed, steps=steps, watermark=watermark
        )

    def _check_voice(self, voice: Voice) -> None:
        """Raise PromptError unless the voice was made with a model like this one."""
        books, phones = self.codec.config.quantizer, len(self.vocabulary)
        parts = (voice.prosody, voice.content, voice.detail)
        fits = (
            voice.timbre_D.shape == (self.codec.config.timbre_channels,)
            and all(part.codes_KF.shape[0] == books.books for part in parts)
            and all(int(part.codes_KF.max()) < books.entries for part in parts)
            and all(int(part.phone_F.max()) < phones for part in parts)
            and int(voice.duration.phones_P.max()) < phones
        )
        if not fits:
            raise PromptError(
                "This voice was made with another model: make it again from its recording."
            )

    def _pieces(self, text: str) -> tuple[list[tuple[str, ...]], list[str]]:
        """Phones of each chunk, and notes on what could not be spoken."""
        if len(text) > MAX_CHARACTERS:
            raise TextError(
                f"The text has {len(text)} characters; split it into parts of at most "
                f"{MAX_CHARACTERS}."
            )
        skipped = self.frontend.report(text).skipped
        reports = [self.frontend.report(part) for part in chunk(text, CHUNK_CHARACTERS)]
        pieces = [report.phones for report in reports if report.phones]
        if not pieces:
            self.frontend.phones(text)
            raise TextError("Nothing in the text can be spoken: give at least one English word.")
        notes = [f"Not spoken: {' '.join(skipped[:20])}"] if skipped else []
        return pieces, notes

    def sampling(self, steps: int | None) -> SamplerConfig:
        """Settings of all stages for a step count; raises ConfigError for one out of range."""
        if steps is None:
            return self.sampler
        if not 1 <= steps <= 64:
            raise ConfigError(f"steps {steps} is out of range; give a whole number from 1 to 64.")

        def budget(stage: StageSampling, *counts: int) -> StageSampling:
            return replace(stage, steps=tuple(max(1, count) for count in counts))

        return replace(
            self.sampler,
            prosody=budget(self.sampler.prosody, steps),
            content=budget(self.sampler.content, steps, steps // 3),
            detail=budget(self.sampler.detail, steps // 3, 1),
        )


def _check_partners(codec: FACodec, generator: Generator) -> None:
    """Raise CheckpointError unless the generator writes the codes that the codec reads."""
    books, made = codec.config.quantizer, generator.config
    agree = (books.prosody_books, books.content_books, books.detail_books, books.entries) == (
        made.prosody_books,
        made.content_books,
        made.detail_books,
        made.frame.entries,
    ) and FrameClasses(PhoneVocabulary(made.phone_symbols)).symbols == codec.config.phone_symbols
    if not agree:
        raise CheckpointError(
            "This generator was trained on the codes of another codec: use the two models that "
            "came together."
        )


def mix_voices(
    timbre: Voice,
    *,
    prosody: Voice | None = None,
    duration: Voice | None = None,
    content: Voice | None = None,
    detail: Voice | None = None,
) -> Voice:
    """One voice with a source for each attribute; what is not given comes from `timbre`."""
    return replace(
        timbre,
        prosody=(prosody or timbre).prosody,
        duration=(duration or timbre).duration,
        content=(content or timbre).content,
        detail=(detail or timbre).detail,
    )
