"""A thousand requests from eight clients: no errors, no growth, and the time of each as a ratio.

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
TEXTS = ("Hi.", "Good morning.", "Mind the gap.", "The ferry leaves at noon.")


@pytest.mark.slow
def test_a_thousand_requests(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    running = start(*([] if MODEL == "bundled" else ["--model", MODEL or model]))
    failed: list[str] = []
    try:
        with httpx.Client(base_url=running.base_url, timeout=600) as client:

            def ask(number: int) -> float:
                began = time.perf_counter()
                text = TEXTS[number % len(TEXTS)]
                body = {"input": text, "seed": number, "steps": 1, "response_format": "wav"}
                answer = client.post("/audio/speech", json=body)
                if not (answer.is_success and answer.content.startswith(b"RIFF")):
                    failed.append(f"request {number}: {answer.status_code}")
                return time.perf_counter() - began

            # The first ones load the voice and fill caches.
            alone = statistics.median([ask(number) for number in range(28)][8:])
            before = running.memory_bytes
            with ThreadPoolExecutor(CLIENTS) as pool:
                took = sorted(pool.map(ask, range(REQUESTS)))
            after = running.memory_bytes
    finally:
        assert running.end() == 0, "".join(running.log)
    p50, p95 = took[REQUESTS // 2], took[REQUESTS * 95 // 100]
    with capsys.disabled():
        print(
            f"\n{REQUESTS} requests, {len(failed)} errors; alone {1000 * alone:.0f} ms; with "
            f"{CLIENTS} clients p50 {p50 / alone:.1f} and p95 {p95 / alone:.1f} times that; "
            f"memory {before >> 20} to {after >> 20} MiB"
        )
    assert not failed
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
