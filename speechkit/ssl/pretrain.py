"""Pre-train wav2vec 2.0 or HuBERT on packed corpora.

`speechkit ssl pretrain A.corpus B.corpus --config recipes/ssl/hubert-small.toml --out run`
Run the same command again to go on after an interruption; under torchrun or srun for many devices.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from speechkit.core.config import to_dict
from speechkit.core.errors import ConfigError
from speechkit.data.packed import Data, PackedCorpus
from speechkit.ssl.checkpoints import build_pretrainer, load_model, save_model
from speechkit.ssl.config import HubertConfig, ModelConfig, Wav2Vec2Config
from speechkit.ssl.crops import CropConfig, CropDataset
from speechkit.ssl.heard import write_heard
from speechkit.ssl.training import Job, RunConfig, RunReport, run_training
from speechkit.ssl.training.guard import CollapseGuard, GuardConfig
from speechkit.ssl.units.file import Units

WAV2VEC2_FIGURES = (
    *("loss/contrastive", "loss/diversity", "loss/penalty", "figure/accuracy"),
    *("figure/soft_perplexity", "figure/hard_perplexity", "figure/distractor_hits"),
    "figure/masked_share",
)
HUBERT_FIGURES = (
    *("loss/masked", "loss/penalty", "figure/accuracy", "figure/prediction_perplexity"),
    *("figure/label_perplexity", "figure/masked_share"),
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """One of the two models, and how it is trained."""

    wav2vec2: Wav2Vec2Config | None = None
    """Given for wav2vec 2.0."""
    hubert: HubertConfig | None = None
    """Given for HuBERT."""
    data: CropConfig = field(default_factory=CropConfig)
    """Clips and batches."""
    guard: GuardConfig = field(default_factory=GuardConfig)
    """When training stops because the model has collapsed."""
    run: RunConfig = field(default_factory=RunConfig)
    """How long, how fast."""

    @property
    def model(self) -> ModelConfig:
        """The config of the one model that is given; raises ConfigError otherwise."""
        if (self.wav2vec2 is None) == (self.hubert is None):
            raise ConfigError("The config must have exactly one section of wav2vec2 and hubert.")
        return self.wav2vec2 or self.hubert  # type: ignore[return-value]


def pretrain(
    data: Data,
    config: PretrainConfig,
    out: Path,
    *,
    units: Path | None = None,
    initial: Path | None = None,
) -> RunReport:
    """Train on the corpora ``data`` into the folder ``out``, whose ``model`` is the result.

    ``initial`` is a model folder of the same config to start from. Raises ConfigError, DataError or
    CheckpointError before any training where config, data or an earlier run do not fit, and
    CollapseError from a run that collapses.
    """
    model = config.model
    corpus = PackedCorpus(data)
    targets = None if units is None else Units(units, corpus)
    crops = CropDataset(corpus, config.data, model, config.run.seed, targets)
    log.info("%s", crops.describe())
    start = None if initial is None else load_model(initial)
    if start is not None and start.config != model:
        raise ConfigError(f"The model in {initial} has another config than the one to train.")

    heard = [crops.corpus.clips[clip]["id"] for clip in crops.clips]

    def build() -> nn.Module:
        built = build_pretrainer(model, config.run.seed)
        if start is not None:
            built.load_state_dict(start.state_dict())
        return built

    def export(folder: Path, trained: nn.Module) -> None:
        save_model(folder, trained, trained=True)  # type: ignore[arg-type]
        write_heard(folder, heard)

    job = Job(
        name="wav2vec 2.0" if isinstance(model, Wav2Vec2Config) else "HuBERT",
        build=build,
        figures=WAV2VEC2_FIGURES if isinstance(model, Wav2Vec2Config) else HUBERT_FIGURES,
        draw=crops.draw,
        held_out=crops.validation,
        export=export,
        identity={
            "model": to_dict(model),
            "data": to_dict(config.data),
            "corpus": corpus.sha256,
            "clips": len(crops.clips),
            "units": None if targets is None else targets.kmeans_sha256,
            "seed": config.run.seed,
        },
        guard=CollapseGuard(config=config.guard),
    )
    return run_training(job, config.run, out)
