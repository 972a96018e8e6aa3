"""Kinds of audio files; nothing is imported here, so that a command line knows them at once."""

from __future__ import annotations

AUDIO_FORMATS = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}
"""Container and coding of each kind of file that can be written."""

AUDIO_SUFFIXES = tuple(AUDIO_FORMATS)
"""Endings of the files that can be written."""
