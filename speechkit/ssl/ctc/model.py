"""An encoder with a character classifier, trained with CTC (Graves et al. 2006).

Shapes: B batch, T samples, F frames, D width, V classes (0 is blank).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechkit.core.checkpoint import build_and_load, load_checkpoint, save_checkpoint
from speechkit.core.config import from_dict, require_range
from speechkit.core.errors import CheckpointError, ConfigError
from speechkit.core.metrics import edit_distance
from speechkit.core.rng import derive, seeded
from speechkit.ssl.batch import counted
from speechkit.ssl.checkpoints import export_config
from speechkit.ssl.config import EncoderConfig
from speechkit.ssl.ctc.batches import CtcBatch
from speechkit.ssl.ctc.characters import BLANK, Characters
from speechkit.ssl.ctc.decoding import greedy_labels
from speechkit.ssl.encoder import SslEncoder, build_encoder

KIND = "speechkit-ssl-ctc"


@dataclass(frozen=True, kw_only=True)
class DropoutConfig:
    """Noise inside the encoder while it is fine-tuned (fairseq's recipe for up to 1 h)."""

    dropout: float = 0.0
    """On the outputs of attention and feed-forward."""
    attention_dropout: float = 0.0
    """On attention weights."""
    ffn_dropout: float = 0.1
    """Inside the feed-forward parts."""
    input_dropout: float = 0.0
    """On the projected frames."""
    layer_drop: float = 0.1
    """Chance that a block is skipped; 0.05 for 10 h of labels."""
    final_dropout: float = 0.0
    """Before the classifier."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        for name in self.__dataclass_fields__:
            require_range(self, **{name: (0, 0.99)})

    def of(self, encoder: EncoderConfig) -> EncoderConfig:
        """Return an encoder's config with this noise."""
        return replace(
            encoder,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
            ffn_dropout=self.ffn_dropout,
            input_dropout=self.input_dropout,
            layer_drop=self.layer_drop,
        )


@dataclass(frozen=True, kw_only=True)
class CtcConfig:
    """A recogniser."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """The network under the classifier."""
    final_dropout: float = 0.0
    """Before the classifier, in training."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        require_range(self, final_dropout=(0, 0.99))


@dataclass(frozen=True, kw_only=True, eq=False)
class Posteriors:
    """What a recogniser hears."""

    log_probability_BFV: Tensor
    """Float32, natural logarithm."""
    frames_B: list[int]
    """Valid frames of each row."""


class CtcModel(nn.Module):
    """Waves to character posteriors each 20 ms."""

    def __init__(self, config: CtcConfig, encoder: SslEncoder, characters: Characters) -> None:
        """The convolutions are frozen, as in wav2vec 2.0's fine-tuning; see `free_convolutions`."""
        super().__init__()
        self.config = config
        self.characters = characters
        self.encoder = encoder
        self.final_dropout = nn.Dropout(config.final_dropout)
        self.final_proj = nn.Linear(config.encoder.model_dim, characters.size)
        nn.init.xavier_uniform_(self.final_proj.weight)
        nn.init.zeros_(self.final_proj.bias)
        self.encoder_is_frozen = False
        """While True only the classifier learns."""
        self._convolutions().requires_grad_(False)

    def free_convolutions(self) -> None:
        """Let the convolutions learn too: those of an encoder without pre-training must."""
        self._convolutions().requires_grad_(True)

    def _convolutions(self) -> nn.Module:
        return self.encoder.encoder_frontend.get_submodule("feature_extractor")

    def posteriors(
        self,
        wave_BT: Tensor,
        lengths_B: Sequence[int] | None = None,
        masked_BF: Tensor | None = None,
        channels_BD: Tensor | None = None,
    ) -> Posteriors:
        """Character posteriors; masks are for training. Raises AudioError for short waves."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.encoder_is_frozen):
            states_BFD, frames_B = self.encoder(wave_BT, lengths_B, masked_BF, channels_BD)
        logits_BFV = self.final_proj(self.final_dropout(states_BFD))
        return Posteriors(
            log_probability_BFV=functional.log_softmax(logits_BFV.float(), dim=-1),
            frames_B=frames_B,
        )

    def forward(self, batch: CtcBatch) -> dict[str, Tensor]:
        """Return "total" over "targets" sentences, and the loss of a character."""
        loss = ctc_loss_sum(self.hear(batch), batch.labels_BL, batch.label_lengths_B)
        return counted(
            {"ctc": loss},
            {"ctc": 1.0},
            len(batch.lengths_B),
            character_loss=loss.detach() / sum(batch.label_lengths_B),
        )

    def hear(self, batch: CtcBatch) -> Posteriors:
        """Posteriors of a batch, with its masks."""
        return self.posteriors(batch.wave_BT, batch.lengths_B, batch.masked_BF, batch.channels_BD)


def ctc_loss_sum(heard: Posteriors, labels_BL: Tensor, label_lengths_B: Sequence[int]) -> Tensor:
    """Return the negative log-likelihood of all rows, in nats; rows with too few frames add 0."""
    # Lengths stay on the CPU, where torch reads them.
    return functional.ctc_loss(
        heard.log_probability_BFV.transpose(0, 1),
        labels_BL,
        torch.tensor(heard.frames_B),
        torch.tensor(list(label_lengths_B)),
        blank=BLANK,
        reduction="sum",
        zero_infinity=True,
    )


def character_errors(heard: Posteriors, labels_BL: Tensor, label_lengths_B: Sequence[int]) -> int:
    """Return the edit distance of the best paths to the letters, word ends included."""
    log_BFV = heard.log_probability_BFV.detach().cpu()
    rows = zip(log_BFV, heard.frames_B, labels_BL.tolist(), label_lengths_B, strict=True)
    return sum(
        edit_distance(labels[:length], greedy_labels(log_FV[:frames]))
        for log_FV, frames, labels, length in rows
    )


def build_ctc(config: CtcConfig, characters: Characters, seed: int = 0) -> CtcModel:
    """Return a recogniser with random weights, the same for the same seed."""
    encoder = build_encoder(config.encoder, seed)
    with seeded(derive(seed, "ctc")):
        return CtcModel(config, encoder, characters)


def save_ctc(folder: str | Path, model: CtcModel) -> None:
    """Write a model folder."""
    config = export_config("ctc", model.config, characters=model.characters.to_json())
    save_checkpoint(folder, model.state_dict(), config)


def load_ctc(folder: str | Path) -> CtcModel:
    """Read a recogniser; in evaluation mode, on the CPU.

    Raises CheckpointError for a folder of another kind, a damaged or unsafe one, or weights that do
    not fit the config and the alphabet.
    """
    checkpoint = load_checkpoint(folder)
    kind = checkpoint.config.get("kind")
    if kind != KIND:
        raise CheckpointError(
            f"{folder} holds {kind or 'a model of unknown kind'} and no recogniser: make one of an "
            "encoder with speechkit ssl finetune."
        )
    characters = Characters.from_json(checkpoint.config.get("characters"))
    try:
        config = from_dict(CtcConfig, checkpoint.config.get("model", {}))
    except ConfigError as error:
        raise CheckpointError(f"The config of {folder} describes no recogniser: {error}") from error
    return build_and_load(lambda: build_ctc(config, characters), checkpoint.state).eval()
