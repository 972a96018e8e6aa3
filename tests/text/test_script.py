"""Pause tags, SSML and dialogues: what they become, and what is refused."""

from __future__ import annotations

import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from speechkit.core.errors import TextError
from speechkit.text.script import (
    MAX_PAUSES_SECONDS,
    PARAGRAPH_SECONDS,
    PAUSE_SECONDS,
    TURN_SECONDS,
    Line,
    Pause,
    check_voices,
    read_dialogue,
    read_script,
)


def said(text: str) -> list[str | float]:
    """The parts as texts and seconds."""
    return [
        " ".join(part.text.split()) if isinstance(part, Line) else part.seconds
        for part in read_script(text)
    ]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Hello.", ["Hello."]),
        ("One [pause 0.5s] two", ["One", 0.5, "two"]),
        ("One [PAUSE 250 ms], two", ["One", 0.25, ", two"]),
        ("One [pause 2][pause]two", ["One", 2.0, PAUSE_SECONDS, "two"]),
        ("[pause 1s]One [pause .5s].", [1.0, "One.", 0.5]),
        ("One [pause 0s] two", ["One two"]),
        ("The [[P AO1 Z]] [x] [pauses]", ["The [[P AO1 Z]] [x] [pauses]"]),
    ],
)
def test_pause_tags_cut_the_text(text: str, parts: list[str | float]) -> None:
    assert said(text) == parts


@pytest.mark.parametrize(
    ("ssml", "parts"),
    [
        ("<speak>Hello.</speak>", ["Hello."]),
        (
            '<?xml version="1.0"?>\n<speak version="1.0" xml:lang="en-US">A &amp; B</speak>',
            ["A & B"],
        ),
        ("<speak><s>One</s><s>Two!</s></speak>", ["One. Two!"]),
        ("<speak><p>One</p><p>Two</p></speak>", ["One.", PARAGRAPH_SECONDS, "Two."]),
        ('<speak>a<break time="300ms"/>b<break/>c</speak>', ["a", 0.3, "b", 0.4, "c"]),
        ('<speak>a<break strength="none"/>b</speak>', ["a b"]),
        ("<speak>a [pause 1s] b</speak>", ["a", 1.0, "b"]),
        ('<speak>The <sub alias="World Wide Web">WWW</sub>.</speak>', ["The World Wide Web."]),
        ('<speak><say-as interpret-as="spell-out">ab 1</say-as></speak>', ["A B 1"]),
        (
            '<speak>the <say-as interpret-as="ordinal">21</say-as> and '
            '<say-as interpret-as="ordinal">112</say-as></speak>',
            ["the 21st and 112th"],
        ),
        (
            '<speak><phoneme alphabet="x-arpabet" ph="HH AY1">hello</phoneme> you</speak>',
            ["[[HH AY1]] you"],
        ),
        ("<speak><!-- not said -->said</speak>", ["said"]),
    ],
)
def test_ssml_becomes_parts(ssml: str, parts: list[str | float]) -> None:
    assert said(ssml) == parts


def test_ssml_voices_and_rates_nest() -> None:
    parts = read_script(
        '<speak>a <voice name="ANNA">b <prosody rate="50%">c</prosody></voice>'
        '<prosody rate="+20%">d</prosody></speak>'
    )
    told = [(p.text.strip(), p.voice, p.speed) for p in parts if isinstance(p, Line)]
    assert told == [("a", "", 1.0), ("b", "ANNA", 1.0), ("c", "ANNA", 0.5), ("d", "", 1.2)]
    with pytest.raises(TextError, match="did you mean ANN"):
        check_voices(parts, ["ANN", "BEN"])
    check_voices(parts, ["ANNA"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  ", "empty"),
        ("[pause 1s]", "empty"),
        ("a [pause 11s]", "at most 10 s"),
        ("a [pause long]", "0.5s or 500ms"),
        ("a [pause -1s]", "0.5s or 500ms"),
        ("a [pause 10s]" * 31, f"limit is {MAX_PAUSES_SECONDS:g} s"),
        ("<speak>a & b</speak>", "&amp;"),
        ("<speak>a", "damaged"),
        ("<speak/>", "empty"),
        ('<speak><audio src="file:///etc/passwd"/></speak>', "not supported"),
        ("<speak><phoneme ph='x'>a</phoneme></speak>", "ARPAbet"),
        ("<speak><phoneme alphabet='x-arpabet' ph=']]'>a</phoneme></speak>", "ARPAbet"),
        ("<speak><prosody pitch='+2st'>a</prosody></speak>", "rate alone"),
        ("<speak><prosody rate='9000%'>a</prosody></speak>", "25% to 400%"),
        ("<speak>" + "<prosody rate='50%'>" * 3 + "a</speak>", "multiply"),
        ("<speak><say-as interpret-as='song'>a</say-as></speak>", "not supported"),
        ("<speak><say-as>a</say-as></speak>", "interpret-as"),
        ("<speak><sub alias='x'><s>a</s></sub></speak>", "text alone"),
        ("<speak><break strength='huge'/>a</speak>", "x-strong"),
        ("<speak>" + "<s>" * 100, "nested deeper"),
        ("<speak>\ud800</speak>", "Unicode"),
        ('<speak>&xxe;<x xmlns:e="&file;"/></speak>', "damaged"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence(text: str, message: str) -> None:
    with pytest.raises(TextError, match=message):
        read_script(text)


def test_documents_cannot_declare_entities() -> None:
    bomb = (
        '<?xml version="1.0"?><!DOCTYPE speak [<!ENTITY a "aaaaaaaaaa">'
        '<!ENTITY b "&a;&a;&a;&a;&a;">]><speak>&b;</speak>'
    )
    # Only a text that begins with the root is SSML; what comes with a document type is plain text.
    assert all(isinstance(part, Line) for part in read_script(bomb))
    with pytest.raises(TextError, match="damaged|DOCTYPE"):
        read_script('<speak><!DOCTYPE speak [<!ENTITY a "b">]>&a;</speak>')


def test_a_dialogue_gives_each_line_to_its_voice() -> None:
    parts = read_dialogue(
        "# two friends\nANNA: Hello: you.\n  Still me.\n\nben : Hi. [pause 1s] Bye.\n",
        ["Anna", "BEN"],
    )
    assert parts == (
        Line(text="Hello: you.   Still me.", voice="Anna"),
        Pause(seconds=TURN_SECONDS),
        Line(text="Hi. ", voice="BEN"),
        Pause(seconds=1.0),
        Line(text=" Bye.", voice="BEN"),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Hello.", "Line 1 has no speaker"),
        ("ANNA: Hi.\nCARL: Hi.", "Line 2: There is no voice 'CARL'"),
        ("# nothing", "empty"),
    ],
)
def test_a_dialogue_names_the_line_that_is_wrong(text: str, message: str) -> None:
    with pytest.raises(TextError, match=message):
        read_dialogue(text, ["ANNA"])


MARKUP = st.sampled_from(
    [
        *(
            "<speak>",
            "</speak>",
            "<s>",
            "</s>",
            "<p>",
            "</p>",
            "<break time='1s'/>",
            "<sub alias='",
        ),
        *(
            "'>",
            "[pause ",
            "[pause 1s]",
            "]",
            "&amp;",
            "&#0;",
            "<!",
            "<![CDATA[",
            "]]>",
            "ANNA:",
            "\n",
        ),
        *("<voice name='ANNA'>", "</voice>", "\0", "\ud800", "hello ", "9" * 50),
    ]
)


@given(st.lists(MARKUP | st.text(max_size=5), max_size=25).map("".join), st.booleans())
@example(text="\x1f", ssml=False)
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_refused(text: str, ssml: bool) -> None:
    for read in (read_script, lambda script: read_dialogue(script, ["ANNA"])):
        try:
            parts = read(f"<speak>{text}" if ssml else text)
        except TextError:
            continue
        assert any(isinstance(part, Line) and part.text.strip() for part in parts)
        assert sum(p.seconds for p in parts if isinstance(p, Pause)) <= MAX_PAUSES_SECONDS


@given(
    st.text(string.ascii_letters + " ,.!?", max_size=80).filter(lambda t: any(map(str.isalpha, t)))
)
@settings(max_examples=100, deadline=None)
def test_plain_text_is_one_line_as_it_is(text: str) -> None:
    assert read_script(text) == (Line(text=text),)
