"""A thousand requests from eight clients: no errors, no growth, and the time of each as a ratio.

Times are CPU seconds of the server, which are those of the clock on an idle core: while a request
waits the server computes the others, and what else runs on the machine counts for little.

SPEECHKIT_LOAD_REQUESTS is another number of requests, SPEECHKIT_LOAD_MODEL another folder of
weights, or `bundled`; without it they are tiny and random, and what is measured is the server.
"""

from __future__ import annotations

import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from .conftest import start

pytest.importorskip("uvicorn", reason="the server needs the extra `server`")

CLIENTS = 8
REQUESTS = int(os.environ.get("SPEECHKIT_LOAD_REQUESTS", "1000"))
MODEL = os.environ.get("SPEECHKIT_LOAD_MODEL", "")
# Fewer where the weights are large and the requests few.
WARM, ALONE = (8, 20) if REQUESTS >= 200 else (4, 8)
TEXTS = ("Hi.", "Good morning.", "Mind the gap.", "The ferry leaves at noon.")


@pytest.mark.slow
def test_a_thousand_requests(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    running = start(*([] if MODEL == "bundled" else ["--model", MODEL or model]))
    failed: list[str] = []
    try:
        with httpx.Client(base_url=running.base_url, timeout=600) as client:

            def ask(number: int) -> float:
                began = running.cpu_seconds
                text = TEXTS[number % len(TEXTS)]
                body = {"input": text, "seed": number, "steps": 1, "response_format": "wav"}
                answer = client.post("/audio/speech", json=body)
                if not (answer.is_success and answer.content.startswith(b"RIFF")):
                    failed.append(f"request {number}: {answer.status_code}")
                return running.cpu_seconds - began

            # The first ones load the voice and fill caches.
            for number in range(WARM):
                ask(number)
            alone = statistics.mean(ask(number) for number in range(ALONE))
            memory, began = [running.memory_bytes], running.cpu_seconds
            took: list[float] = []
            with ThreadPoolExecutor(CLIENTS) as pool:
                for half in (range(REQUESTS // 2), range(REQUESTS // 2, REQUESTS)):
                    took += pool.map(ask, half)
                    memory.append(running.memory_bytes)
            took.sort()
            each = (running.cpu_seconds - began) / REQUESTS
    finally:
        assert running.end() == 0, "".join(running.log)
    p50, p95 = took[REQUESTS // 2], took[REQUESTS * 95 // 100]
    with capsys.disabled():
        print(
            f"\n{REQUESTS} requests, {len(failed)} errors; alone {1000 * alone:.0f} ms of CPU, "
            f"among others {1000 * each:.0f}; with {CLIENTS} clients p50 {p50 / alone:.1f} and "
            f"p95 {p95 / alone:.1f} times that; memory before, halfway and after "
            f"{', '.join(str(one >> 20) for one in memory)} MiB"
        )
    assert not failed
    # One thread serves them in turn, so each waits for about seven others.
    assert p95 < 3 * CLIENTS * alone
    # What is kept for each shape of a batch grows at first: a leak would go on.
    assert memory[2] - memory[1] < 50 << 20


@pytest.mark.slow
def test_the_first_sound_of_a_stream_comes_early(capsys: pytest.CaptureFixture[str]) -> None:
    running = start()
    text = "The harbour lights were burning low. " * 6
    body = {"input": text, "response_format": "pcm"}
    try:
        httpx.post(f"{running.base_url}/audio/speech", json={"input": "Hi."}, timeout=1200)
        began, began_cpu = time.perf_counter(), running.cpu_seconds
        with httpx.stream(
            "POST", f"{running.base_url}/audio/speech", json=body, timeout=1200
        ) as answer:
            sizes: list[int] = []
            first = first_cpu = 0.0
            for chunk in answer.iter_raw():
                if not first:
                    first = time.perf_counter() - began
                    first_cpu = running.cpu_seconds - began_cpu
                sizes.append(len(chunk))
        whole, whole_cpu = time.perf_counter() - began, running.cpu_seconds - began_cpu
    finally:
        assert running.end() == 0
    seconds = sum(sizes) / 48_000
    with capsys.disabled():
        print(
            f"\nfirst byte after {first:.2f} s of {whole:.2f} s, CPU {first_cpu:.2f} of "
            f"{whole_cpu:.2f} s, for {seconds:.1f} s of speech ({len(sizes)} chunks)"
        )
    assert first < 0.6 * whole
