"""Fine-tune an encoder into a recogniser with some labelled speech.

`speechkit ssl finetune --corpus A.corpus --encoder run/last --minutes-of-labels 60
--config recipes/ssl/finetune-small.toml --out tuned`; the models are `tuned/last` and `tuned/best`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from speechkit.core.checkpoint import load_state
from speechkit.core.config import require_range, to_dict
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
from speechkit.ssl.ctc.model import CtcConfig, DropoutConfig, build_ctc
from speechkit.ssl.ctc.task import CtcTask
from speechkit.ssl.encoder import SslEncoder
from speechkit.train import TrainConfig, TrainReport, train
from speechkit.train.config import Decay

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FinetuneTrainConfig(TrainConfig):
    """The training loop with the optimiser of wav2vec 2.0's fine-tuning (appendix B; fairseq)."""

    lr: float = 5e-5
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.0
    decay: Decay = "tri-stage"
    clip_norm: float = 0.0
    ema_decay: float = 0.0


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
    encoder_lr_scale: float = 1.0
    """Learning rate of the encoder as a share of `train.lr`, which the classifier has; without
    pre-training always 1."""
    freeze_convolutions: bool = True
    """Whether the convolutions stay as pre-training left them, as in the papers. Without
    pre-training they learn in any case."""
    held_out_clips: int = 32
    """Clips that are not learned from, of held-out speakers where there are enough: their character
    error is shown, and chooses `best`."""
    train: FinetuneTrainConfig = field(default_factory=FinetuneTrainConfig)
    """Optimiser, budget and log."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        require_range(
            self,
            batch_seconds=(0.1, 1e6),
            freeze_encoder_updates=(0, 10**9),
            encoder_lr_scale=(1e-6, 1e3),
            held_out_clips=(0, 10**6),
        )
        if self.alphabet not in ("english", "text"):
            raise ValueError(f'alphabet must be "english" or "text", not "{self.alphabet}"')


@dataclass(frozen=True, kw_only=True)
class FinetuneReport:
    """What a fine-tuning run came to."""

    run: TrainReport
    """How training went."""
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
    """Train a recogniser into the folder ``out``; a run there is resumed. Its models are ``last``
    and ``best``.

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
        seed=config.train.seed,
    )
    log.info("labels: %s", split.train.report.text())
    ctc_config = CtcConfig(
        encoder=config.noise.of(encoder_config), final_dropout=config.noise.final_dropout
    )
    pre_trained = isinstance(encoder, SslEncoder)
    frozen = config.freeze_encoder_updates if pre_trained else 0
    encoder_lr_scale = config.encoder_lr_scale if pre_trained else 1.0
    model = build_ctc(ctc_config, characters, config.train.seed)
    if isinstance(encoder, SslEncoder):
        load_state(model.encoder, encoder.state_dict())
    if not (isinstance(encoder, SslEncoder) and config.freeze_convolutions):
        model.free_convolutions()
    identity = {
        "model": to_dict(ctc_config),
        "encoder": source,
        "alphabet": characters.to_json(),
        "corpus": packed.sha256,
        "labels": [item.clip for item in split.train.items],
        "mask": to_dict(config.mask),
        "batch_seconds": config.batch_seconds,
        "frozen": [frozen, config.freeze_convolutions],
        "encoder_lr_scale": encoder_lr_scale,
    }
    task = CtcTask(
        model,
        training_batches(split.train, config, encoder_config),
        lambda: validation_batches(split.held_out, config),
        frozen,
        encoder_lr_scale,
    )
    return FinetuneReport(
        run=train(task, config.train, out, identity=identity), labels=_labels(split)
    )


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
        config.train.seed,
    )


def validation_batches(clips: LabelledClips, config: FinetuneConfig) -> Sequence[CtcBatch]:
    """Return the held-out clips in batches, longest first, without masks."""
    samples = [item.samples for item in clips.items]
    order = sorted(range(len(samples)), key=lambda place: -samples[place])
    batches = cut(samples, order, round(config.batch_seconds * PACKED_SAMPLE_RATE_HZ))
    return [collate(clips, batch) for batch in batches]


def _labels(split: ClipSplit) -> str:
    held_out = split.held_out.report
    return f"{split.train.report.text()}; watched: {held_out.clips} clips"
