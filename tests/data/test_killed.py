"""Killed at any moment (SIGKILL), work by shard goes on: nothing is lost, nothing done twice."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from speechkit.core.f0 import import_pyworld
from speechkit.core.rng import generator
from speechkit.data.prepare import PrepareLimits, prepare
from speechkit.facodec.encode_corpus import encode_corpus
from tests.tiny import tiny_model

from .conftest import WriteTone

CLIPS, SHARD_CLIPS = 24, 4


def killed_again_and_again(work: Callable[[], object], folder: Path) -> int:
    """Do the work in processes that are killed ever later, until one ends; returns how many were.

    What a killed process had finished must stay as it was.
    """
    draws = generator(0)
    context = multiprocessing.get_context("fork")
    finished: dict[Path, int] = {}
    for attempt in range(1000):
        process = context.Process(target=work)
        process.start()
        process.join(0.02 + 0.01 * attempt + 0.05 * float(torch.rand((), generator=draws)))
        if not process.is_alive():
            assert process.exitcode == 0
            assert {path: path.stat().st_mtime_ns for path in finished} == finished
            return attempt
        process.kill()
        process.join()
        assert {path: path.stat().st_mtime_ns for path in finished} == finished
        # A shard counts when its manifest is there; a sidecar is one file.
        done = [*folder.glob("*.manifest.jsonl"), *folder.glob("*.codes.safetensors")]
        shards = [path.with_suffix("").with_suffix(".safetensors") for path in done]
        finished = {path: path.stat().st_mtime_ns for path in [*done, *shards]}
    raise AssertionError("it never came to an end")


def contents(folder: Path) -> dict[str, bytes]:
    """All files but what killed processes left of unfinished ones."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.startswith(".")}


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked")
def test_prepare_and_encode_survive_kills(tmp_path: Path, write_tone: WriteTone) -> None:
    for n in range(CLIPS):
        write_tone(tmp_path / "tones" / f"{n:02d}.wav", 0.6 + 0.01 * n, 100.0 + 5 * n)
    codec = tiny_model(tmp_path / "model") / "codec"
    whole, killed = tmp_path / "whole.corpus", tmp_path / "killed.corpus"
    limits = PrepareLimits(min_seconds=0.1)
    # Once, and not in every process anew.
    import_pyworld()
    threads = torch.get_num_threads()
    # Forking a process that has started torch's threads can hang.
    torch.set_num_threads(1)
    try:
        kills = killed_again_and_again(
            lambda: prepare([tmp_path / "tones"], killed, limits=limits, shard_clips=SHARD_CLIPS),
            killed,
        )
        assert kills > 1
        prepare([tmp_path / "tones"], whole, limits=limits, shard_clips=SHARD_CLIPS)
        assert contents(killed) == contents(whole)
        kills = killed_again_and_again(lambda: encode_corpus(killed, codec, unaligned=True), killed)
        assert kills > 1
        encode_corpus(whole, codec, unaligned=True)
    finally:
        torch.set_num_threads(threads)
    assert contents(killed) == contents(whole)
    assert os.path.exists(whole / f"{CLIPS // SHARD_CLIPS - 1:05d}.codes.safetensors")
