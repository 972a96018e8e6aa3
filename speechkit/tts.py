"""Zero-shot text-to-speech: the public API. How a text becomes sound is in `speechkit.takes`.

Shapes: T samples, P phones, F frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

import torch
from torch import Tensor

from speechkit.core.checkpoint import CONFIG_FILE, WEIGHTS, read_config
from speechkit.core.devices import pick_device, pick_dtype
from speechkit.core.errors import CheckpointError, ConfigError
from speechkit.core.onnx import check_exported_place, is_export
from speechkit.core.prompt import Prompt, prepare_prompt, read_prompt
from speechkit.core.results import Speech, Voice, VoiceSizes, mix_voices, timed
from speechkit.diffusion.config import FRAME_STAGES, SamplerConfig
from speechkit.diffusion.duration import time_scale
from speechkit.diffusion.generator import Draws, Generator
from speechkit.diffusion.pretrained import check_partners, load_pretrained_generator
from speechkit.diffusion.stage import Segment
from speechkit.facodec.codec import Codec, codes_sign
from speechkit.facodec.pretrained import load_pretrained
from speechkit.pieces import (
    Clock,
    Piece,
    Progress,
    Spoken,
    batches,
    pieces_of,
    timed_words,
)
from speechkit.reading import VoiceFiles, read_voice
from speechkit.streaming import speak_piece
from speechkit.takes import speak_until_clear
from speechkit.text import Frontend, PhoneVocabulary
from speechkit.text.turns import Script, write_script
from speechkit.watermark import Watermark, Watermarked, apply_watermark, embed_pieces

PHONES_AT_ONCE = {"cpu": 200, "mps": 1000, "cuda": 4000}
"""Phones that pieces may have together to be drawn in one batch: more takes more memory, and on a
CPU is no faster."""


CANDIDATES = 4
"""How often trained models draw words that are not clear, at most, where nobody says."""


class ZeroShotTTS:
    """Speaks text in the voice of a short recording; each attribute can have its own source."""

    def __init__(
        self,
        codec: Codec,
        generator: Generator,
        *,
        lexicon: Mapping[str, Sequence[str]] | None = None,
        weights: str = "unnamed",
        trained: bool = False,
    ) -> None:
        """Take the two models; `lexicon` maps words to ARPAbet phones."""
        self.codec, self.generator = codec, generator
        self.weights, self.trained = weights, trained
        check_partners(codec, generator)
        self.vocabulary = PhoneVocabulary(generator.config.phone_symbols)
        self.frontend = Frontend(lexicon)
        self.sampler = SamplerConfig()
        self.dtype = torch.float32
        self._files = VoiceFiles()

    @property
    def device(self) -> torch.device:
        """Where its models are."""
        return self.generator.device

    def to(
        self, device: str | torch.device | None = None, dtype: str | torch.dtype | None = None
    ) -> ZeroShotTTS:
        """The same models on a device (`auto`, `cpu`, `cuda`, `mps`), the generator computing in
        `dtype` (`auto`, `float32`, `bfloat16`, `float16`); what is None stays.

        Weights are kept in float32, and so are the codec and its vocoder, which take little time.
        Voices stay on the CPU. Raises ConfigError for a device that is not there.
        """
        place = self.device if device is None else pick_device(device)
        if dtype is not None:
            self.dtype = pick_dtype(dtype, place)
        self.codec.to(place)
        self.generator.to(place)
        return self

    def number_format(self) -> torch.autocast:
        """The context in which the generator computes in `dtype`."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path | None = None,
        *,
        lexicon: Mapping[str, Sequence[str]] | None = None,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = "auto",
    ) -> ZeroShotTTS:
        """The bundled model, or one from a folder with `codec` and `generator` inside: weights, or
        what `speechkit export onnx` wrote, which onnxruntime computes on the CPU.

        `device` and `dtype` are those of `to`. Raises CheckpointError when the folder does not
        hold both, ConfigError for a device that is not there, MissingPackageError for an export
        without the extra `onnx`.
        """
        place = pick_device(device)
        number_format = pick_dtype(dtype, place)
        root = WEIGHTS if folder is None else Path(folder)
        for part in ("codec", "generator"):
            if not (root / part / CONFIG_FILE).is_file():
                raise CheckpointError(
                    f"{root} holds no {part}: give a folder with codec/ and generator/, each with "
                    "model.safetensors and config.json."
                )
        if any(is_export(read_config(root / part)) for part in ("codec", "generator")):
            check_exported_place(device, dtype)
            place, number_format = torch.device("cpu"), torch.float32
        codec = load_pretrained(root / "codec")
        made = load_pretrained_generator(root / "generator")
        origins = (codec.origin, made.origin)
        tts = cls(
            codec.codec,
            made.generator,
            lexicon=lexicon,
            weights=f"codec {codec.sha256[:8]}, generator {made.origin.sha256[:8]}"
            f"{' in ONNX' if any(origin.exported for origin in origins) else ''}",
            trained=all(origin.trained for origin in origins),
        )
        return tts.to(place, number_format)

    @property
    def sample_rate_hz(self) -> int:
        """Samples a second of everything it says."""
        return self.codec.sample_rate_hz

    @property
    def frame_seconds(self) -> float:
        """How long a frame of the codec lasts."""
        return self.codec.hop_samples / self.codec.sample_rate_hz

    @property
    def voice_sizes(self) -> VoiceSizes:
        """What a voice must fit to be used here; see `Voice.check`."""
        codebooks = self.codec.quantizer
        return VoiceSizes(
            voice_widths=self.codec.voice_widths,
            codebooks=codebooks.codebooks,
            codebook_size=codebooks.codebook_size,
            phones=len(self.vocabulary),
            codes=codes_sign(self.codec),
        )

    def voice(
        self,
        prompt: str | Path | Tensor | Prompt,
        transcript: str | tuple[str, ...] | None = None,
    ) -> Voice:
        """The voice of a recording: a file of any rate, or a wave at `sample_rate_hz`.

        `transcript`, where given, as text or as its phones, improves the phone times. A `Prompt`,
        which `prepare_prompt` made at `sample_rate_hz`, is used as it is. The voices of the last
        files are remembered. Raises AudioError, PromptError, TextError.
        """
        phones = self.frontend.phones(transcript) if isinstance(transcript, str) else transcript
        if isinstance(prompt, str | Path):
            path = Path(prompt)
            return self._files.voice(path, phones, lambda: self._read(path, phones))
        return self._read(prompt, phones)

    @torch.no_grad()
    def _read(self, prompt: Path | Tensor | Prompt, phones: tuple[str, ...] | None) -> Voice:
        """The voice of a recording that says `phones`, or what is recognised in it."""
        if isinstance(prompt, Path):
            prompt = read_prompt(prompt, self.sample_rate_hz)
        if isinstance(prompt, Tensor):
            prompt = prepare_prompt(prompt, self.sample_rate_hz)
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
        candidates: int | None = None,
        watermark: Watermark | None = Watermark(),  # noqa: B008 (frozen)
        progress: Progress | None = None,
    ) -> Speech:
        """The text in the voice, with an inaudible watermark, which `watermark=None` leaves out;
        speech under 0.6 s has none, and its notes say so.

        Long text is spoken in pieces of up to `CHUNK_CHARACTERS`, each with draws of its own.
        `steps` sets the passes of the prosody stage, from which those of the others follow; more is
        slower and usually clearer. Words that the bundled aligner does not hear clearly are drawn
        again, up to `candidates` times in all (None: 4), the rest of the piece stays, and of each
        word the clearest try is kept: 1 is fastest.

            tts = ZeroShotTTS.from_pretrained()
            tts.synthesize("Hello there.", tts.voice("me.wav")).save("hello.wav")

        Raises TextError for text that cannot be spoken, CheckpointError for a voice that is damaged
        or of another model, ConfigError for a setting out of range.
        """
        (speech,) = self.synthesize_batch(
            [text],
            [voice],
            seeds=[seed],
            speed=speed,
            steps=steps,
            candidates=candidates,
            watermark=watermark,
            progress=progress,
        )
        return speech

    def synthesize_batch(
        self,
        texts: Sequence[str | Script],
        voices: Sequence[Voice] | Voice,
        *,
        seeds: Sequence[int] | int = 0,
        speed: float = 1.0,
        steps: int | None = None,
        candidates: int | None = None,
        watermark: Watermark | None = Watermark(),  # noqa: B008 (frozen)
        progress: Progress | None = None,
    ) -> list[Speech]:
        """Many texts, each with its voice and seed, or all with one: `synthesize` of each.

        What belongs together is drawn in one batch, as much as `PHONES_AT_ONCE` allows; an item
        gets the codes that it gets alone. `stages_seconds` are those of the whole call. Errors as
        those of `synthesize`, before anything is spoken; ConfigError for lists of other lengths.

            tts.synthesize_batch(["One.", "Two."], tts.voice("me.wav"), seeds=[1, 2])
        """
        sampler, clock = self.sampling(steps, candidates), Clock()
        time_scale(torch.ones(1, dtype=torch.long), speed)  # raises before anything expensive
        every_voice = [voices] * len(texts) if isinstance(voices, Voice) else list(voices)
        every_seed = [seeds] * len(texts) if isinstance(seeds, int) else list(seeds)
        if not len(texts) == len(every_voice) == len(every_seed):
            raise ConfigError(
                f"There are {len(texts)} texts, {len(every_voice)} voices and {len(every_seed)} "
                "seeds: give one of each for every text, or a single voice and seed."
            )
        for voice in every_voice:
            voice.check(self.voice_sizes)
        scripts = [
            write_script(text, self.frontend) if isinstance(text, str) else text for text in texts
        ]
        pieces = [
            piece
            for script, voice, seed in zip(scripts, every_voice, every_seed, strict=True)
            for piece in pieces_of(script, voice, seed, speed)
        ]
        spoken: list[Spoken] = []
        for group in batches(pieces, PHONES_AT_ONCE.get(self.device.type, 200)):
            begin = clock.telling(progress, len(spoken) + len(group) - 1, len(pieces))
            spoken += self.speak(group, sampler, begin)
        if watermark is not None:
            clock.enter("watermark")
        results, rest = [], iter(spoken)
        for script, voice, seed in zip(scripts, every_voice, every_seed, strict=True):
            own = list(islice(rest, len(script.chunks)))
            wave_T = torch.cat([piece.wave_T for piece in own])
            results.append(
                (script, voice, seed, own, apply_watermark(wave_T, self.sample_rate_hz, watermark))
            )
        clock.enter("")
        return [self._speech(*result, clock.seconds) for result in results]

    def stream(
        self,
        text: str,
        voice: Voice,
        *,
        seed: int = 0,
        speed: float = 1.0,
        steps: int | None = None,
        watermark: Watermark | None = Watermark(),  # noqa: B008 (frozen)
    ) -> Iterator[Tensor]:
        """The speech as waves `[T]` that follow each other, each as soon as it is there.

        They are the pieces that `narrate_pieces` makes of the text with one candidate. Each begins
        and ends in silence; the first comes in parts, each of which goes on where the one before it
        ended. One mark runs on over all of them. Text, voice and settings are checked before
        anything is spoken; errors as those of `synthesize`.

            for wave_T in tts.stream("A long text. And so on.", voice):
                play(wave_T)
        """
        sampler = self.sampling(steps, 1)
        time_scale(torch.ones(1, dtype=torch.long), speed)
        voice.check(self.voice_sizes)
        script = write_script(text, self.frontend, soon=True)
        parts = (
            speak_piece(self, piece, sampler, soon=number == 0)
            for number, piece in enumerate(pieces_of(script, voice, seed, speed))
        )
        waves = (spoken.wave_T for spoken in chain.from_iterable(parts))
        if watermark is None:
            return waves
        return embed_pieces(waves, self.sample_rate_hz, watermark)

    def speak(
        self, pieces: Sequence[Piece], sampler: SamplerConfig, begin: Callable[[str], None]
    ) -> list[Spoken]:
        """Each piece as speech; see `speak_until_clear`."""
        return speak_until_clear(self, pieces, sampler, begin)

    def phone_ids(self, phones: Sequence[str]) -> Tensor:
        """`phones_P` of phone symbols; raises TextError for one that the model does not know."""
        return torch.tensor(self.vocabulary.ids(phones))

    def draw_frames(
        self, targets: Sequence[Segment], voices: Sequence[Voice], draws: Draws
    ) -> list[Segment]:
        """Targets with the codes of the prosody, content and detail stages, in that order."""
        filled, timbres = list(targets), [voice.timbre_D for voice in voices]
        with self.number_format():
            for name in FRAME_STAGES:
                prompts = [getattr(voice, name) for voice in voices]
                filled = self.generator.draw(name, filled, prompts, timbres, draws)
        return filled

    def _speech(
        self,
        script: Script,
        voice: Voice,
        seed: int,
        spoken: Sequence[Spoken],
        watermarked: Watermarked,
        seconds: Mapping[str, float],
    ) -> Speech:
        phones = tuple(chain(*script.chunks))
        frames = tuple(chain(*(piece.frames for piece in spoken)))
        times = timed(phones, frames, self.frame_seconds)
        return Speech(
            wave_T=watermarked.wave_T,
            sample_rate_hz=self.sample_rate_hz,
            phones=phones,
            frames=frames,
            words=timed_words(script.words, times),
            seed=seed,
            stages_seconds=seconds,
            notes=(*script.notes, *voice.notes, *watermarked.notes),
            watermark=watermarked.payload,
        )

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
        candidates: int = 1,
        watermark: Watermark | None = Watermark(),  # noqa: B008 (frozen)
    ) -> Speech:
        """The text with each attribute from its own voice; what is not given follows `timbre`.

        With one candidate, so that another voice for one attribute leaves the others as they were.
        """
        mixed = mix_voices(
            timbre, prosody=prosody, duration=duration, content=content, detail=detail
        )
        return self.synthesize(
            text,
            mixed,
            seed=seed,
            speed=speed,
            steps=steps,
            candidates=candidates,
            watermark=watermark,
        )

    def sampling(self, steps: int | None, candidates: int | None = None) -> SamplerConfig:
        """Settings of all stages for a step count, and of how many candidates there are; raises
        ConfigError for one out of range."""
        if candidates is None:
            # In random weights there is nothing to hear.
            candidates = CANDIDATES if self.trained else 1
        return self.sampler.with_candidates(candidates).with_steps(steps)
