"""A thousand requests from eight clients: no errors, no growth, and the time of each as a ratio."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from .conftest import start

pytest.importorskip("uvicorn", reason="the server needs the extra `server`")

CLIENTS, REQUESTS = 8, 1000


@pytest.mark.slow
def test_a_thousand_requests(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    running = start("--model", model)
    try:
        with httpx.Client(base_url=running.base_url, timeout=300) as client:

            def ask(number: int) -> float:
                began = time.perf_counter()
                body = {"input": "Hi.", "seed": number, "steps": 1, "response_format": "wav"}
                client.post("/audio/speech", json=body).raise_for_status()
                return time.perf_counter() - began

            alone = statistics.median(ask(number) for number in range(20))
            before = running.memory_bytes
            with ThreadPoolExecutor(CLIENTS) as pool:
                took = sorted(pool.map(ask, range(REQUESTS)))
            after = running.memory_bytes
    finally:
        assert running.end() == 0, "".join(running.log)
    p50, p95 = took[REQUESTS // 2], took[REQUESTS * 95 // 100]
    with capsys.disabled():
        print(
            f"\nalone {1000 * alone:.0f} ms; with {CLIENTS} clients p50 {p50 / alone:.1f} and p95 "
            f"{p95 / alone:.1f} times that; memory {before >> 20} to {after >> 20} MiB"
        )
    # One thread serves them in turn, so each waits for about seven others.
    assert p95 < 3 * CLIENTS * alone
    assert after - before < 100 << 20


@pytest.mark.slow
def test_the_first_sound_of_a_stream_comes_early(capsys: pytest.CaptureFixture[str]) -> None:
    running = start()
    text = "The harbour lights were burning low. " * 12
    body = {"input": text, "response_format": "pcm"}
    try:
        httpx.post(f"{running.base_url}/audio/speech", json={"input": "Hi."}, timeout=300)
        began = time.perf_counter()
        with httpx.stream(
            "POST", f"{running.base_url}/audio/speech", json=body, timeout=300
        ) as answer:
            sizes: list[int] = []
            first = 0.0
            for chunk in answer.iter_raw():
                first = first or time.perf_counter() - began
                sizes.append(len(chunk))
        whole = time.perf_counter() - began
    finally:
        assert running.end() == 0
    seconds = sum(sizes) / 48_000
    with capsys.disabled():
        print(
            f"\nfirst byte after {first:.2f} s of {whole:.2f} s, for {seconds:.1f} s of speech "
            f"({len(sizes)} chunks)"
        )
    assert first < 0.6 * whole
