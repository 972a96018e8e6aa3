"""Accuracy of the English front end on lists that others wrote; they are read, not kept.

    python recipes/text/accuracy.py homographs WikipediaHomographData/data
    python recipes/text/accuracy.py written NeMo-text-processing/tests/.../data_text_normalization
    python recipes/text/accuracy.py words cmudict/cmudict.dict

homographs: of github.com/google-research-datasets/WikipediaHomographData (Gorman et al. 2018), the
    half for evaluation; right = the phones said are nearest to the reading that a person chose.
    The front end's model learnt from the other half.
written: the cases of github.com/NVIDIA/NeMo-text-processing; right = the same words but for "and",
    "the", "of", case and spacing, which are habits.
words: of github.com/cmusphinx/cmudict, with the words that our dictionaries have read by the
    network as if they were unknown, and those that they lack; phone errors without stress.
"""

from __future__ import annotations

import argparse
import csv
import random
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from speechkit.text import Frontend, is_boundary, normalize
from speechkit.text.g2p import arpabet, english_g2p

_PHONE_OF_IPA = {
    "eɪ": "EY", "aɪ": "AY", "oʊ": "OW", "aʊ": "AW", "ɔɪ": "OY", "ɚ": "ER", "ɝ": "ER", "iː": "IY",
    "i": "IY", "uː": "UW", "u": "UW", "ɑː": "AA", "ɑ": "AA", "a": "AA", "ɔː": "AO", "ɔ": "AO",
    "æ": "AE", "ɛ": "EH", "e": "EH", "ə": "AH", "ʌ": "AH", "ɪ": "IH", "ʊ": "UH", "ɒ": "AA",
    "o": "OW", "tʃ": "CH", "dʒ": "JH", "ʤ": "JH", "ʧ": "CH", "b": "B", "d": "D", "f": "F",
    "h": "HH", "j": "Y", "k": "K", "l": "L", "m": "M", "n": "N", "p": "P", "s": "S", "t": "T",
    "v": "V", "w": "W", "z": "Z", "ð": "DH", "ŋ": "NG", "ɡ": "G", "g": "G", "ɹ": "R", "r": "R",
    "ʃ": "SH", "ʒ": "ZH", "θ": "TH",
}  # fmt: skip
_SYMBOL = re.compile("|".join((*sorted(_PHONE_OF_IPA, key=len, reverse=True), "'", "ˈ", "ˌ")))
_REDUCED = {"AH0", "IH0", "IY0", "UW0", "UH0"}
_HABITS = ("and", "the", "of")
_SAMPLE = 3000

Cost = Callable[[str, str], float]


def distance(first: Sequence[str], second: Sequence[str], cost: Cost) -> float:
    """Return the edit distance, where an insertion or a deletion costs 1."""
    row = [float(column) for column in range(len(second) + 1)]
    for line, one in enumerate(first, start=1):
        corner, row[0] = row[0], float(line)
        for column, other in enumerate(second, start=1):
            best = min(row[column] + 1, row[column - 1] + 1, corner + cost(one, other))
            corner, row[column] = row[column], best
    return row[-1]


def sound_cost(one: str, other: str) -> float:
    """Return how different two phones sound: stress counts half, reduced vowels a quarter."""
    if one == other:
        return 0.0
    if one in _REDUCED and other in _REDUCED:
        return 0.25
    return 0.5 if one[:2] == other[:2] else 1.0


def from_ipa(text: str) -> list[str]:
    """Return the phones of a pronunciation in IPA."""
    phones: list[str] = []
    stress = "0"
    for symbol in _SYMBOL.findall(text):
        if symbol in "'ˈˌ":
            stress = "2" if symbol == "ˌ" else "1"
            continue
        phone = _PHONE_OF_IPA[symbol]
        is_vowel = phone[0] in "AEIOU"
        phones.append(phone + stress if is_vowel else phone)
        stress = "0" if is_vowel else stress
    return phones


def spoken_words(phones: Sequence[str]) -> list[list[str]]:
    """Return the phones of each word."""
    words: list[list[str]] = [[]]
    for phone in phones:
        if not is_boundary(phone):
            words[-1].append(phone)
        elif words[-1]:
            words.append([])
    return [word for word in words if word]


def homographs(folder: Path) -> None:
    """Print the share of homographs that are read as a person would."""
    readings: dict[str, dict[str, list[str]]] = defaultdict(dict)
    with (folder / "wordids.tsv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            readings[row["homograph"]][row["wordid"]] = from_ipa(row["pronunciation"])
    frontend = Frontend()
    right: dict[str, list[bool]] = defaultdict(list)
    for table in sorted((folder / "eval").glob("*.tsv")):
        with table.open(encoding="utf-8") as stream:
            for row in csv.DictReader(stream, delimiter="\t"):
                said = _said(frontend, row["sentence"], row["homograph"], int(row["start"]))
                far = {
                    name: distance(said, phones, sound_cost)
                    for name, phones in readings[row["homograph"]].items()
                }
                nearest = [name for name in far if far[name] == min(far.values())]
                right[row["wordid"]].append(nearest == [row["wordid"]])
    every = [hit for hits in right.values() for hit in hits]
    balanced = sum(sum(hits) / len(hits) for hits in right.values()) / len(right)
    print(f"{sum(every) / len(every):.2%} of {len(every)}; mean over readings {balanced:.2%}")


def _said(frontend: Frontend, sentence: str, word: str, start: int) -> list[str]:
    """Return the phones of the word that begins at `start`; none where it is not found."""
    report = frontend.report(sentence)
    words = spoken_words(report.phones)
    places = [place for place, said in enumerate(report.words) if said.lower() == word]
    before = len(re.findall(rf"(?i)(?<![\w']){re.escape(word)}(?![\w'])", sentence[:start]))
    if len(words) != len(report.words) or before >= len(places):
        return []
    return words[places[before]]


def written(folder: Path) -> None:
    """Print the share of texts that are normalised to the expected words."""
    found: dict[str, list[bool]] = {}
    for file in sorted(folder.glob("test_cases_*.txt")):
        name = file.stem.removeprefix("test_cases_")
        if name in ("normalize_with_audio", "punctuation_match_input"):
            continue
        cases = [x.split("~", 1) for x in file.read_text("utf-8").splitlines() if "~" in x]
        found[name] = [_plain(normalize(text)) == _plain(expected) for text, expected in cases]
    for name, hits in found.items():
        print(f"{name:<14}{sum(hits):>4} of {len(hits)}")
    every = [hit for hits in found.values() for hit in hits]
    print(f"{sum(every) / len(every):.1%} of {len(every)}")


def _plain(text: str) -> str:
    """Return the letters of the words that matter."""
    words = re.sub(r"[^\w\s]|_", " ", text.lower().replace("o'clock", "oclock")).split()
    return "".join(word for word in words if word not in _HABITS)


def words(file: Path) -> None:
    """Print phone and word errors of words with and without an entry in our dictionaries."""
    entries: dict[str, list[list[str]]] = defaultdict(list)
    for line in file.read_text("utf-8").splitlines():
        word, *phones = re.sub(r"\d", "", line.split("#")[0]).replace("()", "").split()
        entries[word].append(phones)
    g2p = english_g2p()
    known = {word.lower() for word in (*g2p._engine.lexicon.golds, *g2p._engine.lexicon.silvers)}
    usable = sorted(word for word in entries if word.isalpha() and len(word) > 2)
    rng = random.Random(7)
    for name, chosen in (("withheld", True), ("lacking", False)):
        sample = rng.sample([word for word in usable if (word in known) == chosen], _SAMPLE)
        errors = length = wrong = 0.0
        for word in sample:
            said = [phone.rstrip("012") for phone in arpabet(g2p._guess(word), word)]
            far, size = min(
                (distance(said, phones, lambda a, b: float(a != b)), len(phones))
                for phones in entries[word]
            )
            errors, length, wrong = errors + far, length + size, wrong + (far > 0)
        print(f"{name}: phone error {errors / length:.2%}, word error {wrong / len(sample):.2%}")


def main() -> None:
    """Measure one list."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=("homographs", "written", "words"))
    parser.add_argument("path", type=Path, help="folder or file of the list")
    args = parser.parse_args()
    {"homographs": homographs, "written": written, "words": words}[args.what](args.path)


if __name__ == "__main__":
    main()
