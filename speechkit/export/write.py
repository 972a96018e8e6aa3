"""Writes a model folder as ONNX graphs.

Beside the graphs of `codec` and of `generator` lies the config.json of the weights, with a part
`onnx` that says what they were made of. Each graph's own metadata says it too.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speechkit import __version__
from speechkit.core.checkpoint import (
    CONFIG_FILE,
    WEIGHTS,
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from speechkit.core.errors import CheckpointError, ConfigError
from speechkit.core.extras import missing_package
from speechkit.core.files import write_atomically
from speechkit.core.rng import generator as new_rng
from speechkit.diffusion.config import FRAME_STAGES
from speechkit.diffusion.generator import Generator, generator_of
from speechkit.export.graphs import AcousticDecoder, Encoder, PhoneLogits, Predictor, Trunk, Vocoder
from speechkit.facodec.small.codec import FACodec, codec_of

INT8_GRAPHS = ("generator/frame", "codec/acoustics")
"""What an int8 export has in eight bits: the two networks that are most of its size and time."""

OPSET = 17
"""Of all graphs: the first with LayerNormalization, read by onnxruntime from 1.12 on."""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A network, an example of what it takes, and the names of its inputs, outputs and axes."""

    module: nn.Module
    """What is traced."""

    inputs: Mapping[str, Tensor]
    """Examples by name, in the order of `forward`."""

    outputs: Sequence[str]
    """Names."""

    axes: Mapping[str, Mapping[int, str]]
    """Axes of inputs and outputs that may have any length."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written."""

    folder: Path
    """Where."""

    sizes: Mapping[str, int]
    """Bytes of each graph, by its path in the folder."""


def export_onnx(model: str | Path | None, folder: str | Path, *, int8: bool = False) -> Exported:
    """Write the ONNX graphs of the model folder `model` (None: the bundled one) into `folder`.

    With `int8` those of `INT8_GRAPHS` multiply in eight bits: smaller and faster, and near to what
    the weights say, not equal to it. Raises MissingPackageError without the extra `onnx`,
    CheckpointError or ConfigError for a model that is none or cannot be exported, before anything
    is written.
    """
    root, folder = WEIGHTS if model is None else Path(model), Path(folder)
    _check(root, folder, int8=int8)
    made = {part: load_checkpoint(root / part) for part in ("codec", "generator")}
    if not isinstance(made["codec"].config.get("codec"), dict):
        raise ConfigError("Only the small codec can be exported: this config.json is another's.")
    codec = codec_of(made["codec"])
    codec.eval().requires_grad_(False)
    vectors = {str(k): table for k, table in enumerate(codec.code_vectors())}
    parts = {
        "codec": (codec_graphs(codec), vectors),
        "generator": (generator_graphs(generator_of(made["generator"])), {}),
    }
    sizes = {}
    for part, (graphs, tensors) in parts.items():
        written = {}
        for name, graph in graphs.items():
            path = folder / part / f"{name}.onnx"
            path.parent.mkdir(parents=True, exist_ok=True)
            small = int8 and f"{part}/{name}" in INT8_GRAPHS
            about = _about(made[part]) | {"graph": f"{part}/{name}", "int8": small}
            write_atomically(path, partial(write_graph, graph, about=about, int8=small))
            written[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
            sizes[f"{part}/{path.name}"] = path.stat().st_size
        about = {**_about(made[part]), "int8": int8, "files": written}
        save_checkpoint(folder / part, tensors, {**made[part].config, "onnx": about})
    return Exported(folder=folder, sizes=sizes)


def _check(root: Path, folder: Path, *, int8: bool) -> None:
    """Raise unless there is something to read, a place to write, and the packages to do it."""
    for part in ("codec", "generator"):
        if not (root / part / CONFIG_FILE).is_file():
            raise CheckpointError(
                f"{root} holds no {part}: give a folder with codec/ and generator/."
            )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already: give the name of a new or empty folder.")
    try:
        import onnx  # noqa: F401

        if int8:
            import onnxruntime.quantization  # noqa: F401
    except ImportError as error:
        raise missing_package(error) or error from error


def _about(made: Checkpoint) -> dict[str, Any]:
    return {
        "opset": OPSET,
        "weights_sha256": made.sha256,
        "speechkit": __version__,
        "trained": "training" in made.config,
    }


def write_graph(graph: Graph, path: Path, about: Mapping[str, Any], *, int8: bool = False) -> None:
    """Trace a network into an ONNX file that carries `about` as its metadata; with `int8` its
    matrices are in eight bits."""
    import onnx

    graph.module.eval()
    with torch.no_grad(), warnings.catch_warnings():
        # The tracing exporter needs no further package; torch calls it old, and traces of shapes
        # that are constants by design get a warning each.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph.module,
            tuple(graph.inputs.values()),
            str(path),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_axes={name: dict(axes) for name, axes in graph.axes.items()},
            opset_version=OPSET,
            dynamo=False,
        )
    if int8:
        _quantise(path)
    written = onnx.load(str(path))
    onnx.helper.set_model_props(written, {key: str(value) for key, value in about.items()})
    onnx.checker.check_model(written)
    onnx.save(written, str(path))


def _quantise(path: Path) -> None:
    """Put the matrices of a graph into eight bits, each with one scale; what they are multiplied
    with gets its scale when the graph runs. Convolutions stay: onnxruntime has slow ones for it."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    traced = onnx.load(str(path))
    # onnxruntime would advise a pass that folds the graph first. The tracer has folded it, and the
    # advice would go to the root logger.
    onnx.helper.set_model_props(traced, {"onnx.quant.pre_process": "onnxruntime.quant"})
    quantize_dynamic(
        traced, str(path), op_types_to_quantize=["MatMul", "Gemm"], weight_type=QuantType.QInt8
    )


def codec_graphs(codec: FACodec) -> dict[str, Graph]:
    """`encoder`, `phones`, `acoustics` and `vocoder`."""
    rng, config, frames = new_rng(0), codec.config, 20
    sizes, mels = config.quantizer, config.mel.n_mels
    codes_BKF = torch.randint(sizes.codebook_size, (2, sizes.codebooks, frames), generator=rng)
    content = slice(sizes.prosody_codebooks, sizes.prosody_codebooks + sizes.content_codebooks)
    wave_BT = 0.05 * torch.randn(2, frames * config.hop_samples, generator=rng)
    track_BG = torch.rand(2, 2 * frames, generator=rng)
    batch, wave, track = {0: "batch"}, {0: "batch", 1: "samples"}, {0: "batch", 1: "mel_frames"}
    codes, mel = {0: "batch", 2: "frames"}, {0: "batch", 2: "mel_frames"}
    timbre_BD = torch.randn(2, config.timbre_channels, generator=rng)
    heard = {
        "mel_BMG": torch.randn(2, mels, 2 * frames, generator=rng) - 5.0,
        "f0_BG": 100 + 100 * track_BG,
        "voiced_BG": track_BG.round(),
    }
    heard_axes = {"mel_BMG": mel, "f0_BG": track, "voiced_BG": track}
    told = {"phone_BF": codes_BKF[:, 0] % len(config.phone_symbols)} if config.told_phones else {}
    return {
        "encoder": Graph(
            module=Encoder(codec),
            inputs={
                "wave_BT": wave_BT,
                "contour_BG": track_BG,
                "voiced_BG": track_BG.round(),
                "median_B": track_BG[:, 0],
            },
            outputs=("codes_BKF", "timbre_BD"),
            axes={
                "wave_BT": wave,
                "contour_BG": track,
                "voiced_BG": track,
                "median_B": batch,
                "codes_BKF": codes,
                "timbre_BD": batch,
            },
        ),
        "phones": Graph(
            module=PhoneLogits(codec),
            inputs={"content_BKF": codes_BKF[:, content]},
            outputs=("logits_BFV",),
            axes={"content_BKF": codes, "logits_BFV": {0: "batch", 1: "frames"}},
        ),
        "acoustics": Graph(
            module=AcousticDecoder(codec),
            inputs={
                "codes_BKF": codes_BKF,
                "timbre_BD": timbre_BD,
                "share_3": torch.ones(3),
                **told,
            },
            outputs=tuple(heard),
            axes={
                "codes_BKF": codes,
                "timbre_BD": batch,
                **heard_axes,
                **dict.fromkeys(told, {0: "batch", 1: "frames"}),
            },
        ),
        "vocoder": Graph(
            module=Vocoder(codec),
            inputs={**heard, "pulses_BT": wave_BT, "noise_BT": wave_BT.flip(1)},
            outputs=("wave_BT",),
            axes={**heard_axes, "pulses_BT": wave, "noise_BT": wave, "wave_BT": wave},
        ),
    }


def generator_graphs(generator: Generator) -> dict[str, Graph]:
    """For `duration` and `frame` a trunk, and for each of their codebooks a predictor."""
    graphs = {}
    for name, stage in generator.stages.items():
        network = "frame" if name in FRAME_STAGES else "duration"
        if network not in graphs:
            graphs[network] = trunk_graph(Trunk(stage.network))
        for k in stage.codebooks:
            graphs[f"{network}-{k}"] = predictor_graph(
                Predictor(stage.network, k, stage.codebooks.start)
            )
    return graphs


def trunk_graph(trunk: Trunk) -> Graph:
    """The graph of a trunk, for any batch and length."""
    config, rng, length = trunk.network.config, new_rng(0), 31
    sequence, phones = {0: "batch", 1: "length"}, trunk.network.phone.num_embeddings
    inputs = {
        "phones_BL": torch.randint(phones, (2, length), generator=rng),
        "position_BL2": torch.rand(2, length, 2, generator=rng),
        "codes_BKL": torch.randint(
            -2, config.codebook_size, (2, config.codebooks, length), generator=rng
        ),
        "stage_B": torch.zeros(2, dtype=torch.long),
        "time_B": torch.tensor([0.3, 0.9]),
        "prompt_BL": (torch.arange(length) < 9).expand(2, -1).contiguous(),
        "keep_BL": (torch.arange(length) != 9).expand(2, -1).contiguous(),
    }
    axes: dict[str, Mapping[int, str]] = dict.fromkeys(inputs, sequence)
    axes |= {"codes_BKL": {0: "batch", 2: "length"}, "hidden_BLE": sequence}
    axes |= {"stage_B": {0: "batch"}, "time_B": {0: "batch"}}
    if config.timbre_channels:
        inputs["timbre_BD"] = torch.randn(2, config.timbre_channels, generator=rng)
        axes["timbre_BD"] = {0: "batch"}
    return Graph(module=trunk, inputs=inputs, outputs=("hidden_BLE",), axes=axes)


def predictor_graph(predictor: Predictor) -> Graph:
    """The graph of a predictor, for any number of frames."""
    config, rng, frames = predictor.network.config, new_rng(0), 7
    inputs = {"hidden_ME": torch.randn(frames, config.frame_channels, generator=rng)}
    axes = {"hidden_ME": {0: "frames"}, "logits_MV": {0: "frames"}}
    if predictor.codebook > predictor.first:
        earlier = (predictor.codebook - predictor.first, frames)
        inputs["earlier_KM"] = torch.randint(config.codebook_size, earlier, generator=rng)
        axes["earlier_KM"] = {1: "frames"}
    return Graph(module=predictor, inputs=inputs, outputs=("logits_MV",), axes=axes)
