"""A second dictionary, mostly names, for words the first lacks.

It comes from the optional package gruut-lang-en (MIT), whose English lexicon is the CMU dictionary
in IPA. Without the package the network for unknown words reads them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

_PHONE_OF = {
    "b": "B", "d": "D", "d͡ʒ": "JH", "f": "F", "h": "HH", "j": "Y", "k": "K", "l": "L", "m": "M",
    "n": "N", "p": "P", "s": "S", "t": "T", "t͡ʃ": "CH", "v": "V", "w": "W", "z": "Z", "ð": "DH",
    "ŋ": "NG", "ɡ": "G", "ɹ": "R", "ʃ": "SH", "ʒ": "ZH", "θ": "TH",
}  # fmt: skip
_VOWEL_OF = {
    "aɪ": "AY", "aʊ": "AW", "eɪ": "EY", "i": "IY", "oʊ": "OW", "u": "UW", "æ": "AE", "ɑ": "AA",
    "ɔ": "AO", "ɔɪ": "OY", "ə": "AH", "ɚ": "ER", "ɛ": "EH", "ɪ": "IH", "ʊ": "UH", "ʌ": "AH",
}  # fmt: skip
_STRESS_OF = {"ˈ": "1", "ˌ": "2"}


@lru_cache(maxsize=1)
def second_dictionary() -> Mapping[str, str]:
    """The first pronunciation of each word in lower case, in IPA; empty without the package.

    Read once a process (0.15 s, 25 MB).
    """
    package = find_spec("gruut_lang_en")
    if package is None or package.origin is None:
        return MappingProxyType({})
    file = Path(package.origin).with_name("lexicon.db")
    try:
        connection = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)
        try:
            rows = connection.execute(
                "SELECT word, phonemes FROM word_phonemes ORDER BY pron_order DESC"
            )
            return MappingProxyType(dict(rows))
        finally:
            connection.close()
    except sqlite3.Error:
        return MappingProxyType({})


def arpabet_from_ipa(phonemes: str) -> tuple[str, ...]:
    """The ARPAbet phones of IPA phonemes with spaces between, as the second dictionary has them.

    Empty when one of them is not English.
    """
    phones = []
    for phoneme in phonemes.split():
        symbol = phoneme.lstrip("ˈˌ")
        if symbol in _VOWEL_OF:
            phones.append(_VOWEL_OF[symbol] + _STRESS_OF.get(phoneme[0], "0"))
        elif symbol in _PHONE_OF:
            phones.append(_PHONE_OF[symbol])
        else:
            return ()
    return tuple(phones)
