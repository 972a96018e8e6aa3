"""A corpus of tones and encoders of a few thousand weights, for tests of pre-training."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from speechkit.core.rng import generator
from speechkit.data.packed import ClipInfo, PackedClip, Shard, write_packed
from speechkit.ssl.config import EncoderConfig, HubertConfig, MaskConfig, Wav2Vec2Config
from speechkit.ssl.crops import CropConfig
from speechkit.ssl.pretrain import PretrainConfig, PretrainTrainConfig
from speechkit.ssl.units.file import begin_units, write_units

ENCODER = EncoderConfig(
    conv_channels=(8, 8, 8, 8, 8, 8, 8),
    model_dim=16,
    layers=2,
    heads=2,
    ffn_dim=32,
    position_kernel=8,
    position_groups=4,
    dropout=0.0,
    attention_dropout=0.0,
    input_dropout=0.0,
    layer_drop=0.0,
)
MASK = MaskConfig(span_frames=4)
WAV2VEC2 = Wav2Vec2Config(
    encoder=ENCODER, mask=MASK, final_dim=8, codebook_size=8, code_dim=8, distractors=5
)
CLUSTERS = 6
HUBERT = HubertConfig(
    encoder=ENCODER, mask=MASK, final_dim=8, clusters=CLUSTERS, label_rate_hz=50, seen_weight=1.0
)
DATA = CropConfig(min_seconds=0.3, max_seconds=0.6, batch_seconds=4.0, held_out_clips=2)


def clip_wave(index: int, seconds: float) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    """Return a tone whose pitch changes at each third, in a little noise."""
    count = round(16_000 * seconds)
    noise = 0.01 * torch.randn(count, generator=generator(index)).numpy()
    hz = np.repeat([200 + 90 * index, 900 - 40 * index, 400], -(-count // 3))[:count]
    wave = 0.3 * np.sin(2 * np.pi * np.cumsum(hz) / 16_000) + noise
    return np.asarray(np.round(wave * 32767), dtype=np.int16)


def tiny_corpus(path: Path, clips: int = 24, seconds: float = 0.8, texts: bool = False) -> Path:
    """Write a packed corpus; clip i has speaker i modulo 4 and length 0.7 to 1.0 of ``seconds``."""

    def clip(index: int) -> PackedClip:
        pcm_T = clip_wave(index, seconds * (0.7 + 0.1 * (index % 4)))
        info: ClipInfo = {
            "id": f"tones/{index}",
            "text": f"ab {'cde'[index % 3]}" if texts else None,
            "speaker": f"s{index % 4}",
            "language": "en",
            "license": "CC0-1.0",
            "split": "train",
            "source": "tones",
        }
        return PackedClip(info=info, pcm_T=pcm_T, f0_F=np.zeros(-(-len(pcm_T) // 160)))

    write_packed(path, (clip(index) for index in range(clips)))
    return path


def tiny_units(path: Path, known: int = 24, rate_hz: int = 50, clusters: int = CLUSTERS) -> Path:
    """Write units of the tiny corpus that follow the thirds of each tone, of its first clips."""
    units = {
        index: torch.arange(rate_hz) // (rate_hz // 3) % 3 + 3 * (index % 2)
        for index in range(known)
    }
    begin_units(path, rate_hz=rate_hz, clusters=clusters, kmeans_sha256="0" * 64, features={})
    with TemporaryDirectory() as folder:
        # Units belong to clips of these names, whatever they sound like.
        shard = Shard(tiny_corpus(Path(folder, "t.safetensors"), seconds=0.1))
        write_units(path, shard, units, clusters=clusters, kmeans_sha256="0" * 64)
    return path


def run_config(steps: int | None, **changes: object) -> PretrainTrainConfig:
    """Return a short run on the CPU."""
    values: dict[str, object] = {
        "steps": steps,
        "lr": 2e-3,
        "warmup_steps": 2,
        "decay": "constant",
        "log_every_steps": 1,
        "validate_every_steps": 100,
        "device": "cpu",
        "seed": 3,
    }
    return PretrainTrainConfig(**{**values, **changes})  # type: ignore[arg-type]


def wav2vec2_config(steps: int | None, **changes: object) -> PretrainConfig:
    """Return a pre-training of the tiny wav2vec 2.0."""
    return PretrainConfig(wav2vec2=WAV2VEC2, data=DATA, train=run_config(steps, **changes))


def hubert_config(steps: int | None, **changes: object) -> PretrainConfig:
    """Return a pre-training of the tiny HuBERT."""
    return PretrainConfig(hubert=HUBERT, data=DATA, train=run_config(steps, **changes))
