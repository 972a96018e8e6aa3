"""Speech from a real server process, asked for by OpenAI's own client."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from .conftest import Running, start

pytest.importorskip("uvicorn", reason="the server needs the extra `server`")
openai = pytest.importorskip("openai", reason="the server's tests speak with OpenAI's client")
LONG = "The ferry leaves at noon, and we are late. " * 6


@pytest.fixture
def official(server: Running) -> Any:
    """The official client, which would retry what fails."""
    return openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0)


@pytest.mark.parametrize("audio_format", ["mp3", "opus", "flac", "wav", "pcm"])
def test_the_official_client_gets_each_format(official: Any, audio_format: str) -> None:
    answer = official.audio.speech.create(
        model="tts-1", voice="alloy", input="Hello, world.", response_format=audio_format
    )
    if audio_format == "pcm":
        wave, rate_hz = np.frombuffer(answer.content, "<i2") / 32768, 24_000
    else:
        wave, rate_hz = soundfile.read(io.BytesIO(answer.content), dtype="float32")
        assert rate_hz == 16_000
    wav = official.audio.speech.create(
        model="tts-1", voice="alloy", input="Hello, world.", response_format="wav"
    )
    seconds = soundfile.info(io.BytesIO(wav.content)).duration
    assert len(wave) / rate_hz == pytest.approx(seconds, abs=0.2)
    assert float(np.abs(wave).max()) > 0.01


def test_whole_and_streamed_sound_agree(official: Any) -> None:
    def waves(**settings: str) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
        answer = official.audio.speech.create(
            model="speechkit", voice="default", input=LONG, response_format="wav", **settings
        )
        return np.frombuffer(answer.content[44:], "<i2")

    whole, streamed = waves(), waves(stream_format="audio")
    # A stream is cut elsewhere, for its first piece is short; the text is the same.
    assert len(streamed) == pytest.approx(len(whole), rel=0.25)


def test_sound_comes_while_it_is_made(official: Any) -> None:
    with official.audio.speech.with_streaming_response.create(
        model="tts-1", voice="nova", input=LONG, response_format="pcm"
    ) as answer:
        chunks = list(answer.iter_bytes())
    assert "content-length" not in answer.headers
    assert len(chunks) > 1


def test_events_carry_sound_and_times(client: httpx.Client) -> None:
    body = {"input": LONG, "response_format": "pcm", "stream_format": "sse", "timestamps": True}
    answer = client.post("/audio/speech", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\n\n")[:-1]]
    assert [event["type"] for event in events[:-1]] == ["speech.audio.delta"] * (len(events) - 1)
    assert events[-1]["type"] == "speech.audio.done"
    words = [word for event in events[:-1] for word in event["words"]]
    assert len(words) == events[-1]["usage"]["input_tokens"] == 54
    starts = [word["start"] for word in words]
    assert starts == sorted(starts)
    sound = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
    assert len(sound) / 48_000 == pytest.approx(words[-1]["end"], abs=1.0)


def test_word_times_come_with_the_sound(client: httpx.Client) -> None:
    body = {"input": "Hello. [pause 1s] World.", "response_format": "wav", "timestamps": True}
    told = client.post("/audio/speech", json=body).json()
    assert [word["word"] for word in told["words"]] == ["Hello", "World"]
    assert told["words"][1]["start"] - told["words"][0]["end"] >= 1
    info = soundfile.info(io.BytesIO(base64.b64decode(told["audio"])))
    assert info.duration == pytest.approx(told["seconds"], abs=0.001)


def test_seed_voice_and_speed_are_heeded(client: httpx.Client) -> None:
    def sound(**settings: object) -> bytes:
        body = {"input": "Hello, world.", "response_format": "wav", **settings}
        return client.post("/audio/speech", json=body).raise_for_status().content

    plain = sound()
    assert sound() == plain
    assert sound(seed=1) != plain
    assert sound(voice="george") != plain
    assert sound(speed=0.5)[40:44] > b""
    assert len(sound(speed=0.5)) > 1.3 * len(plain)
    assert sound(steps=2) != plain


def test_ssml_changes_the_voice(client: httpx.Client) -> None:
    ssml = '<speak>Hello. <voice name="george">Good day.</voice></speak>'
    body = {"input": ssml, "response_format": "wav"}
    assert client.post("/audio/speech", json=body).status_code == 200
    other = client.post("/audio/speech", json={**body, "input": ssml.replace("george", "x")})
    assert other.status_code == 400
    assert "no voice" in other.json()["error"]["message"]


def test_notes_tell_what_was_not_done(client: httpx.Client) -> None:
    body = {"input": "Hello \U0001f600", "instructions": "cheerful", "response_format": "wav"}
    notes = json.loads(client.post("/audio/speech", json=body).headers["x-speechkit-notes"])
    assert "instructions" in notes[0]
    assert "\U0001f600" in notes[1]


def test_voices_come_and_go(official: Any, client: httpx.Client, recording: bytes) -> None:
    made = official.audio.voices.create(
        name="mine", consent="it is my own", audio_sample=("me.wav", recording)
    )
    assert (made.object, made.name) == ("audio.voice", "mine")
    listed = {voice["name"] for voice in client.get("/audio/voices").json()["data"]}
    assert {"mine", "heart"} <= listed
    assert client.get(f"/audio/voices/{made.id}").json()["name"] == "mine"
    for voice in ("mine", made.id, {"id": made.id}):
        answer = official.audio.speech.create(model="tts-1", voice=voice, input="Hello.")
        assert answer.content
    form = {"name": "mine", "consent": "yes"}
    again = client.post("/audio/voices", data=form, files={"audio_sample": recording})
    assert again.status_code == 400
    assert official.audio.voices.delete(made.id).deleted
    assert client.get("/audio/voices/mine").status_code == 404
    assert client.delete("/audio/voices/heart").status_code == 400


def test_models_and_health_answer(official: Any, server: Running) -> None:
    assert "speechkit" in [model.id for model in official.models.list()]
    assert official.models.retrieve("tts-1").id == "tts-1"
    with pytest.raises(openai.NotFoundError):
        official.models.retrieve("gpt-5")
    health = httpx.get(server.base_url.removesuffix("v1") + "health", timeout=300).json()
    assert health["status"] == "ok"
    assert health["trained"] is False


def test_errors_are_those_of_the_official_client(official: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="can be spoken"):
        official.audio.speech.create(model="tts-1", voice="alloy", input="привет")
    with pytest.raises(openai.NotFoundError, match="no voice"):
        official.audio.speech.create(model="tts-1", voice="nobody", input="Hi.")
    with pytest.raises(openai.NotFoundError, match="no model"):
        official.audio.speech.create(model="other", voice="alloy", input="Hi.")
    with pytest.raises(openai.BadRequestError, match="limit is 4096"):
        official.audio.speech.create(model="tts-1", voice="alloy", input="a" * 4097)


def test_many_at_once_get_what_each_gets_alone(server: Running) -> None:
    texts = [f"Number {number}." for number in range(12)]

    async def ask(client: Any, text: str) -> bytes:
        answer = await client.audio.speech.create(
            model="tts-1", voice="alloy", input=text, response_format="wav"
        )
        return bytes(answer.content)

    async def together() -> tuple[list[bytes], list[bytes]]:
        async with openai.AsyncOpenAI(base_url=server.base_url, api_key="none") as client:
            alone = [await ask(client, text) for text in texts]
            return alone, await asyncio.gather(*(ask(client, text) for text in texts))

    alone, at_once = asyncio.run(together())
    assert alone == at_once


@pytest.mark.slow
def test_bundled_weights_speak() -> None:
    running = start()
    try:
        client = openai.OpenAI(base_url=running.base_url, api_key="none")
        answer = client.audio.speech.create(
            model="tts-1", voice="alloy", input="Good morning.", response_format="wav"
        )
    finally:
        assert running.end() == 0
    wave, rate_hz = soundfile.read(io.BytesIO(answer.content), dtype="float32")
    assert 0.4 < len(wave) / rate_hz < 3
    assert float(np.sqrt(np.mean(wave**2))) > 0.01
