"""Subtitles: cues that cover every word in order, in two formats and as JSON."""

from __future__ import annotations

import json
import re

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.core.results import Speech, TimedLabel
from speechkit.subtitles import (
    MAX_CUE_SECONDS,
    MAX_LINE_CHARACTERS,
    cues,
    punctuated,
    srt,
    vtt,
    words_json,
)

MARK = st.sampled_from([" ", ",", ".", "?", "-", "$^"])


def speech_of(words: list[tuple[str, str, float, float]]) -> Speech:
    """A speech with these words: label, boundary after it, seconds of it, seconds of the pause."""
    phones, timed, now = ["^"], [], 0.25
    for label, mark, seconds, pause in words:
        timed.append(TimedLabel(label=label, start_seconds=now, end_seconds=now + seconds))
        now += seconds + pause
        phones += ["AH0", *mark]
    return Speech(
        wave_T=torch.zeros(round(16_000 * now) + 1),
        sample_rate_hz=16_000,
        phones=(*phones, "$"),
        frames=(1,) * (len(phones) + 1),
        seed=0,
        words=tuple(timed),
    )


SPEECH = speech_of(
    [
        ("Hello", ",", 0.5, 0.1),
        ("world", ".", 0.5, 0.3),
        ("R&D", " ", 3600, 0.0),
        ("now", "?", 1, 0),
    ]
)


def test_words_get_their_marks_back() -> None:
    assert [word.label for word in punctuated(SPEECH)] == ["Hello,", "world.", "R&D", "now?"]


def test_srt_is_as_players_read_it() -> None:
    assert srt(SPEECH) == (
        "1\n00:00:00,250 --> 00:00:01,350\nHello, world.\n\n"
        "2\n00:00:01,650 --> 01:00:01,650\nR&D\n\n"
        "3\n01:00:01,650 --> 01:00:02,650\nnow?\n\n"
    )


def test_vtt_has_its_header_and_escapes() -> None:
    text = vtt(SPEECH)
    assert text.startswith("WEBVTT\n\n00:00:00.250 --> 00:00:01.350\nHello, world.\n\n")
    assert "R&amp;D" in text


def test_json_has_seconds() -> None:
    told = json.loads(words_json(SPEECH))
    assert told["words"][0] == {"word": "Hello", "start": 0.25, "end": 0.75}
    assert len(told["words"]) == 4


def test_nothing_said_makes_no_cue() -> None:
    silent = speech_of([])
    assert srt(silent) == ""
    assert vtt(silent) == "WEBVTT\n\n"


WORDS = st.lists(
    st.tuples(
        st.text("abcdefgh'", min_size=1, max_size=50), MARK, st.floats(0.02, 3), st.floats(0, 2)
    ),
    max_size=60,
)


@given(WORDS)
@settings(max_examples=100, deadline=None)
def test_cues_hold_every_word_once_in_order_and_fit(
    words: list[tuple[str, str, float, float]],
) -> None:
    speech = speech_of(words)
    made = cues(speech)
    joined = " ".join(cue.text.replace("\n", " ") for cue in made)
    assert joined == " ".join(word.label for word in punctuated(speech))
    for cue, after in zip(made, (*made, None)[1:], strict=True):
        lines = cue.text.split("\n")
        assert len(lines) <= 2
        assert all(len(line) <= MAX_LINE_CHARACTERS or " " not in line for line in lines)
        assert cue.end_seconds - cue.start_seconds <= MAX_CUE_SECONDS or " " not in cue.text
        assert after is None or cue.end_seconds <= after.start_seconds
    assert len(re.findall(r"\n\n", srt(speech))) == len(made)
