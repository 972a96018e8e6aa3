"""Words that the bundled aligner does not hear clearly are drawn again, the rest stays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import speechkit.takes as module
from speechkit import ZeroShotTTS
from speechkit.core.audio import read_audio
from speechkit.core.errors import ConfigError
from speechkit.core.results import Voice
from speechkit.diffusion.generator import Draws
from speechkit.facodec.recognition import bundled_reader
from speechkit.pieces import Piece, Spoken, stacked, words_of
from speechkit.takes import NOTHING_HEARD, clarity, unclear
from speechkit.text import is_boundary
from speechkit.tts import CANDIDATES
from tests.diffusion.builders import live_generator, random_voice
from tests.facodec.small.test_codec import fresh

TEXT = "The ferry leaves at noon."
"""Five words."""

CLEAR, UNCLEAR = -0.1, -3.0


@pytest.fixture(scope="module")
def tts() -> ZeroShotTTS:
    """A model every part of which matters to what is heard."""
    return ZeroShotTTS(fresh(), live_generator())


@pytest.fixture(scope="module")
def voice() -> Voice:
    """Somebody."""
    return random_voice(0)


class Ear:
    """In place of the aligner: hears of each try what it is told, and keeps what was decoded."""

    def __init__(self, tts: ZeroShotTTS, hears: Callable[[int, Spoken], Sequence[float]]) -> None:
        self.hears, self.tts = hears, tts
        self.heard: list[Spoken] = []
        self.codes: list[Tensor] = []
        self._decode = tts.codec.decode_batch

    def clarity(self, spoken: Spoken) -> Tensor:
        """A value for each word, in place of `takes.clarity`."""
        values = self.hears(len(self.heard), spoken)
        self.heard.append(spoken)
        heard_P = torch.full((len(spoken.phones),), torch.nan)
        for word, value in zip(words_of(spoken.phones), values, strict=True):
            heard_P[word] = value
        return heard_P

    def decode_batch(self, codes: Any, *rest: Any) -> Any:
        """The codec's, which remembers the codes."""
        self.codes += [one.stacked() for one in codes]
        return self._decode(codes, *rest)

    def words(self, number: int) -> list[Tensor]:
        """The codes of each word of the try of that number."""
        spoken = self.heard[number]
        runs = torch.split(self.codes[number], list(spoken.frames), dim=1)
        return [torch.cat(runs[word], dim=1) for word in words_of(spoken.phones)]


@pytest.fixture
def listen(tts: ZeroShotTTS, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ear]:
    """An ear at the model."""

    def made(hears: Callable[[int, Spoken], Sequence[float]]) -> Ear:
        ear = Ear(tts, hears)
        monkeypatch.setattr(module, "clarity", ear.clarity)
        monkeypatch.setattr(tts.codec, "decode_batch", ear.decode_batch)
        return ear

    return made


def test_the_right_text_is_heard_better_than_a_wrong_one(examples: Path) -> None:
    wave_T = read_audio(examples / "synthetic_af_heart.flac", 16_000)
    heard = bundled_reader().heard(wave_T)
    assert int((heard != 0).sum()) > 20
    names = [bundled_reader().names[int(c)] for c in torch.unique_consecutive(heard) if int(c)]
    vowels = {name for name in names if name[0] in "AEIOU"}
    right = ("^", *(f"{name}1" if name in vowels else name for name in names), "$")
    wrong = ("^", *reversed(right[1:-1]), "$")
    values = [bundled_reader().clarity(wave_T, phones) for phones in (right, wrong)]
    assert values[0] is not None
    assert values[1] is not None
    assert values[0].shape == (len(right),)
    # Ends are silence, and what is said is heard.
    assert values[0].isnan().tolist() == [is_boundary(phone) for phone in right]
    assert float(values[0].nanmean()) > float(values[1].nanmean()) + 0.5


def test_what_does_not_fit_is_not_heard() -> None:
    short = Spoken(wave_T=torch.zeros(640), phones=("^", *["AA1", "B"] * 40, "$"), frames=(1,))
    heard_P = clarity(short)
    assert heard_P[0].isnan()
    assert heard_P[-1].isnan()
    assert set(heard_P[1:-1].tolist()) == {NOTHING_HEARD}


def test_a_word_is_open_or_clear_as_a_whole() -> None:
    phones = ("^", "HH", "AY1", ",", "DH", "EH1", "R", "$")
    nan = torch.nan
    heard_P = torch.tensor([nan, -0.5, -0.7, nan, -3.0, nan, -0.1, nan])
    assert words_of(phones) == [slice(1, 3), slice(4, 7)]
    assert unclear(heard_P, phones, -1.1).tolist() == [False] * 4 + [True] * 3 + [False]
    assert not unclear(torch.full((8,), nan), phones, -1.1).any()


@pytest.mark.parametrize("speed", [1.0, 0.6])
def test_an_unclear_word_is_drawn_again_and_the_others_stay(
    tts: ZeroShotTTS, voice: Voice, listen: Callable[..., Ear], speed: float
) -> None:
    ear = listen(lambda n, _: [CLEAR, CLEAR, CLEAR if n else UNCLEAR, CLEAR, CLEAR])
    said = tts.synthesize(TEXT, voice, candidates=4, steps=2, speed=speed, watermark=None)
    assert len(ear.heard) == 2
    before, after = ear.words(0), ear.words(1)
    for number in (0, 1, 3, 4):
        assert torch.equal(before[number], after[number])
    assert not torch.equal(before[2], after[2])
    assert said.frames == ear.heard[1].frames
    # How long the word lasts is drawn again as well; boundaries stay.
    one, other = ear.heard[0].frames, ear.heard[1].frames
    changed = {n for n, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1]}
    word = words_of(said.phones)[2]
    assert changed
    assert changed <= set(range(word.start, word.stop))


def test_of_each_word_the_clearer_try_is_kept(
    tts: ZeroShotTTS, voice: Voice, listen: Callable[..., Ear]
) -> None:
    values = [
        [CLEAR, -2.0, -2.0, CLEAR, -2.0],
        [CLEAR, -1.5, -2.5, CLEAR, -1.5],
        [CLEAR, -1.4, -2.1, CLEAR, -1.5],
    ]
    ear = listen(lambda n, _: values[n])
    said = tts.synthesize(TEXT, voice, candidates=2, steps=2, watermark=None)
    assert len(ear.heard) == 3
    first, again, both = (ear.words(number) for number in range(3))
    assert torch.equal(both[1], again[1])
    assert torch.equal(both[2], first[2])
    assert torch.equal(both[4], again[4])
    assert not torch.equal(first[2], again[2])
    assert said.frames == ear.heard[2].frames
    torch.testing.assert_close(said.wave_T, ear.heard[2].wave_T, atol=0, rtol=0)


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_mixture_is_kept_where_it_is_the_clearest(
    tts: ZeroShotTTS, voice: Voice, listen: Callable[..., Ear], kept: int
) -> None:
    """Words side by side may be less clear than each was beside others."""
    values = [[-2.0, -2.0], [-1.9, -2.05], [-2.0, -2.1]]
    values[kept] = [-1.2, -2.04] if kept else [-2.0, -1.8]
    ear = listen(lambda n, _: values[n])
    said = tts.synthesize("Good morning.", voice, candidates=2, steps=2, watermark=None)
    assert len(ear.heard) == 3
    assert said.frames == ear.heard[kept].frames
    torch.testing.assert_close(said.wave_T, ear.heard[kept].wave_T, atol=0, rtol=0)


def test_what_is_never_clear_is_drawn_as_often_as_was_asked(
    tts: ZeroShotTTS, voice: Voice, listen: Callable[..., Ear]
) -> None:
    ear = listen(lambda n, _: [UNCLEAR + 0.1 * n] * 5)
    best = tts.synthesize(TEXT, voice, candidates=5, steps=1, watermark=None)
    assert len(ear.heard) == 5
    assert len({one.frames for one in ear.heard}) > 1
    torch.testing.assert_close(best.wave_T, ear.heard[4].wave_T, atol=0, rtol=0)
    assert "choose" in best.stages_seconds
    alone = tts.synthesize(TEXT, voice, candidates=1, steps=1, watermark=None)
    # The first try is what is spoken without any other.
    torch.testing.assert_close(ear.heard[0].wave_T, alone.wave_T, atol=1e-4, rtol=0)
    del ear.heard[:]
    same = tts.synthesize(TEXT, voice, candidates=5, steps=1, watermark=None)
    assert torch.equal(same.wave_T, best.wave_T)


@pytest.mark.parametrize(("asked", "passes"), [(None, [4, 2, 2]), (9, [9, 2, 2]), (1, [1, 1, 1])])
def test_draws_after_the_first_take_few_passes(
    tts: ZeroShotTTS,
    voice: Voice,
    listen: Callable[..., Ear],
    monkeypatch: pytest.MonkeyPatch,
    asked: int | None,
    passes: list[int],
) -> None:
    seen: list[int] = []
    draw = tts.draw_frames

    def counted(targets: Any, voices: Any, draws: Draws) -> Any:
        seen.append(draws.sampler.prosody.steps)
        return draw(targets, voices, draws)

    monkeypatch.setattr(tts, "draw_frames", counted)
    listen(lambda *_: [UNCLEAR])
    tts.synthesize("Yes.", voice, candidates=3, steps=asked, watermark=None)
    assert seen == passes


def test_what_is_clear_is_not_spoken_again(
    tts: ZeroShotTTS, voice: Voice, listen: Callable[..., Ear]
) -> None:
    """In a batch, too: each text is as it is alone."""
    tries: dict[int, int] = {}

    def hears(_: int, spoken: Spoken) -> list[float]:
        words = len(words_of(spoken.phones))
        tries[words] = tries.get(words, 0) + 1
        return [CLEAR if words == 1 else UNCLEAR + 0.1 * tries[words]] * words

    ear = listen(hears)
    short = tts.synthesize("Yes.", voice, candidates=4, steps=1, watermark=None)
    assert tries == {1: 1}
    long = tts.synthesize(TEXT, voice, candidates=4, steps=1, watermark=None)
    assert tries == {1: 1, 5: 4}
    tries.clear()
    both = tts.synthesize_batch(["Yes.", TEXT], voice, candidates=4, steps=1, watermark=None)
    assert tries == {1: 1, 5: 4}
    assert len(ear.heard) == 10
    for alone, beside in zip((short, long), both, strict=True):
        assert alone.frames == beside.frames
        torch.testing.assert_close(alone.wave_T, beside.wave_T, atol=1e-4, rtol=0)


def test_random_weights_are_spoken_once_trained_ones_as_often_as_is_said(tts: ZeroShotTTS) -> None:
    assert tts.sampling(None).candidates == 1
    assert tts.sampling(3, 4).candidates == 4
    trained = ZeroShotTTS(tts.codec, tts.generator, trained=True)
    assert trained.sampling(None).candidates == CANDIDATES
    assert trained.sampling(7).candidates == CANDIDATES
    for count in (0, 17):
        with pytest.raises(ConfigError, match="candidates"):
            trained.sampling(None, count)


def test_candidates_have_draws_of_their_own(voice: Voice) -> None:
    piece = Piece(phones=("^", "AA1", "$"), voice=voice, seed=3)
    assert piece.candidate(0) is piece
    assert len({piece.candidate(number).seed for number in range(9)}) == 9
    assert piece.candidate(1).phones == piece.phones


def test_voices_with_and_without_a_spectrum_stand_side_by_side() -> None:
    timbre_BD = stacked([torch.ones(3), torch.ones(5)])
    assert timbre_BD.tolist() == [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]
