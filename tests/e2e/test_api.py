"""The demo's calls by name, as a program uses them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile

from speechkit.demo.page import CALLS

pytestmark = pytest.mark.slow

SENTENCE = "The bridge was closed for the winter, so we walked along the river instead."


@pytest.fixture(scope="module")
def client(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A program that talks to the demo."""
    from gradio_client import Client

    folder = tmp_path_factory.mktemp("answers")
    client = Client(address, verbose=False, download_files=folder, analytics_enabled=False)
    yield client
    client.close()


def test_every_call_has_its_name(client: Any) -> None:
    named = client.view_api(return_format="dict")["named_endpoints"]
    assert set(named) == {f"/{name}" for name in CALLS}


def test_speak_and_convert_and_detect(client: Any, examples: Path) -> None:
    from gradio_client import handle_file

    prompt = handle_file(str(examples / "synthetic_af_heart.flac"))
    speech, report, *_ = client.predict(
        prompt, SENTENCE, None, 3, 1, 0, 7, False, api_name="/speak"
    )
    assert "seed **7**" in report
    wave_T, rate_hz = soundfile.read(speech)
    assert rate_hz == 16_000
    assert 2 < len(wave_T) / rate_hz < 8

    source = handle_file(str(examples / "synthetic_am_fenrir.flac"))
    result, *_ = client.predict(source, prompt, 0, True, 0, api_name="/convert")
    assert soundfile.info(result).duration == pytest.approx(4.92, abs=0.1)
    assert "Watermarked: synthetic speech" in client.predict(
        handle_file(speech), api_name="/detect"
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"text": ""}, "text is empty"),
        ({"speed": 99}, r"The speed must be a number from 0\.25 to 4"),
        ({"text": "word " * 500}, "the limit here is"),
    ],
)
def test_bad_values_are_refused_in_a_sentence(
    client: Any, examples: Path, values: dict[str, Any], words: str
) -> None:
    from gradio_client import handle_file
    from gradio_client.exceptions import AppError

    good = {
        "prompt": handle_file(str(examples / "synthetic_af_heart.flac")),
        **{"text": "Good morning.", "text_file": None, "prompt_seconds": 3, "speed": 1},
        **{"steps": 0, "seed": 0, "random_seed": False},
    }
    with pytest.raises(AppError, match=words):
        client.predict(**{**good, **values}, api_name="/speak")
