"""Devices and number formats by name."""

from __future__ import annotations

import pytest
import torch

from speechkit.core.devices import DEVICES, DTYPES, pick_device, pick_dtype
from speechkit.core.errors import ConfigError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def machine(monkeypatch: pytest.MonkeyPatch, cuda: int, mps: bool) -> None:
    """As if the machine had so many GPUs, and MPS or not."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "found"),
    [(0, False, "cpu"), (0, True, "mps"), (2, False, "cuda"), (1, True, "cuda")],
)
def test_auto_takes_the_fastest_that_is_there(
    monkeypatch: pytest.MonkeyPatch, cuda: int, mps: bool, found: str
) -> None:
    machine(monkeypatch, cuda, mps)
    assert pick_device().type == found


def test_devices_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 2, True)
    for name in ("cpu", "cuda", "cuda:1", "mps"):
        assert pick_device(name) == torch.device(name)
    assert pick_device(torch.device("cuda:7")) == torch.device("cuda:7")


@pytest.mark.parametrize("name", ["gpu", "", "xpu", "cuda:x", "cuda:-1", "CPU0"])
def test_unknown_devices_are_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(ConfigError, match=", ".join(DEVICES)):
        pick_device(name)


def test_devices_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 0, False)
    with pytest.raises(ConfigError, match="0 CUDA devices are seen; give cpu or auto"):
        pick_device("cuda")
    with pytest.raises(ConfigError, match="no MPS device"):
        pick_device("mps")
    machine(monkeypatch, 1, False)
    with pytest.raises(ConfigError, match="1 CUDA device"):
        pick_device("cuda:1")


def test_auto_is_exact_on_cpus_and_fast_on_gpus_that_can(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_dtype("auto", CPU) == torch.float32
    assert pick_dtype("auto", torch.device("mps")) == torch.float32
    for can, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda can=can: can)
        assert pick_dtype("auto", CUDA) == dtype


def test_number_formats_by_name() -> None:
    for name in ("float32", "bfloat16", "float16"):
        assert pick_dtype(name, CUDA) == getattr(torch, name)
        assert pick_dtype(getattr(torch, name), CUDA) == getattr(torch, name)
    assert pick_dtype("bfloat16", CPU) == torch.bfloat16


@pytest.mark.parametrize("name", ["half", "int8", "", "float64", "load"])
def test_unknown_number_formats_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=", ".join(DTYPES)):
        pick_dtype(name, CPU)


def test_number_formats_no_model_computes_in_are_refused() -> None:
    with pytest.raises(ConfigError, match="give float32, bfloat16 or float16"):
        pick_dtype(torch.int64, CPU)
    for half in ("float16", torch.float16):
        with pytest.raises(ConfigError, match="give bfloat16 or float32"):
            pick_dtype(half, CPU)
