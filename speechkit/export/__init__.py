"""The models in ONNX: written by `export_onnx`, run by onnxruntime wherever a model is loaded.

export_onnx(None, "onnx-model")
tts = ZeroShotTTS.from_pretrained("onnx-model")
"""

from speechkit.export.write import INT8_GRAPHS, OPSET, Exported, export_onnx

__all__ = ["INT8_GRAPHS", "OPSET", "Exported", "export_onnx"]
