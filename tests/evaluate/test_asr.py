from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.core.errors import DataError
from speechkit.evaluate.asr import whisper_folder, word_errors

_LETTERS = st.text("ab ", max_size=8)


def test_word_errors_count_words_and_characters() -> None:
    errors = word_errors("the cat sat", " the hat sat down")
    assert (errors.word_edits, errors.words) == (2, 3)
    assert (errors.character_edits, errors.characters) == (6, 11)
    assert errors.wer == pytest.approx(2 / 3)


def test_word_errors_of_silence_and_of_an_empty_text() -> None:
    assert word_errors("two words", "").wer == 1.0
    assert word_errors("", "").wer == 0.0


@settings(deadline=None, max_examples=50)
@given(_LETTERS, _LETTERS)
def test_word_errors_agree_with_jiwer(reference: str, heard: str) -> None:
    jiwer = pytest.importorskip("jiwer")
    if not reference.split():
        return
    errors = word_errors(reference, heard)
    words = jiwer.process_words(reference, heard)
    assert errors.word_edits == words.substitutions + words.deletions + words.insertions
    characters = jiwer.process_characters(reference, heard)
    edits = characters.substitutions + characters.deletions + characters.insertions
    assert errors.character_edits == edits


def test_unknown_model_is_a_plain_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="tiny.en"):
        whisper_folder(str(tmp_path), tmp_path)
