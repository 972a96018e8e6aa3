"""Model folders of this part: `model.safetensors` and `config.json`, as everywhere in the package.

config.json says `kind` (speechkit-ssl-wav2vec2, -hubert, -bestrq, -encoder, -ctc) and `model`, the
config.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Literal

from torch import nn

from speechkit.core.checkpoint import build_and_load, load_checkpoint, save_checkpoint
from speechkit.core.config import from_dict, to_dict
from speechkit.core.errors import CheckpointError
from speechkit.ssl.bestrq import BestRqPretrainer, build_bestrq
from speechkit.ssl.config import (
    BestRqConfig,
    EncoderConfig,
    HubertConfig,
    ModelConfig,
    Wav2Vec2Config,
)
from speechkit.ssl.encoder import SslEncoder, build_encoder
from speechkit.ssl.hubert import HubertPretrainer, build_hubert
from speechkit.ssl.wav2vec2 import Wav2Vec2Pretrainer, build_wav2vec2

KIND = "speechkit-ssl-"
"""How `kind` begins in every config.json of this part."""

Kind = Literal["wav2vec2", "hubert", "bestrq", "encoder"]
Pretrainer = Wav2Vec2Pretrainer | HubertPretrainer | BestRqPretrainer
AnyModel = Pretrainer | SslEncoder


def build_pretrainer(config: ModelConfig, seed: int = 0) -> Pretrainer:
    """Return the model that a config asks for, with random weights."""
    if isinstance(config, Wav2Vec2Config):
        return build_wav2vec2(config, seed)
    if isinstance(config, BestRqConfig):
        return build_bestrq(config, seed)
    return build_hubert(config, seed)


def save_model(folder: str | Path, model: AnyModel, **more: object) -> None:
    """Write a model folder; ``more`` goes into config.json as it is."""
    save_checkpoint(folder, model.state_dict(), export_config(kind_of(model), model.config, **more))


def export_config(kind: str, config: Any, **more: object) -> dict[str, Any]:
    """Return what config.json of a model folder says."""
    return {"kind": f"{KIND}{kind}", "model": to_dict(config), **more}


def kind_of(model: nn.Module) -> Kind:
    """Return the short name of a model's kind."""
    if isinstance(model, Wav2Vec2Pretrainer):
        return "wav2vec2"
    if isinstance(model, BestRqPretrainer):
        return "bestrq"
    return "hubert" if isinstance(model, HubertPretrainer) else "encoder"


def load_model(folder: str | Path) -> AnyModel:
    """Read a model folder; in evaluation mode, on the CPU.

    Raises CheckpointError for a folder of another kind, a damaged or unsafe one, or tensors that do
    not fit the config.
    """
    checkpoint = load_checkpoint(folder)
    kind = str(checkpoint.config.get("kind", ""))
    config = checkpoint.config.get("model", {})
    state = checkpoint.state
    model: AnyModel
    if kind == f"{KIND}wav2vec2":
        model = build_and_load(partial(build_wav2vec2, from_dict(Wav2Vec2Config, config)), state)
    elif kind == f"{KIND}hubert":
        model = build_and_load(partial(build_hubert, from_dict(HubertConfig, config)), state)
    elif kind == f"{KIND}bestrq":
        model = build_and_load(partial(build_bestrq, from_dict(BestRqConfig, config)), state)
    elif kind == f"{KIND}encoder":
        model = build_and_load(partial(build_encoder, from_dict(EncoderConfig, config)), state)
    else:
        raise CheckpointError(
            f"{folder} holds {kind or 'a model of unknown kind'}, not a wav2vec 2.0, HuBERT, "
            "BEST-RQ or encoder folder as `speechkit ssl pretrain` writes it."
        )
    model.eval()
    return model


def load_encoder(folder: str | Path) -> SslEncoder:
    """Return the encoder of a model folder, in evaluation mode; raises as `load_model` does."""
    model = load_model(folder)
    return model if isinstance(model, SslEncoder) else model.encoder
