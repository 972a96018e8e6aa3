"""One spelling for each character, no markup, and pauses for line breaks, before any rule reads."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator

_BEFORE_NFKC = str.maketrans(
    {
        "²": "^2", "³": "^3", "\u207b": "^-", "™": " trademark ", "©": " copyright ",
        "®": " registered ", "\u2044": "/", "№": " number ", "…": "...", "℃": "°C", "℉": "°F",
        "º": "°",
    }
    | {fraction: f" {unicodedata.normalize('NFKC', fraction)} " for fraction in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"}
)  # fmt: skip
"""Characters whose meaning NFKC would lose: 1½ would become 11/2."""
_AFTER_NFKC = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201a\u201b\u02bc\u2032\u00b4", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033", '"')
    | dict.fromkeys("\u2010\u2011", "-")
    | dict.fromkeys("\u2012\u2013", "\u2013")
    | dict.fromkeys("\u2014\u2015", "\u2014")
    | {
        "\u2212": " minus ", "\u2044": "/", "\u00d7": " times ", "\u00f7": " divided by ",
        "\u00b1": " plus or minus ", "\u2213": " minus or plus ", "\u2264": " less than or equal to ",
        "\u2265": " greater than or equal to ", "\u2260": " not equal to ", "\u221e": " infinity ",
        "\u2248": " approximately ", "\u221a": " square root of ", "\u3002": ". ", "\u3001": ", ",
        "\u203d": "?!", "\u061f": "?", "\u037e": ";",
    }
)  # fmt: skip
_COMMENT = re.compile(
    r"<!--.*?-->|<(script|style)\b[^>]*>.*?</\1\s*>|<\?[A-Za-z][^<>]{0,200}\?>"
    r"|<!(?:doctype|element|entity|attlist|notation)\b[^<>]{0,200}>",
    re.DOTALL | re.IGNORECASE,
)
_TAG = re.compile(
    r"<(/?)([A-Za-z][A-Za-z0-9:-]{0,30})(?:(?<=[A-Za-z]{3})=[^\s\"'<>=]{1,40})?"
    r"((?:\s+[A-Za-z_:][\w:.-]{0,30}\s*=\s*"
    r"(?:\"[^\"<>]{0,300}\"|'[^'<>]{0,300}'|[^\s\"'<>=]{1,300}))*)\s*(/?)>"
)
_KNOWN_TAGS = frozenset((
    "a", "abbr", "audio", "b", "bdo", "big", "blockquote", "body", "br", "break", "button", "center",
    "cite", "code", "dd", "del", "dfn", "div", "dl", "dt", "em", "emphasis", "figure", "font",
    "footer", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header", "hr", "html", "i", "img", "ins",
    "kbd", "label", "lang", "li", "main", "mark", "nav", "ol", "p", "par", "phoneme", "pre",
    "prosody", "q", "ruby", "s", "samp", "say-as", "section", "sentence", "small", "span", "speak",
    "strike", "strong", "sub", "sup", "table", "tbody", "td", "th", "thead", "title", "tr", "tt",
    "u", "ul", "var", "voice", "w", "wbr",
))  # fmt: skip
_NEW_LINE_TAGS = frozenset((
    "blockquote", "br", "dd", "div", "dl", "dt", "footer", "h1", "h2", "h3", "h4", "h5", "h6",
    "header", "hr", "li", "ol", "p", "par", "section", "sentence", "table", "title", "tr", "ul",
))  # fmt: skip
_BREAK_TIME = re.compile(r"time\s*=\s*[\"']?\s*([\d.]{1,8})\s*(ms|s)", re.IGNORECASE)
_STRENGTH = re.compile(r"strength\s*=\s*[\"']?\s*([a-z-]{1,10})", re.IGNORECASE)
_ALIAS = re.compile(
    r"(?s)<sub\s+alias\s*=\s*[\"']([^\"'<>]{1,200})[\"']\s*>[^<]{0,200}</sub>", re.I
)
_SPELL = re.compile(
    r"<say-as\s+interpret-as\s*=\s*[\"'](?:characters|spell-out|verbatim|digits|telephone)[\"'][^>]"
    r"{0,80}>([^<]{0,80})</say-as>",
    re.IGNORECASE,
)
_LONG_BREAK_MS = 700
_BULLET = re.compile(r"^[ \t]*(?:[-*•‣▪◦·–—]|#{1,6}|>{1,3})[ \t]+", re.MULTILINE)
_RULE = re.compile(r"^[ \t]*(?:[-*_=~][ \t]?){3,}$", re.MULTILINE)
_LINK = re.compile(r"!?\[([^\[\]]{1,300})\]\((?:[^()\s]{1,500})(?: \"[^\"]{0,200}\")?\)")
_SMILEY = re.compile(r"(?:(?<=\s)|^)[:;=8][-'o]?[()DPp|/\\](?=\s|$)")
_SPACED_THOUSANDS = re.compile(r"(?<=\d)[\u00a0\u202f\u2009](?=\d{3}(?!\d))")
_LINES = re.compile(r"[^\S\n]*\n\s*")
_OPEN_ENDED = frozenset((
    "a", "an", "the", "of", "to", "in", "on", "at", "by", "for", "from", "with", "and", "or", "but",
    "nor", "as", "is", "are", "was", "were", "be", "than", "that", "my", "our", "your", "his",
    "her", "its", "their", "this", "these", "those", "into", "onto",
))  # fmt: skip
"""Words that no line of its own ends with: the sentence goes on."""
_WRAPPED = 50
"""A line this long whose next begins in lower case was cut by an editor, not by its writer."""
_SIGN = re.compile(r"(?:(?<=[\s(])|^)\u2013(?=[$£€¥₹]?\d)")
_SPAN = re.compile(r"(?<=[^\W_])\u2013(?=[^\W_])")
_NUMBER_DASH = re.compile(r"(?<=\d)\u2014(?=\d)")
_DASH = re.compile(r"[\u2013\u2014]|(?<!-)-{2,3}(?!-)")


def clean(text: str) -> str:
    """The text in NFKC without control characters, with plain quotes, dashes, digits and spaces.

    Tags are left out; a break, a paragraph or a new line becomes a mark. Marks that combine with no
    letter are dropped.
    """
    if "<" in text or "&" in text or "](" in text:
        text = _without_markup(text)
    if text.isascii() and text.isprintable():
        plain = text
    else:
        text = _SPACED_THOUSANDS.sub(",", text)
        visible = "".join(map(_visible, text.replace("\r\n", "\n").translate(_BEFORE_NFKC)))
        composed = unicodedata.normalize("NFKC", visible).translate(_AFTER_NFKC)
        plain = unicodedata.normalize("NFKC", "".join(map(_plain, composed)))
    if "\n" in plain:
        plain = _joined(plain)
    dashed = _SPAN.sub("-", _SIGN.sub("-", plain))
    return " ".join(_SMILEY.sub(" ", _DASH.sub(" - ", _NUMBER_DASH.sub("-", dashed))).split())


def tags_in(text: str) -> tuple[str, ...]:
    """The names of the tags that `clean` leaves out, once each, as `<name>`; none that pauses."""
    if "<" not in text:
        return ()
    found = [f"<{name}>" for _, name, dropped in _tags(_COMMENT.sub(" ", text)) if dropped]
    return tuple(dict.fromkeys(name for name in found if name[1:-1] not in _NEW_LINE_TAGS))


def _tags(text: str) -> Iterator[tuple[re.Match[str], str, bool]]:
    """Each tag, its name, and whether it is left out: a placeholder such as <name> is read."""
    closed = {match[2].lower() for match in _TAG.finditer(text) if match[1] or match[4]}
    for match in _TAG.finditer(text):
        name = match[2].lower()
        known = name in _KNOWN_TAGS or name in closed or bool(match[3].strip())
        yield match, name, known and name != "break"


def _without_markup(text: str) -> str:
    """The text without tags and entities; a break becomes a mark, a block a new line."""
    text = _LINK.sub(r"\1", text)
    if "<" in text:
        text = _SPELL.sub(lambda m: " ".join(m[1].replace(" ", "")), _COMMENT.sub(" ", text))
        text = _ALIAS.sub(r"\1", text)
        pieces: list[str] = []
        end = 0
        for match, name, dropped in _tags(text):
            pieces.append(text[end : match.start()])
            end = match.end()
            if name == "break":
                pieces.append(_break(match[3]))
            elif name in _NEW_LINE_TAGS:
                pieces.append("\n")
            elif match[4]:
                pieces.append(" " if dropped else f" {match[2]} ")
            elif not dropped:
                pieces.append(f" {match[2]} ")
        text = "".join([*pieces, text[end:]])
    return html.unescape(text)


def _break(attributes: str) -> str:
    """The mark of an SSML break."""
    time, strength = _BREAK_TIME.search(attributes), _STRENGTH.search(attributes)
    if strength and strength[1].lower() == "none":
        return " "
    milliseconds = 0.0
    if time and time[1].count(".") <= 1 and time[1] != ".":
        milliseconds = float(time[1]) * (1 if time[2].lower() == "ms" else 1000)
    long = milliseconds >= _LONG_BREAK_MS or (strength is not None and "strong" in strength[1])
    return " . " if long else " , "


def _joined(text: str) -> str:
    """One line: a new line is a full stop before a capital, else a comma, or a space where an
    editor has wrapped a sentence.
    """
    text = _RULE.sub("", text)
    # A list is a list, but one dash may be someone's line of speech, and a number may be negative.
    text = _BULLET.sub("", text).strip()
    pieces: list[str] = []
    start = 0
    for match in _LINES.finditer(text):
        line = text[start : match.start()]
        pieces.append(line)
        following = text[match.end() : match.end() + 1]
        start = match.end()
        words = line.split()
        last = words[-1] if words else ""
        blank = match.group().count("\n") > 1
        if (
            not last
            or last.rstrip("\"')]}”’»")[-1:] in ".,;:!?-…—"
            or not last.strip("\"')]}”’»")
            or not blank
            and (last in _OPEN_ENDED or (len(line) >= _WRAPPED and following.islower()))
        ):
            pieces.append(" ")
        else:
            pieces.append(". " if blank or not following.islower() else ", ")
    return "".join([*pieces, text[start:]])


def _visible(character: str) -> str:
    """The character, a space for a separator, a newline for its kind, or nothing for a control."""
    category = unicodedata.category(character)
    if character in "\n\r\x0b\x0c\x85" or category in ("Zl", "Zp"):
        return "\n"
    if character.isspace():
        return " "
    if category in ("Co", "Cn"):
        return "\ufffd"
    return "" if category in ("Cc", "Cf", "Cs") else character


def _plain(character: str) -> str:
    """The character with any digit in ASCII; nothing for a mark that NFKC left uncombined."""
    if character.isascii():
        return character
    if character.isdigit():
        return str(unicodedata.digit(character))
    return "" if unicodedata.category(character)[0] == "M" else character
