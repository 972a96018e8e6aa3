"""Training of the codecs: `speechkit train codec PHASE …`.

Small codec, in order: `vocoder` trains the vocoder on real log-mel, `acoustic` everything else,
`decoder` the decoder against a discriminator, `finetune` the vocoder on the codec's own log-mel,
`adversarial` the vocoder against discriminators; each starts from the export of an earlier one
(`--init`), and the last three leave the codes as they are. Paper's codec: `paper` trains all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechkit.core.checkpoint import load_checkpoint, load_state
from speechkit.core.config import to_dict
from speechkit.core.errors import ConfigError
from speechkit.data.alignment import ALIGNMENT, Alignment
from speechkit.data.codes import RedrawnCodes
from speechkit.data.packed import Data, PackedCorpus
from speechkit.data.sidecar import has_sidecars
from speechkit.facodec.paper.codec import PaperCodec, build_paper_codec, paper_codec_config
from speechkit.facodec.paper.config import PaperCodecConfig
from speechkit.facodec.small.codec import FACodec, build_codec, codec_config
from speechkit.facodec.small.config import FACodecConfig
from speechkit.facodec.training.acoustic_task import AcousticConfig, AcousticTask
from speechkit.facodec.training.adversarial_task import AdversarialConfig, AdversarialTask
from speechkit.facodec.training.decoder_task import DecoderConfig, DecoderTask
from speechkit.facodec.training.growth import grown_config, grown_state
from speechkit.facodec.training.paper_config import PaperConfig
from speechkit.facodec.training.paper_task import PaperTask
from speechkit.facodec.training.segments import SegmentSampler
from speechkit.facodec.training.statistics import read_statistics
from speechkit.facodec.training.teachers import build_teachers
from speechkit.facodec.training.vocoder_task import VocoderTask
from speechkit.text.frames import FrameClasses
from speechkit.text.vocab import DEFAULT_VOCABULARY
from speechkit.train import Task, TrainConfig, TrainReport, train


@dataclass(frozen=True, kw_only=True)
class VocoderTaskConfig:
    """How the vocoder is trained."""

    batch_size: int = 24
    """Crops a step."""

    window_frames: int = 34
    """Code frames of a crop that are spoken."""

    crop_frames: int = 60
    """Code frames of a crop that are encoded when the codec's own log-mel is used."""


@dataclass(frozen=True, kw_only=True)
class CodecTraining:
    """A whole recipe of a codec; each phase reads its own part."""

    codec: FACodecConfig = field(default_factory=FACodecConfig)
    """The small network."""

    acoustic: AcousticConfig = field(default_factory=AcousticConfig)
    """The acoustic phase."""

    vocoder: VocoderTaskConfig = field(default_factory=VocoderTaskConfig)
    """The two phases that train the vocoder without discriminators."""

    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    """The phase that trains the decoder with a discriminator."""

    adversarial: AdversarialConfig = field(default_factory=AdversarialConfig)
    """The phase that trains the vocoder with discriminators."""

    paper_codec: PaperCodecConfig = field(default_factory=PaperCodecConfig)
    """The paper's network; its `phone_classes` and `speakers` follow from the corpus."""

    paper: PaperConfig = field(default_factory=PaperConfig)
    """The paper's training."""

    train: TrainConfig = field(default_factory=lambda: TrainConfig(amp="auto"))
    """Optimiser, budget and log."""


def start_codec(
    config: FACodecConfig, corpus: PackedCorpus, init: Path | None, seed: int
) -> FACodec:
    """A fresh small codec for the corpus, or the one exported in `init`.

    Where `config` asks for more blocks of decoder or vocoder than `init` has, it grows: the new
    blocks change nothing yet.
    """
    if init is not None:
        checkpoint = load_checkpoint(init)
        found = codec_config(checkpoint.config)
        network = grown_config(found, config)
        with _seeded(seed):
            codec = build_codec(replace(network, speakers=len(corpus.speakers)))
        load_state(codec, grown_state(checkpoint.state, found, codec))
        return codec
    symbols = FrameClasses(DEFAULT_VOCABULARY).symbols
    with _seeded(seed):
        return build_codec(replace(config, phone_symbols=symbols, speakers=len(corpus.speakers)))


def start_paper_codec(
    config: PaperCodecConfig, corpus: PackedCorpus, init: Path | None, seed: int
) -> PaperCodec:
    """A fresh codec of the paper's kind for the corpus, or the one exported in `init`.

    `init` settles the network; which adversaries there are and how often detail is dropped is the
    recipe's to say. Predictors that `init` lacks, or has for other phones or speakers, start
    afresh.
    """
    symbols = FrameClasses(DEFAULT_VOCABULARY).symbols
    checkpoint = None if init is None else load_checkpoint(init)
    network = config if checkpoint is None else paper_codec_config(checkpoint.config)
    with _seeded(seed):
        codec = build_paper_codec(
            replace(
                network,
                phone_classes=len(symbols),
                phone_symbols=symbols,
                speakers=len(corpus.speakers),
                detail_dropout=config.detail_dropout,
                reverse_prosody_phone=config.reverse_prosody_phone,
                reverse_content_f0=config.reverse_content_f0,
                reverse_detail_f0=config.reverse_detail_f0,
                reverse_detail_phone=config.reverse_detail_phone,
                reverse_speaker=config.reverse_speaker,
            )
        )
    if checkpoint is not None:
        fresh = {k: value for k, value in codec.state_dict().items() if k.startswith("predictors.")}
        found = {
            k: value for k, value in checkpoint.state.items() if not k.startswith("predictors.")
        }
        for name, value in fresh.items():
            trained = checkpoint.state.get(name)
            fits = trained is not None and trained.shape == value.shape
            found[name] = trained if trained is not None and fits else value
        load_state(codec, found)
    return codec


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Let fresh weights follow the seed, and nothing else."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a phase is built from."""

    recipe: CodecTraining
    """All settings."""

    data: Data
    """Packed corpora; their alignment is used where there is one."""

    init: Path | None
    """Export of an earlier phase."""

    @cached_property
    def corpus(self) -> PackedCorpus:
        """The corpus, opened; raises DataError for one that was prepared without pitch."""
        corpus = PackedCorpus(self.data)
        corpus.require_pitch()
        return corpus

    @cached_property
    def alignment(self) -> Alignment | None:
        """Its phones and durations, if it has any."""
        if not has_sidecars(self.corpus, ALIGNMENT):
            return None
        alignment = Alignment(self.corpus)
        alignment.require_symbols(DEFAULT_VOCABULARY.symbols)
        return alignment

    def codec(self) -> FACodec:
        """The small codec to train."""
        return start_codec(self.recipe.codec, self.corpus, self.init, self.recipe.train.seed)

    def redrawn(self) -> RedrawnCodes:
        """Codes that a generator drew for clips of the corpus, on codes of the codec in `init`."""
        return RedrawnCodes(self.corpus)

    def segments(
        self,
        crop_frames: int,
        reference_frames: int,
        level_rms: float | None,
        *,
        other_reference: float = 0.0,
        resampled: float = 0.0,
        usable_N: Tensor | None = None,
        redrawn: RedrawnCodes | None = None,
        redrawn_share: float = 0.0,
    ) -> tuple[SegmentSampler, SegmentSampler]:
        """Segments to train on, and held-out ones, which are as recorded."""
        train_set, held_out = (
            SegmentSampler(
                self.corpus,
                FrameClasses(DEFAULT_VOCABULARY),
                self.alignment,
                crop_frames=crop_frames,
                reference_frames=reference_frames,
                level_rms=level_rms,
                validation=validation,
                other_reference=other_reference,
                resampled=0.0 if validation else resampled,
                usable_N=usable_N,
                redrawn=None if validation else redrawn,
                redrawn_share=redrawn_share,
            )
            for validation in (False, True)
        )
        return train_set, held_out

    def small_segments(
        self, codec: FACodec, crop_frames: int, **changes: Any
    ) -> tuple[SegmentSampler, SegmentSampler]:
        """Segments at the small codec's level, with another crop for timbre."""
        reference_frames = self.recipe.acoustic.reference_frames
        return self.segments(crop_frames, reference_frames, codec.config.level_rms, **changes)


def _acoustic(start: Start) -> AcousticTask:
    config, codec = start.recipe.acoustic, start.codec()
    segments = start.small_segments(codec, config.crop_frames)
    # The predictors that only training needs are fresh in every run: their start follows the seed.
    with _seeded(start.recipe.train.seed):
        return AcousticTask(codec, *segments, config)


def _vocoder(start: Start, *, coded: bool) -> VocoderTask:
    config, codec = start.recipe.vocoder, start.codec()
    return VocoderTask(
        codec,
        *start.small_segments(codec, config.crop_frames),
        batch_size=config.batch_size,
        window_frames=config.window_frames,
        coded=coded,
    )


def _decoder(start: Start) -> DecoderTask:
    _require_init(start, "acoustic")
    config, codec = start.recipe.decoder, start.codec()
    known = read_statistics(start.corpus, codec.config) if config.taught else None
    teachers = None if known is None else build_teachers(known)
    texts_N = torch.from_numpy(start.corpus.text_N)
    usable_N = texts_N if config.with_text else torch.ones_like(texts_N)
    if known is not None:
        usable_N = usable_N & known.known_N
    segments = start.small_segments(
        codec,
        config.crop_frames,
        other_reference=config.other_reference,
        resampled=config.resampled,
        usable_N=usable_N,
        redrawn=start.redrawn() if config.redrawn else None,
        redrawn_share=config.redrawn,
    )
    with _seeded(start.recipe.train.seed):
        return DecoderTask(codec, *segments, config, teachers)


def _adversarial(start: Start) -> AdversarialTask:
    _require_init(start, "finetune")
    config, codec = start.recipe.adversarial, start.codec()
    segments = start.small_segments(
        codec,
        config.crop_frames,
        redrawn=start.redrawn() if config.redrawn else None,
        redrawn_share=config.redrawn,
    )
    with _seeded(start.recipe.train.seed):
        return AdversarialTask(codec, *segments, config)


def _require_init(start: Start, phase: str) -> None:
    """Raise ConfigError where there is no codec yet that a discriminator could polish."""
    if start.init is None:
        raise ConfigError(
            "Discriminators polish a codec that speaks already: give --init, the export of the "
            f"phase {phase}."
        )


def _paper(start: Start) -> PaperTask:
    recipe = start.recipe
    config, seed = recipe.paper, recipe.train.seed
    if start.init is not None:
        config = replace(config, start_from_batch=False)
    codec = start_paper_codec(recipe.paper_codec, start.corpus, start.init, seed)
    # This codec reads timbre off the crop itself, and waves at whatever level they come.
    segments = start.segments(config.crop_frames, 1, None)
    with _seeded(seed):
        return PaperTask(codec, *segments, config)


PHASES: Mapping[str, Callable[[Start], Task]] = {
    "vocoder": lambda start: _vocoder(start, coded=False),
    "acoustic": _acoustic,
    "decoder": _decoder,
    "finetune": lambda start: _vocoder(start, coded=True),
    "adversarial": _adversarial,
    "paper": _paper,
}
"""How the task of each phase is built."""


def train_codec(
    phase: str, recipe: CodecTraining, data: Data, out: Path, *, init: Path | None = None
) -> TrainReport:
    """Train one of `PHASES` on the packed corpora `data`; a run in `out` is resumed.

    `init` is the export of an earlier phase. Raises ConfigError for an unknown phase and for a run
    in `out` that began with another recipe, start or corpus.
    """
    if phase not in PHASES:
        raise ConfigError(f"There is no phase {phase!r} of the codec: give {', '.join(PHASES)}.")
    start = Start(recipe=recipe, data=data, init=init)
    settings = {name: part for name, part in to_dict(recipe).items() if name != "train"}
    identity = {
        **settings,
        "phase": phase,
        "init": None if init is None else load_checkpoint(init).sha256,
        "data": start.corpus.sha256,
        "alignment": None if start.alignment is None else start.alignment.sha256,
    }
    return train(PHASES[phase](start), recipe.train, out, identity=identity)
