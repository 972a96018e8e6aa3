"""Zero-shot text-to-speech: the public API. `ZeroShotTTS._speak` is the whole of it in a few lines.

Shapes: T samples, P phones, F frames.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, groupby
from pathlib import Path

import torch
from torch import Tensor

from speechkit.core.audio import Prompt, prepare_prompt, read_audio
from speechkit.core.checkpoint import CONFIG_FILE, WEIGHTS, load_checkpoint
from speechkit.core.errors import CheckpointError, ConfigError
from speechkit.core.results import Speech, TimedLabel, Voice, VoiceSizes, timed
from speechkit.core.rng import derive, generator
from speechkit.diffusion.config import SamplerConfig, StageSampling
from speechkit.diffusion.duration import time_scale
from speechkit.diffusion.generator import Draws, Generator, generator_of
from speechkit.facodec.small.codec import FACodec, codec_of
from speechkit.reading import read_voice
from speechkit.text import Frontend, PhoneVocabulary, is_boundary
from speechkit.text.frames import FrameClasses
from speechkit.text.turns import Script, write_script
from speechkit.watermark import Watermark, Watermarked, apply_watermark

Progress = Callable[[int, int, str], None]
"""Called with the chunk's number, how many there are, and the stage that begins."""


class _Clock:
    """Time spent in each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._stage, self._since = "", 0.0

    def enter(self, stage: str) -> None:
        """A stage begins, and with it the one before ends; no name ends the last."""
        now = time.perf_counter()
        if self._stage:
            spent = self.seconds.get(self._stage, 0.0)
            self.seconds[self._stage] = spent + now - self._since
        self._stage, self._since = stage, now


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
            if not (root / part / CONFIG_FILE).is_file():
                raise CheckpointError(
                    f"{root} holds no {part}: give a folder with codec/ and generator/, each with "
                    "model.safetensors and config.json."
                )
        codec, made = load_checkpoint(root / "codec"), load_checkpoint(root / "generator")
        return cls(
            codec_of(codec),
            generator_of(made),
            lexicon=lexicon,
            weights=f"codec {codec.sha256[:8]}, generator {made.sha256[:8]}",
            trained="training" in codec.config and "training" in made.config,
        )

    @property
    def sample_rate_hz(self) -> int:
        """Samples a second of everything it says."""
        return self.codec.sample_rate_hz

    @property
    def voice_sizes(self) -> VoiceSizes:
        """What a voice must fit to be used here; see `Voice.check`."""
        codebooks = self.codec.quantizer
        return VoiceSizes(
            timbre_channels=self.codec.timbre_channels,
            codebooks=codebooks.codebooks,
            codebook_size=codebooks.codebook_size,
            phones=len(self.vocabulary),
        )

    @torch.no_grad()
    def voice(
        self,
        prompt: str | Path | Tensor | Prompt,
        transcript: str | tuple[str, ...] | None = None,
    ) -> Voice:
        """The voice of a recording: a file of any rate, or a wave at `sample_rate_hz`.

        `transcript`, where given, as text or as its phones, improves the phone times. A `Prompt`,
        which `prepare_prompt` made at `sample_rate_hz`, is used as it is. Raises AudioError,
        PromptError, TextError.
        """
        if isinstance(prompt, str | Path):
            prompt = read_audio(prompt, self.sample_rate_hz)
        if isinstance(prompt, Tensor):
            prompt = prepare_prompt(prompt, self.sample_rate_hz)
        phones = self.frontend.phones(transcript) if isinstance(transcript, str) else transcript
        voice = read_voice(self.codec, self.vocabulary, prompt.wave_T, phones)
        return replace(voice, notes=prompt.notes)

    def synthesize(
        self,
        text: str | Script,
        voice: Voice,
        *,
        seed: int = 0,
        speed: float = 1.0,
        steps: int | None = None,
        watermark: Watermark | None = Watermark(),  # noqa: B008 (frozen)
        progress: Progress | None = None,
    ) -> Speech:
        """The text in the voice, with an inaudible watermark that `watermark=None` leaves out;
        speech under 0.6 s has none, and its notes say so.

        Long text is spoken in chunks of up to `CHUNK_CHARACTERS`, each with draws of its own.
        `steps` sets the passes of the first codebooks of prosody and content; more is slower and
        usually clearer.

            tts = ZeroShotTTS.from_pretrained()
            tts.synthesize("Hello there.", tts.voice("me.wav")).save("hello.wav")

        Raises TextError for text that cannot be spoken, CheckpointError for a voice that is damaged
        or of another model, ConfigError for a setting out of range.
        """
        sampler, clock = self.sampling(steps), _Clock()
        voice.check(self.voice_sizes)
        script = write_script(text, self.frontend) if isinstance(text, str) else text

        def chunks() -> Iterator[tuple[Tensor, Draws]]:
            for number, phones in enumerate(script.chunks):

                def begin(stage: str, number: int = number) -> None:
                    clock.enter(stage)
                    if progress:
                        progress(number, len(script.chunks), stage)

                draws = Draws(sampler=sampler, seed=derive(seed, number), begin=begin)
                yield torch.tensor(self.vocabulary.ids(phones)), draws

        def stamp(wave_T: Tensor) -> Watermarked:
            if watermark is not None:
                clock.enter("watermark")
            return apply_watermark(wave_T, self.sample_rate_hz, watermark)

        watermarked, frames_P = self._speak(chunks(), voice, speed, stamp)
        clock.enter("")
        phones, frames = tuple(chain(*script.chunks)), tuple(frames_P.tolist())
        times = timed(phones, frames, self.codec.hop_samples / self.sample_rate_hz)
        return Speech(
            wave_T=watermarked.wave_T,
            sample_rate_hz=self.sample_rate_hz,
            phones=phones,
            frames=frames,
            words=_timed_words(script.words, times),
            seed=seed,
            stages_seconds=clock.seconds,
            notes=(*script.notes, *voice.notes, *watermarked.notes),
            watermark=watermarked.payload,
        )

    @torch.no_grad()
    def _speak(
        self,
        chunks: Iterable[tuple[Tensor, Draws]],
        voice: Voice,
        speed: float,
        stamp: Callable[[Tensor], Watermarked],
    ) -> tuple[Watermarked, Tensor]:
        """The spine: `phones_P` of each chunk, in a voice, to watermarked speech and `frames_P`."""
        stages, waves, frames = self.generator, [], []
        for phones_P, draws in chunks:
            frames_P = stages.draw_durations(phones_P, voice.duration, draws)
            frames_P = time_scale(frames_P, speed)
            target = stages.regulate(phones_P, frames_P)
            target = stages.draw("prosody", target, voice.prosody, draws)
            target = stages.draw("content", target, voice.content, draws)
            target = stages.draw("detail", target, voice.detail, draws)
            draws.begin("decode")
            noise = generator(derive(draws.seed, "noise"))
            waves.append(self.codec.decode(stages.codes_of(target), voice.timbre_D, noise))
            frames.append(frames_P)
        return stamp(torch.cat(waves)), torch.cat(frames)

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
    quantizer, made = codec.config.quantizer, generator.config
    agree = (
        quantizer.prosody_codebooks,
        quantizer.content_codebooks,
        quantizer.detail_codebooks,
        quantizer.codebook_size,
    ) == (
        made.prosody_codebooks,
        made.content_codebooks,
        made.detail_codebooks,
        made.frame.codebook_size,
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
    """One voice with a source for each attribute; what is not given comes from `timbre`.

    It has the notes of all of them.
    """
    sources = [timbre, *(v for v in (prosody, duration, content, detail) if v is not None)]
    return replace(
        timbre,
        prosody=(prosody or timbre).prosody,
        duration=(duration or timbre).duration,
        content=(content or timbre).content,
        detail=(detail or timbre).detail,
        notes=tuple(dict.fromkeys(note for voice in sources for note in voice.notes)),
    )


def _timed_words(words: Sequence[str], phones: Sequence[TimedLabel]) -> tuple[TimedLabel, ...]:
    """Words with their times: each is a run of phones between two boundaries."""
    runs = [
        list(run)
        for pause, run in groupby(phones, key=lambda phone: is_boundary(phone.label))
        if not pause
    ]
    return tuple(
        TimedLabel(label=word, start_seconds=run[0].start_seconds, end_seconds=run[-1].end_seconds)
        for word, run in zip(words, runs, strict=True)
    )
