"""Fine-tune an encoder into a recogniser with some labelled speech.

`speechkit ssl finetune --corpus A.corpus --encoder run/model --minutes-of-labels 60
--config recipes/ssl/finetune-small.toml --out tuned`; the model is `tuned/model`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from speechkit.core.config import require_range, to_dict
from speechkit.core.errors import ConfigError
from speechkit.data.packed import PACKED_SAMPLE_RATE_HZ, Data, PackedCorpus
from speechkit.ssl.config import EncoderConfig
from speechkit.ssl.ctc.batches import (
    CtcBatch,
    FinetuneMaskConfig,
    MaskShape,
    NumberedBatches,
    collate,
    cut,
)
from speechkit.ssl.ctc.characters import Characters
from speechkit.ssl.ctc.clips import ClipsConfig, ClipSplit, LabelledClips, select_clips
from speechkit.ssl.ctc.model import CtcConfig, CtcModel, DropoutConfig, build_ctc, save_ctc
from speechkit.ssl.encoder import SslEncoder
from speechkit.ssl.training import Job, RunConfig, RunReport, run_training

FIGURES = ("loss/ctc", "figure/character_loss", "figure/character_errors")

log = logging.getLogger(__name__)


def _fine_tuning_run() -> RunConfig:
    """Return the optimiser of wav2vec 2.0's fine-tuning (appendix B; fairseq's recipes)."""
    return RunConfig(lr=5e-5, eps=1e-8, weight_decay=0.0, schedule="tri-stage")


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """Labels, noise and training of a recogniser."""

    clips: ClipsConfig = field(default_factory=ClipsConfig)
    """Labelled clips."""
    alphabet: str = "english"
    """`english`: A to Z and the apostrophe; `text`: the letters that the labels hold."""
    mask: FinetuneMaskConfig = field(default_factory=FinetuneMaskConfig)
    """What training hides."""
    noise: DropoutConfig = field(default_factory=DropoutConfig)
    """Dropout inside the encoder."""
    batch_seconds: float = 200.0
    """Speech in a batch, padding included (fairseq: 3.2 million samples)."""
    freeze_encoder_updates: int = 10_000
    """Updates in which only the classifier learns; 0 from 100 h of labels on, and always without
    pre-training."""
    freeze_convolutions: bool = True
    """Whether the convolutions stay as pre-training left them, as in the papers. Without
    pre-training they learn in any case."""
    held_out_clips: int = 32
    """Clips that are not learned from, for the character error shown in the log."""
    run: RunConfig = field(default_factory=_fine_tuning_run)
    """How long, how fast."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        require_range(
            self,
            batch_seconds=(0.1, 1e6),
            freeze_encoder_updates=(0, 10**9),
            held_out_clips=(0, 10**6),
        )
        if self.alphabet not in ("english", "text"):
            raise ValueError(f'alphabet must be "english" or "text", not "{self.alphabet}"')


@dataclass(frozen=True, kw_only=True)
class FinetuneReport:
    """What a fine-tuning run came to."""

    run: RunReport
    """Updates and minutes, and where the model is."""
    labels: str
    """What was learned from, one line."""


def finetune(
    data: Data,
    config: FinetuneConfig,
    out: Path,
    *,
    encoder: SslEncoder | EncoderConfig,
    source: str,
) -> FinetuneReport:
    """Train a recogniser into the folder ``out``, whose ``model`` is the result.

    ``encoder`` is a pre-trained one, or the config of one with random weights: the baseline without
    pre-training. ``source`` names its weights, so that a run is resumed from the same ones only.
    Raises ConfigError, DataError or CheckpointError before any training where something does not
    fit.
    """
    packed = PackedCorpus(data)
    characters = alphabet_of(packed, config)
    encoder_config = encoder.config if isinstance(encoder, SslEncoder) else encoder
    split = select_clips(
        packed,
        characters,
        encoder_config.frames,
        config.clips,
        held_out=config.held_out_clips,
        seed=config.run.seed,
    )
    log.info("labels: %s", split.train.report.line())
    ctc_config = CtcConfig(
        encoder=config.noise.of(encoder_config), final_dropout=config.noise.final_dropout
    )
    frozen = config.freeze_encoder_updates if isinstance(encoder, SslEncoder) else 0
    job = Job(
        name="CTC",
        build=_builder(config, ctc_config, characters, encoder),
        figures=FIGURES,
        draw=training_batches(split.train, config, encoder_config),
        held_out=lambda: validation_batches(split.held_out, config),
        export=_export,
        identity={
            "model": to_dict(ctc_config),
            "encoder": source,
            "alphabet": characters.to_json(),
            "corpus": packed.sha256,
            "labels": [item.clip for item in split.train.items],
            "mask": to_dict(config.mask),
            "frozen": [frozen, config.freeze_convolutions],
            "seed": config.run.seed,
        },
        before_update=lambda model, update: _freeze(model, update, frozen),
    )
    return FinetuneReport(run=run_training(job, config.run, out), labels=_labels(split))


def _builder(
    config: FinetuneConfig,
    ctc_config: CtcConfig,
    characters: Characters,
    encoder: SslEncoder | EncoderConfig,
) -> Callable[[], nn.Module]:
    """Return what makes the model that training starts from."""

    def build() -> nn.Module:
        model = build_ctc(ctc_config, characters, config.run.seed)
        if isinstance(encoder, SslEncoder):
            model.encoder.load_state_dict(encoder.state_dict())
        if not (isinstance(encoder, SslEncoder) and config.freeze_convolutions):
            model.free_convolutions()
        return model

    return build


def alphabet_of(corpus: PackedCorpus, config: FinetuneConfig) -> Characters:
    """Return the alphabet that the config asks for; raises DataError where the text has none."""
    if config.alphabet == "english":
        return Characters.english()
    chosen = config.clips.selection.of(corpus)
    return Characters.from_texts(corpus.clips[clip]["text"] or "" for clip in chosen)


def training_batches(
    clips: LabelledClips, config: FinetuneConfig, encoder: EncoderConfig
) -> NumberedBatches:
    """Return the numbered batches of training."""
    return NumberedBatches(
        clips,
        round(config.batch_seconds * PACKED_SAMPLE_RATE_HZ),
        config.mask,
        MaskShape(frames=encoder.frames, channels=encoder.model_dim),
        config.run.seed,
    )


def validation_batches(clips: LabelledClips, config: FinetuneConfig) -> Sequence[CtcBatch]:
    """Return the held-out clips in batches, longest first, without masks."""
    samples = [item.samples for item in clips.items]
    order = sorted(range(len(samples)), key=lambda place: -samples[place])
    batches = cut(samples, order, round(config.batch_seconds * PACKED_SAMPLE_RATE_HZ))
    return [collate(clips, batch) for batch in batches]


def _freeze(model: nn.Module, update: int, until: int) -> None:
    if not isinstance(model, CtcModel):
        raise ConfigError("Fine-tuning freezes whole encoders: train with parallelism ddp.")
    model.encoder_is_frozen = update < until


def _export(folder: Path, model: nn.Module) -> None:
    assert isinstance(model, CtcModel)
    save_ctc(folder, model)


def _labels(split: ClipSplit) -> str:
    held_out = split.held_out.report
    return f"{split.train.report.line()}; watched: {held_out.clips} clips"
