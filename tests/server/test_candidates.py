"""In whole answers unclear words are drawn again; a stream speaks everything once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import speechkit.takes as module
from speechkit.pieces import Spoken
from speechkit.tts import CANDIDATES, ZeroShotTTS

pytest.importorskip("uvicorn", reason="the server needs the extra `server`")

from speechkit.server.app import Service
from speechkit.server.config import ServerConfig
from speechkit.server.schemas import SpeechRequest
from speechkit.server.voices import VoiceStore
from speechkit.text.turns import write_script

PIECES = "The ferry leaves at noon, and we are late for it. " * 12
"""Several pieces: of a stream only the first comes in parts, the others are spoken whole."""


@pytest.fixture(scope="module")
def service(model: Path) -> Iterator[Service]:
    made = ZeroShotTTS.from_pretrained(model)
    # Weights that count as trained are spoken several times where nobody says.
    tts = ZeroShotTTS(made.codec, made.generator, trained=True)
    service = Service(ServerConfig(), tts, VoiceStore(tts, None, 1))
    yield service
    service.worker.close()


@pytest.mark.parametrize(
    ("asked", "times"),
    [
        ({}, 1),
        ({"response_format": "pcm"}, 1),
        ({"response_format": "wav", "stream_format": "audio"}, 1),
        ({"stream_format": "sse", "timestamps": True}, 1),
        ({"candidates": 1}, 1),
        ({"response_format": "wav"}, CANDIDATES),
        ({"response_format": "wav", "candidates": 1}, 1),
        ({"timestamps": True}, CANDIDATES),
        ({"candidates": 3}, 3),
    ],
)
def test_a_stream_speaks_once(
    service: Service, asked: dict[str, object], times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Spoken] = []

    def clarity(spoken: Spoken) -> torch.Tensor:
        heard.append(spoken)
        return torch.full((len(spoken.phones),), -100.0 + len(heard))

    monkeypatch.setattr(module, "clarity", clarity)
    request = SpeechRequest.model_validate({"input": PIECES, "steps": 1, **asked})
    answer = list(service.speak(request, "heart", lambda: None))
    pieces = len(write_script(PIECES, service.tts.frontend).chunks)
    assert pieces > 1
    # Nothing chooses where there is one candidate.
    assert len(heard) == (times * pieces if times > 1 else 0)
    assert all(answer)
    # The notes, then one body; or, of a stream, several.
    assert (len(answer) > 2) == request.streams
