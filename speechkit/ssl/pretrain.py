"""Pre-train wav2vec 2.0, HuBERT or BEST-RQ on packed corpora.

`speechkit ssl pretrain A.corpus B.corpus --config recipes/ssl/hubert-small.toml --out run`
Run the same command again to go on after an interruption; under torchrun or srun for many devices.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from speechkit.core.checkpoint import load_checkpoint, load_state
from speechkit.core.config import to_dict
from speechkit.core.errors import ConfigError
from speechkit.data.packed import Data, PackedCorpus
from speechkit.ssl.checkpoints import build_pretrainer, load_model
from speechkit.ssl.config import BestRqConfig, HubertConfig, ModelConfig, Wav2Vec2Config
from speechkit.ssl.crops import CropConfig, CropDataset
from speechkit.ssl.guard import CollapseGuard, GuardConfig
from speechkit.ssl.task import PretrainTask
from speechkit.ssl.units.file import Units
from speechkit.train import TrainConfig, TrainReport, train
from speechkit.train.config import Decay

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PretrainTrainConfig(TrainConfig):
    """The training loop with the optimiser of wav2vec 2.0 (section 4.2), and without averages."""

    lr: float = 5e-4
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    warmup_steps: int = 500
    decay: Decay = "linear"
    clip_norm: float = 0.0
    ema_decay: float = 0.0


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """One of the three models, and how it is trained."""

    wav2vec2: Wav2Vec2Config | None = None
    """Given for wav2vec 2.0."""
    hubert: HubertConfig | None = None
    """Given for HuBERT."""
    bestrq: BestRqConfig | None = None
    """Given for BEST-RQ."""
    data: CropConfig = field(default_factory=CropConfig)
    """Clips and batches."""
    guard: GuardConfig = field(default_factory=GuardConfig)
    """When training stops because the model has collapsed."""
    train: PretrainTrainConfig = field(default_factory=PretrainTrainConfig)
    """Optimiser, budget and log."""

    @property
    def model(self) -> ModelConfig:
        """The config of the one model that is given; raises ConfigError otherwise."""
        given = [one for one in (self.wav2vec2, self.hubert, self.bestrq) if one is not None]
        if len(given) != 1:
            raise ConfigError(
                "The config must have exactly one section of wav2vec2, hubert and bestrq."
            )
        return given[0]


def pretrain(
    data: Data,
    config: PretrainConfig,
    out: Path,
    *,
    units: Path | None = None,
    initial: Path | None = None,
) -> TrainReport:
    """Train on the corpora ``data`` into the folder ``out``; a run there is resumed. The models are
    ``last`` and ``best``.

    ``initial`` is a model folder of the same config to start from. Raises ConfigError, DataError or
    CheckpointError before any training where config, data or an earlier run do not fit, and
    CollapseError from a run that collapses.
    """
    model = config.model
    corpus = PackedCorpus(data)
    targets = None if units is None else Units(units, corpus)
    crops = CropDataset(corpus, config.data, model, config.train.seed, targets)
    log.info("%s", crops.describe())
    built = build_pretrainer(model, config.train.seed)
    if initial is not None:
        start = load_model(initial)
        if start.config != model:
            raise ConfigError(f"The model in {initial} has another config than the one to train.")
        load_state(built, start.state_dict())
    identity = {
        "model": to_dict(model),
        "data": to_dict(config.data),
        "corpus": corpus.sha256,
        "clips": len(crops.clips),
        "units": None if targets is None else targets.kmeans_sha256,
        "initial": None if initial is None else load_checkpoint(initial).sha256,
    }
    task = PretrainTask(built, crops, CollapseGuard(config=config.guard))
    return train(task, config.train, out, identity=identity)
