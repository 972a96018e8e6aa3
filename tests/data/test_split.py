"""Held out are speakers: nobody is on both sides, and the same ones always."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.core.errors import DataError
from speechkit.data.packed import PackedCorpus, write_packed
from speechkit.data.split import split_clips

from .test_packed import make_clip


def listed(clips: list[tuple[str, str | None]]) -> PackedCorpus:
    """A corpus of clips of no length, given by speaker and text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "c.safetensors")
        write_packed(
            path,
            [
                make_clip(f"clip-{n}", 0, speaker=speaker, text=text)
                for n, (speaker, text) in enumerate(clips)
            ],
        )
        corpus = PackedCorpus(path)
        assert corpus.clips[0]["id"] == "clip-0"
    # Mapped by now: it needs the file no more.
    return corpus


def sides(corpus: PackedCorpus, held_out: float = 0.03) -> tuple[list[int], list[int]]:
    """Clips to train on and clips held out."""
    train, test = (
        split_clips(corpus, validation=flag, held_out=held_out).tolist() for flag in (False, True)
    )
    return train, test


def voices(corpus: PackedCorpus, clips: list[int]) -> set[str]:
    return {corpus.clips[n]["speaker"] for n in clips}


@given(
    clips=st.lists(
        st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["hello", None])), min_size=2
    ),
    held_out=st.sampled_from([0.0, 0.03, 0.5, 1.0]),
)
@settings(max_examples=40, deadline=None)
def test_every_clip_has_one_side_and_every_speaker_too(
    clips: list[tuple[str, str | None]], held_out: float
) -> None:
    corpus = listed(clips)
    train, test = sides(corpus, held_out)
    assert train
    assert test
    assert sorted([*train, *test]) == list(range(len(corpus)))
    if len({speaker for speaker, _ in clips}) > 1:
        assert not voices(corpus, train) & voices(corpus, test)


def test_three_percent_of_the_speakers_with_text_and_at_least_three() -> None:
    many = listed([(f"s{n}", "hello" if n < 200 else None) for n in range(400)])
    held = voices(many, sides(many)[1])
    assert len(held) == 6
    assert all(int(name[1:]) < 200 for name in held)
    few = listed([(f"s{n % 20}", "hello") for n in range(60)])
    assert len(voices(few, sides(few)[1])) == 3


def test_held_out_speakers_stay_held_out() -> None:
    """More clips of known speakers change nothing, nor does the order of the corpus."""
    names = [f"s{n}" for n in range(50)]
    once = listed([(name, "hello") for name in names])
    again = listed([(name, "hello") for name in [*reversed(names), *names[:9]]])
    assert voices(once, sides(once)[1]) == voices(again, sides(again)[1])


def test_a_speaker_at_another_speed_is_on_the_same_side() -> None:
    """The same are held out as without, none of their copies is trained on or judged."""
    names = [f"s{n}" for n in range(50)]
    plain = listed([(name, "hello") for name in names])
    copies = [f"{speed}{name}" for speed in ("", "sp0.9-", "sp1.1-") for name in names]
    more = listed([(name, "hello") for name in copies])
    train, test = sides(more)
    held = voices(plain, sides(plain)[1])
    assert voices(more, test) == held
    assert not {name.split("-")[-1] for name in voices(more, train)} & held
    assert len(train) == 150 - 3 * len(held)
    numbered = listed([(f"sp{n}-reader", "hello") for n in range(20)])
    assert len(voices(numbered, sides(numbered)[1])) == 3
    only = listed([(f"sp0.9-{name}", "hello") for name in names])
    assert {name.split("-")[-1] for name in voices(only, sides(only)[1])} == held


def test_one_voice_is_split_by_clip(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    write_packed(path, (make_clip(f"clip {n}", 800) for n in range(40)))
    train, test = sides(PackedCorpus(path))
    assert (len(train), len(test)) == (37, 3)


def test_one_clip_cannot_be_split() -> None:
    with pytest.raises(DataError, match="at least two clips"):
        sides(listed([("a", "hello")]))
