"""The models in ONNX: written by `export_onnx`, run by onnxruntime through `load_onnx`.

export_onnx(None, "onnx-model")
tts = load_onnx("onnx-model")  # a ZeroShotTTS like any other
"""

from speechkit.export.runtime import is_onnx, load_onnx
from speechkit.export.write import OPSET, Exported, export_onnx

__all__ = ["OPSET", "Exported", "export_onnx", "is_onnx", "load_onnx"]
