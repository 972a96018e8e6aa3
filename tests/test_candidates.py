"""Of several candidates the one is kept in which the bundled aligner hears the phones best."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import speechkit.pieces as module
from speechkit import ZeroShotTTS
from speechkit.core.audio import read_audio
from speechkit.core.errors import ConfigError
from speechkit.facodec.recognition import bundled_reader
from speechkit.pieces import Piece, Spoken, clarity, stacked
from speechkit.tts import CANDIDATES
from tests.tiny import tiny_model

TEXT = "Hello there, world."


@pytest.fixture(scope="module")
def tts(tmp_path_factory: pytest.TempPathFactory) -> ZeroShotTTS:
    return ZeroShotTTS.from_pretrained(tiny_model(tmp_path_factory.mktemp("model")))


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
    assert values[0] > values[1] + 0.5


def test_what_does_not_fit_is_no_candidate() -> None:
    short = Spoken(wave_T=torch.zeros(640), phones=("^", *["AA1", "B"] * 40, "$"), frames=(1,))
    assert clarity(short) == -float("inf")


def test_the_clearest_is_kept(
    tts: ZeroShotTTS, examples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice = tts.voice(examples / "synthetic_af_heart.flac")
    seen: list[Spoken] = []

    def longest(spoken: Spoken) -> float:
        seen.append(spoken)
        return len(spoken.wave_T) - 1e9

    monkeypatch.setattr(module, "clarity", longest)
    best = tts.synthesize(TEXT, voice, candidates=5, steps=1, watermark=None)
    assert len(seen) == 5
    assert len({one.frames for one in seen}) > 1
    assert len(best.wave_T) == max(len(one.wave_T) for one in seen)
    assert "choose" in best.stages_seconds
    alone = tts.synthesize(TEXT, voice, candidates=1, steps=1, watermark=None)
    # The first candidate is what is spoken without any other.
    torch.testing.assert_close(seen[0].wave_T, alone.wave_T, atol=1e-4, rtol=0)


def test_what_is_clear_is_not_spoken_again(
    tts: ZeroShotTTS, examples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a batch, too: each text is as it is alone."""
    voice = tts.voice(examples / "synthetic_af_heart.flac")
    seen: list[Spoken] = []

    def by_length(spoken: Spoken) -> float:
        seen.append(spoken)
        return -2.0 if len(spoken.phones) > 12 and len(seen) % 5 else -0.1

    monkeypatch.setattr(module, "clarity", by_length)
    short, long = "Yes.", "The ferry leaves at noon."
    alone = tts.synthesize(short, voice, candidates=4, steps=1, watermark=None)
    assert len(seen) == 1
    tts.synthesize(long, voice, candidates=4, steps=1, watermark=None)
    assert len(seen) == 5
    del seen[:]
    both = tts.synthesize_batch([short, long], voice, candidates=4, steps=1, watermark=None)
    assert len(seen) == 5
    assert [one.phones for one in seen] == [seen[0].phones, *[seen[1].phones] * 4]
    torch.testing.assert_close(both[0].wave_T, alone.wave_T, atol=1e-4, rtol=0)
    torch.testing.assert_close(both[1].wave_T, seen[4].wave_T, atol=0, rtol=0)


def test_random_weights_are_spoken_once_trained_ones_as_often_as_is_said(tts: ZeroShotTTS) -> None:
    assert tts.sampling(None).candidates == 1
    assert tts.sampling(3, 4).candidates == 4
    trained = ZeroShotTTS(tts.codec, tts.generator, trained=True)
    assert trained.sampling(None).candidates == CANDIDATES
    assert trained.sampling(7).candidates == CANDIDATES
    for count in (0, 17):
        with pytest.raises(ConfigError, match="candidates"):
            trained.sampling(None, count)


def test_candidates_have_draws_of_their_own(tts: ZeroShotTTS, examples: Path) -> None:
    voice = tts.voice(examples / "synthetic_af_heart.flac")
    piece = Piece(phones=("^", "AA1", "$"), voice=voice, seed=3)
    assert piece.candidate(0) is piece
    assert len({piece.candidate(number).seed for number in range(9)}) == 9
    assert piece.candidate(1).phones == piece.phones


def test_voices_with_and_without_a_spectrum_stand_side_by_side() -> None:
    timbre_BD = stacked([torch.ones(3), torch.ones(5)])
    assert timbre_BD.tolist() == [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]
