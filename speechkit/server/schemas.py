"""What clients send, checked field by field."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from speechkit.diffusion.config import MOST_CANDIDATES

MODELS = ("speechkit", "tts-1", "tts-1-hd", "gpt-4o-mini-tts")
"""Names of the one model; OpenAI's so that their clients work unchanged."""

AudioFormat = Literal["mp3", "opus", "flac", "wav", "pcm"]


class VoiceReference(BaseModel):
    """A voice by its id, as OpenAI's clients refer to uploaded ones."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: Annotated[str, Field(min_length=1, max_length=64)]


class SpeechRequest(BaseModel):
    """The body of `POST /v1/audio/speech`."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    model: str = "speechkit"
    """One of `MODELS`."""

    input: Annotated[str, Field(min_length=1)]
    """Text, text with `[pause 0.5s]`, or SSML."""

    voice: Annotated[str, Field(min_length=1, max_length=64)] | VoiceReference = "default"
    """Name or id; "default" is the first bundled one."""

    response_format: AudioFormat = "mp3"
    """`pcm` is 16-bit, mono, 24 kHz, as OpenAI's clients play it; the others carry their rate."""

    speed: Annotated[float, Field(ge=0.25, le=4.0)] = 1.0
    """Speaking rate."""

    stream_format: Literal["audio", "sse"] | None = None
    """Sound as it is made, bare or as events; not given, wav and flac come whole."""

    instructions: str | None = None
    """Accepted and not followed; a note says so."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """All draws follow from it."""

    steps: Annotated[int, Field(ge=1, le=64)] | None = None
    """Passes of the first codebooks; more is slower and clearer."""

    candidates: Annotated[int, Field(ge=1, le=MOST_CANDIDATES)] | None = None
    """How often each piece is spoken, to keep the clearest; more is slower and clearer. A stream
    speaks once; more than one, asked for without `stream_format`, come whole in any format."""

    timestamps: bool = False
    """Times of words: as a JSON answer with the sound in base64, or in the events of `sse`."""

    @property
    def voice_name(self) -> str:
        """Name or id of the voice."""
        return self.voice if isinstance(self.voice, str) else self.voice.id

    @property
    def streams(self) -> bool:
        """Whether the sound is sent while it is made."""
        if self.timestamps and self.stream_format != "sse":
            return False
        if self.stream_format is not None:
            return True
        return self.response_format in ("mp3", "opus", "pcm") and not self.chooses

    @property
    def chooses(self) -> bool:
        """Whether candidates are asked for, of which one is kept: they take whole pieces."""
        return self.candidates is not None and self.candidates > 1
