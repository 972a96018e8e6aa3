"""Kinds of audio files: those written, those read, and what to say of others.

Nothing is imported here, so that a command line knows them at once.
"""

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

MAX_PADDING_BYTES = 1 << 16
"""Zero bytes in front of a file that are skipped; some encoders and broken copies leave them."""

HEAD_BYTES = MAX_PADDING_BYTES + 64
"""How much of a file must be at hand to tell its kind."""

_READ = (b"RIFF", b"RF64", b"riff", b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"caff")

_CONVERT = "cannot be read: convert it to WAV or FLAC, for example with ffmpeg -i IN out.wav"
_FOREIGN = (
    (0, b"\x1a\x45\xdf\xa3", "WebM or Matroska"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA or another ASF"),
    (0, b"#!AMR", "AMR"),
    (0, b"#!SILK", "SILK"),
    (0, b"\x02#!SILK", "SILK"),
    (0, b"ADIF", "AAC"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"wvpk", "WavPack"),
    (0, b"MPCK", "Musepack"),
    (0, b"MP+", "Musepack"),
    (0, b"TTA1", "True Audio"),
    (0, b"DSD ", "DSD"),
    (0, b"FRM8", "DSD"),
    (0, b"\x0b\x77", "AC-3"),
    (0, b"\x7f\xfe\x80\x01", "DTS"),
    (0, b".RMF", "RealMedia"),
    (0, b".ra\xfd", "RealAudio"),
    (0, b"FLV", "Flash video"),
    (0, b"\x00\x00\x01\xba", "MPEG video"),
    (0, b"\x00\x00\x01\xb3", "MPEG video"),
    (0, b"MThd", "MIDI"),
    (8, b"AVI ", "AVI video"),
)
"""Offset, bytes and name of sound that no library here decodes."""

_OTHER = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the file itself: run git lfs pull"),
    (b"PK\x03\x04", "is a ZIP archive: unpack it first"),
    (b"\x1f\x8b", "is compressed with gzip: unpack it first"),
    (b"BZh", "is compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ", "is compressed with xz: unpack it first"),
    (b"7z\xbc\xaf", "is a 7z archive: unpack it first"),
    (b"Rar!", "is a RAR archive: unpack it first"),
    (b"<!DOCTYPE", "is a web page, not the recording: download the file itself"),
    (b"<!doctype", "is a web page, not the recording: download the file itself"),
    (b"<html", "is a web page, not the recording: download the file itself"),
)
_ADVICE = "give WAV, FLAC, Ogg or MP3"


def padding(head: bytes) -> int:
    """How many zero bytes to skip at the start; 0 unless what follows them is audio."""
    zeros = len(head) - len(head.lstrip(b"\0"))
    return zeros if 0 < zeros <= MAX_PADDING_BYTES and not complaint(head[zeros:]) else 0


def complaint(head: bytes) -> str:
    """What is to be said of a file that starts so, after its name; empty where it is audio.

    Only the kinds meant to be read pass: libsndfile knows dozens of rare formats, some by guess,
    and their parsers see no input from here.
    """
    if not head:
        return f"is empty and not an audio file: {_ADVICE}"
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        return f"is of the kind M4A/AAC or MP4, which {_CONVERT}"
    for offset, magic, kind in _FOREIGN:
        if head[offset:].startswith(magic):
            return f"is of the kind {kind}, which {_CONVERT}"
    if len(head) > 1 and head[0] == 0xFF and head[1] >= 0xE0:
        # The two bits of the layer are zero in AAC alone.
        return f"is of the kind AAC, which {_CONVERT}" if head[1] & 0xF6 == 0xF0 else ""
    if head.startswith(_READ):
        return ""
    for magic, told in _OTHER:
        if head.lstrip().startswith(magic):
            return told
    return f"is not an audio file: {_ADVICE}"
