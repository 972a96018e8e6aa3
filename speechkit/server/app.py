"""The routes: speech, voices, models, health."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from speechkit import __version__
from speechkit.core.audio import AudioLimits, read_audio
from speechkit.core.errors import SpeechkitError, TextError
from speechkit.narration import Delivery, narrate, narrate_pieces
from speechkit.server import sound
from speechkit.server.config import ServerConfig
from speechkit.server.guard import Guard, error_body
from speechkit.server.schemas import MODELS, SpeechRequest
from speechkit.server.voices import OPENAI_NAMES, Entry, VoiceError, VoiceStore
from speechkit.server.worker import BusyError, Check, GoneError, Job, Worker
from speechkit.text.script import Line, Pause, check_voices, read_script
from speechkit.text.turns import Turn, write_turns
from speechkit.tts import ZeroShotTTS

_log = logging.getLogger(__name__)
_NOT_FOLLOWED = "instructions are not followed: take the voice that has the manner you want"


class Service:
    """What the routes share: the models, their thread, the voices."""

    def __init__(self, config: ServerConfig, tts: ZeroShotTTS, voices: VoiceStore) -> None:
        self.config, self.tts, self.voices = config, tts, voices
        self.worker = Worker(config.max_waiting, config.max_wait_seconds)

    def voice_name(self, name: str) -> str:
        """The name that a client's word for a voice stands for; raises VoiceError."""
        if name == "default":
            names = self.voices.names()
            if not names:
                raise VoiceError("There are no voices: upload one to /v1/audio/voices.")
            return names[0]
        return self.voices.find(name).name

    def speak(self, asked: SpeechRequest, voice: str, check: Check) -> Iterator[bytes]:
        """First the notes as JSON, then the answer's body; in the worker's thread."""
        parts = read_script(asked.input)
        named = {part.voice for part in parts if isinstance(part, Line) and part.voice}
        check_voices(parts, (*self.voices.names(), *OPENAI_NAMES))
        turns = write_turns(parts, self.tts.frontend, soon=asked.streams)
        voices = {name: self.voices.voice(name or voice) for name in {"", *named}}
        delivery: Delivery = {
            "seed": asked.seed,
            "speed": asked.speed,
            "steps": asked.steps,
            # A stream has to keep ahead of whoever listens: no piece of it is spoken twice.
            "candidates": 1 if asked.streams else asked.candidates,
            "progress": lambda *_: check(),
        }
        notes = (_NOT_FOLLOWED,) if asked.instructions else ()
        if not asked.streams:
            speech = narrate(self.tts, turns, voices, **delivery)
            yield json.dumps((*notes, *speech.notes)).encode()
            if asked.timestamps:
                yield sound.with_times(speech, asked.response_format)
            else:
                yield sound.encode_whole(speech, asked.response_format)
            return
        pieces = narrate_pieces(self.tts, turns, voices, **delivery)
        rate_hz = self.tts.sample_rate_hz
        started = False
        for data, piece in sound.encode_pieces(pieces, rate_hz, asked.response_format):
            if not started:
                started = True
                yield json.dumps((*notes, *(piece.notes if piece else ()))).encode()
            if asked.stream_format == "sse":
                yield sound.delta(data, piece, timestamps=asked.timestamps)
            elif data:
                yield data
        if asked.stream_format == "sse":
            yield sound.event("done", usage=_usage(turns))

    def hear(self, name: str, upload: UploadFile, transcript: str | None) -> Iterator[Entry]:
        """The voice of an uploaded recording, kept; in the worker's thread."""
        limits = AudioLimits(
            max_bytes=self.config.max_upload_bytes, max_seconds=self.config.max_upload_seconds
        )
        wave_T = read_audio(upload.file, self.tts.sample_rate_hz, limits)
        yield self.voices.add(name, self.tts.voice(wave_T, transcript))


def _usage(turns: Iterable[Turn | Pause]) -> dict[str, int]:
    """Words in and phones out, in the fields that OpenAI's events have."""
    scripts = [turn.script for turn in turns if isinstance(turn, Turn)]
    words = sum(len(script.words) for script in scripts)
    phones = sum(len(chunk) for script in scripts for chunk in script.chunks)
    return {"input_tokens": words, "output_tokens": phones, "total_tokens": words + phones}


async def _unless_gone(request: Request, worker: Worker, job: Job[Any]) -> Any:
    """The next result of a job, which is cancelled when the client goes away before."""
    waiting = asyncio.ensure_future(anext(job))
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            raise GoneError
        return waiting.result()
    except BaseException:
        worker.cancel(job)
        raise
    finally:
        waiting.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    """Return when the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def create_app(service: Service) -> FastAPI:
    """The application over loaded models."""
    config = service.config
    app = FastAPI(title="speechkit", version=__version__, docs_url=None, redoc_url=None)
    app.add_middleware(Guard, config=config)
    if config.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(config.cors_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["authorization", "content-type"],
        )
    _add_errors(app)
    _add_speech(app, service)
    _add_voices(app, service)

    @app.get("/health")
    async def health() -> Response:
        worker = service.worker
        told = {
            "status": "ending" if worker.draining else "ok",
            "waiting": worker.waiting,
            "busy": worker.busy,
            "voices": len(service.voices.names()),
            "weights": service.tts.weights,
            "trained": service.tts.trained,
            "version": __version__,
        }
        return JSONResponse(told, 503 if worker.draining else 200)

    def model(name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": 0, "owned_by": "speechkit"}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [model(name) for name in MODELS]}

    @app.get("/v1/models/{name}")
    async def one_model(name: str) -> dict[str, Any]:
        _check_model(name)
        return model(name)

    return app


def _check_model(name: str) -> None:
    """Raise HTTPException for a model that is not here."""
    if name not in MODELS:
        raise HTTPException(
            404, f"There is no model {ascii(name[:40])}: use one of {', '.join(MODELS)}."
        )


def _add_speech(app: FastAPI, service: Service) -> None:
    """`POST /v1/audio/speech`."""
    most = service.config.max_text_characters

    @app.post("/v1/audio/speech")
    async def speech(request: Request, asked: SpeechRequest) -> Response:
        _check_model(asked.model)
        if len(asked.input) > most:
            raise TextError(f"The input has {len(asked.input)} characters: the limit is {most}.")
        if asked.timestamps and asked.stream_format == "audio":
            raise HTTPException(
                400, "timestamps do not fit into bare audio: use stream_format sse."
            )
        if asked.chooses and asked.stream_format is not None:
            raise HTTPException(
                400, "candidates wait for whole pieces, a stream does not: leave out stream_format."
            )
        voice = service.voice_name(asked.voice_name)
        job = service.worker.submit(lambda check: service.speak(asked, voice, check))
        notes = json.loads(await _unless_gone(request, service.worker, job))
        # ASCII as headers must be, and no longer than they may be.
        headers = {"x-speechkit-notes": json.dumps(notes)[:2000]} if notes else {}
        kind = sound.MEDIA_TYPES[asked.response_format]
        if not asked.streams:
            body = await _unless_gone(request, service.worker, job)
            return Response(
                body, media_type="application/json" if asked.timestamps else kind, headers=headers
            )

        async def body_parts() -> AsyncIterator[bytes]:
            try:
                async for data in job:
                    yield data
            finally:
                service.worker.cancel(job)

        if asked.stream_format == "sse":
            kind = "text/event-stream"
        return StreamingResponse(body_parts(), media_type=kind, headers=headers)


def _add_voices(app: FastAPI, service: Service) -> None:
    """`/v1/audio/voices`."""

    @app.get("/v1/audio/voices")
    async def voices() -> dict[str, Any]:
        data = [entry.to_json() for entry in service.voices.entries()]
        return {"object": "list", "data": data, "has_more": False}

    @app.get("/v1/audio/voices/{name}")
    async def one_voice(name: str) -> dict[str, Any]:
        return service.voices.find(name).to_json()

    @app.post("/v1/audio/voices")
    async def upload(request: Request) -> dict[str, Any]:
        async with request.form(max_files=1, max_fields=8, max_part_size=16 << 10) as form:
            name, consent = form.get("name"), form.get("consent")
            recording, transcript = form.get("audio_sample"), form.get("transcript")
            if not isinstance(name, str) or not isinstance(recording, UploadFile):
                raise VoiceError("Send a form with name, consent and audio_sample, a file.")
            if not isinstance(consent, str) or not consent.strip():
                raise VoiceError("Say in consent how the person agreed to have this voice cloned.")
            service.voices.check_new(name)
            said = transcript if isinstance(transcript, str) and transcript.strip() else None
            job = service.worker.submit(lambda _: service.hear(name, recording, said))
            entry = await _unless_gone(request, service.worker, job)
        told: dict[str, Any] = entry.to_json()
        return {**told, "notes": list(entry.voice.notes)}

    @app.delete("/v1/audio/voices/{name}")
    async def remove(name: str) -> dict[str, Any]:
        entry = service.voices.remove(name)
        return {"object": "audio.voice.deleted", "id": entry.id, "deleted": True}


def _add_errors(app: FastAPI) -> None:
    """Every error in the shape that OpenAI's clients read; none tells of paths or of the code."""

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        names = [str(part) for part in first["loc"] if part != "body"]
        field = ascii(".".join(names)[:60])[1:-1]
        message = f"{field or 'The body'}: {ascii(str(first['msg'])[:200])[1:-1]}."
        return JSONResponse(error_body(message, "invalid_value", param=field or None), 400)

    @app.exception_handler(SpeechkitError)
    async def refused(_: Request, error: SpeechkitError) -> Response:
        param = "input" if isinstance(error, TextError) else None
        message = str(error).encode("ascii", "backslashreplace").decode()
        status = error.status if isinstance(error, VoiceError) else 400
        return JSONResponse(error_body(message, type(error).__name__, param=param), status)

    @app.exception_handler(BusyError)
    async def busy(_: Request, error: BusyError) -> Response:
        headers = {"retry-after": str(error.retry_seconds)}
        return JSONResponse(error_body(str(error), "busy"), 503, headers)

    @app.exception_handler(GoneError)
    async def gone(_: Request, __: GoneError) -> Response:
        # Nobody reads it; 499 is what nginx calls a client that has gone.
        return Response(status_code=499)

    @app.exception_handler(HTTPException)
    async def plain(_: Request, error: HTTPException) -> Response:
        return JSONResponse(
            error_body(str(error.detail), f"http_{error.status_code}"),
            error.status_code,
            error.headers,
        )

    @app.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> Response:
        _log.error("a request failed", exc_info=error)
        message = "Something went wrong in the server; its log has more."
        return JSONResponse(error_body(message, "internal"), 500)
