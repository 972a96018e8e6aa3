"""Money, measures, sums, fractions and every other number as it is read out; no digit is left."""

from __future__ import annotations

import re

from speechkit.text.numbers import (
    NUMBER,
    cardinal,
    label,
    number,
    ordinal,
    plural,
    roman_value,
    year,
)
from speechkit.text.units import UNITS

_DOLLARS = {
    "US": "U S", "A": "Australian", "AU": "Australian", "CA": "Canadian", "C": "Canadian",
    "CDN": "Canadian", "NZ": "New Zealand", "HK": "Hong Kong", "S": "Singapore", "SG": "Singapore",
    "NT": "Taiwan", "J": "Jamaican", "TT": "Trinidad", "Z": "Zimbabwe", "BZ": "Belize",
    "FJ": "Fiji", "EC": "East Caribbean",
}  # fmt: skip
_MONEY_NAMES: dict[str, tuple[str, str, str, str]] = {
    "$": ("dollar", "dollars", "cent", "cents"), "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"), "¥": ("yen", "yen", "sen", "sen"),
    "₹": ("rupee", "rupees", "paisa", "paise"), "₩": ("won", "won", "jeon", "jeon"),
    "₽": ("ruble", "rubles", "kopek", "kopeks"), "₺": ("lira", "lira", "kurus", "kurus"),
    "₪": ("shekel", "shekels", "agora", "agorot"), "฿": ("baht", "baht", "satang", "satang"),
    "₫": ("dong", "dong", "hao", "hao"), "₦": ("naira", "naira", "kobo", "kobo"),
    "₱": ("peso", "pesos", "centavo", "centavos"), "₴": ("hryvnia", "hryvnias", "kopek", "kopeks"),
    "₿": ("bitcoin", "bitcoins", "satoshi", "satoshis"), "₵": ("cedi", "cedis", "pesewa", "pesewas"),
    "₡": ("colon", "colons", "centimo", "centimos"), "₸": ("tenge", "tenge", "tiyn", "tiyn"),
    "R$": ("real", "reals", "centavo", "centavos"), "MX$": ("Mexican peso", "Mexican pesos",
    "centavo", "centavos"), "CN¥": ("yuan", "yuan", "fen", "fen"), "CHF": ("Swiss franc",
    "Swiss francs", "centime", "centimes"), "SEK": ("krona", "kronor", "ore", "ore"),
    "NOK": ("krone", "kroner", "ore", "ore"), "PLN": ("zloty", "zlotys", "grosz", "grosz"),
    "CZK": ("koruna", "koruny", "haler", "haleru"), "HUF": ("forint", "forints", "filler", "filler"),
    "ZAR": ("rand", "rand", "cent", "cents"), "AED": ("dirham", "dirhams", "fils", "fils"),
    "SAR": ("riyal", "riyals", "halala", "halalas"), "IDR": ("rupiah", "rupiah", "sen", "sen"),
    "MYR": ("ringgit", "ringgit", "sen", "sen"), "PKR": ("Pakistani rupee", "Pakistani rupees",
    "paisa", "paise"), "ETH": ("ether", "ether", "gwei", "gwei"),
    "p": ("penny", "pence", "penny", "pence"),
} | {
    f"{letters}$": (f"{name} dollar", f"{name} dollars", "cent", "cents")
    for letters, name in _DOLLARS.items()
}  # fmt: skip
_CODES = {
    "USD": "US$", "EUR": "€", "GBP": "£", "JPY": "¥", "INR": "₹", "CAD": "CA$", "AUD": "A$",
    "NZD": "NZ$", "HKD": "HK$", "SGD": "S$", "TWD": "NT$", "CNY": "CN¥", "RMB": "CN¥", "KRW": "₩",
    "RUB": "₽", "TRY": "₺", "ILS": "₪", "THB": "฿", "VND": "₫", "NGN": "₦", "PHP": "₱", "UAH": "₴",
    "BTC": "₿", "GHS": "₵", "BRL": "R$", "MXN": "MX$", "DKK": "NOK", "kr": "SEK", "zł": "PLN",
    "Rs": "₹", "Fr": "CHF",
}  # fmt: skip
_SCALES = {"k": "thousand", "m": "million", "mn": "million", "bn": "billion", "b": "billion",
           "tn": "trillion", "t": "trillion", "mm": "million"}  # fmt: skip
_SIGN_CHARACTERS = "$£€¥₹₩₽₺₪฿₫₦₱₴₿₵₡₸"
_PREFIX = "|".join(sorted((*_DOLLARS, "R", "MX", "CN"), key=len, reverse=True))
_ISO = "|".join(sorted((*_CODES, "CHF", "SEK", "NOK", "PLN", "CZK", "HUF", "ZAR", "AED", "SAR",
                        "IDR", "MYR", "PKR", "ETH"), key=len, reverse=True))  # fmt: skip
_AFTER_ONLY = ("TRY", "PHP", "Fr")
"""Codes that before a number are mostly something else."""
_CODE = "|".join(code for code in _ISO.split("|") if code not in _AFTER_ONLY)
_SIGN = rf"(?:(?<![A-Za-z])(?:(?i:US|AU|CA|NZ|HK|CDN) ?|(?:USD|CAD|AUD|NZD|{_PREFIX})))?[{_SIGN_CHARACTERS}]"
_AMOUNT = rf"(?:{NUMBER}|(?<!\d)\.\d+(?!\d))"
_SCALE = (
    r"(?:\s?((?i:k|mm|mn|m|bn|b|tn))\b(?!-)|((?i:t))\b(?!-)"
    r"|\s((?i:thousand|million|billion|trillion))\b)?"
)
_MONEY_SPAN = re.compile(
    rf"({_SIGN})\s?({_AMOUNT})\s?-\s?(?={NUMBER}(?:\s?(?i:k|m|bn|b|tn)\b|\s(?i:thousand|million|"
    rf"billion|trillion)\b)?(?!\s?[\w%]*/|\d))"
)
_MONEY = re.compile(
    rf"({_SIGN}|(?<![A-Za-z])(?:{_CODE})\.?)\s?(-\s?)?({_AMOUNT}){_SCALE}(\+)?"
    r"(?: (USD|CAD|AUD|NZD)\b)?(?!\d)"
)
_MONEY_AFTER = re.compile(
    rf"({_AMOUNT}){_SCALE}\s?([{_SIGN_CHARACTERS}]|(?:{_ISO})(?![A-Za-z]))(?!\d)"
)
_CENTS = re.compile(r"(?<![\d.])(\d{1,3})\s?¢")
_PENCE = re.compile(r"(?<![\w.,£])(\d{1,2})p\b(?!\.\w)")
_COMMA_DECIMAL = re.compile(r"(?<![\d.,])(\d{1,3}(?:\.\d{3})+),(\d{1,2})(?![\d,])")
_EURO_DECIMAL = re.compile(r"(?<=€)\s?(\d+),(\d\d)(?!\d)|(?<![\d.,])(\d+),(\d\d)(?=\s?€)")
_OTHER_GROUPS = re.compile(
    r"(?<![\d.,'])(\d{1,2}(?:,\d\d)+,\d{3}|\d{1,3}(?:'\d{3})+|\d{1,3}(?: 000)+)(?![\d'])"
)
_PER = re.compile(
    r"(?<=[\w%])\s?/\s?(?:(second|sec|minute|min|hour|hr|day|night|week|wk|month|mo|year|yr|person|"
    r"head|unit|item|page|word|kg|lb|oz|mile|gallon|gal|each|d|h|s)\b)(?!/)"
)
_COUNTED = re.compile(
    r"\d|dollar|euro|pound|cent|pence|yen|rupee|franc|million|thousand|[a-z]{3}s$"
)
_PER_NAMES = {
    "sec": "second", "min": "minute", "hr": "hour", "wk": "week", "mo": "month", "yr": "year",
    "kg": "kilogram", "lb": "pound", "oz": "ounce", "gal": "gallon", "d": "day", "h": "hour",
    "s": "second",
}  # fmt: skip

_SPACED_OR_GLUED = {"bar", "ac", "J", "MP"}
"""Units that are other words or letters when a space stands before them."""
_NO_PLURAL = frozenset((
    "hertz", "kilohertz", "megahertz", "gigahertz", "terahertz", "percent", "per mille",
    "horsepower", "lux", "kelvin", "stone",
))  # fmt: skip
_UNIT = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
_MEASURE = re.compile(
    rf"({NUMBER}|(?<![\w.])\.\d+)(\s?|-)({_UNIT})(?:\^([23]))?(?:\s?/\s?({_UNIT})(?:\^([23]))?)?"
    r"(?![\w'°])"
)
_SCALED_MEASURE = re.compile(rf"(?<=illion|ousand) ({_UNIT})(?![\w'°])")
_INCHES = re.compile(
    r"(?<![\w'.])(\d{1,2})'\s?(\d{1,2})\"|(?<![\w'\".])(\d+(?:\.\d+)?)\"(?=[\s,;)x]|$)"
)
_INCHES_GLUED = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)in\b(?!-)")
_COORDINATE = re.compile(
    r"(\d{1,3}(?:\.\d+)?)°\s?(?:(\d{1,2}(?:\.\d+)?)'\s?(?:(\d{1,2}(?:\.\d+)?)(?:\"|"
    r"'')\s?)?)?([NSEW])\b"
)
_HEADINGS = {"N": "north", "S": "south", "E": "east", "W": "west"}
_CLOCKED = re.compile(
    r"(?<![\w.])(\d{1,3})h\s?(\d{1,2})m(?:in)?(?:\s?(\d{1,2})s)?\b|"
    r"(?<![\w.])(\d{1,3})m\s?(\d{1,2})s\b"
)
_POWERS = {"2": "square ", "3": "cubic "}

_SUM = re.compile(
    r"(?<![\w.,])[a-z\d(][\d.,()%]{0,20}(?:\s?(?:[-+*/×÷^x]|minus|times|plus)\s?"
    r"(?:[a-z](?![a-z])|\(?\d[\d.,()%]{0,20})){1,9}\s?(=|(?:equals?|is|makes?|leaves?|gives?)\b)"
)
_EQUALS_SUM = re.compile(
    r"=\s?[a-z\d(][\d.,()]{0,20}(?:\s?[-+*/×÷x]\s?(?:[a-z](?![a-z])|\(?\d[\d.,()]{0,20})){1,9}"
)
_ASKED_SUM = re.compile(
    r"(?i)(?:what is|what's|what are|calculate|compute|solve|work out|evaluate) \(?\d[\d.,()]{0,20}"
    r"(?:\s?[-+*/×÷x]\s?\(?\d[\d.,()]{0,20}){1,9}"
)
_OPERATORS = {"-": "minus", "*": "times", "/": "divided by", "x": "times", "×": "times"}
_OPERATOR = re.compile(r"(?<=[\w)%])\s?([-*/]|(?<=[\d) ])x(?=[\d( ]))\s?(?=[\w(])")
_DOWNWARDS = re.compile(
    r"(?<![\d.,:/-])(\d{1,9}(?:\.\d{1,9})?) - (\d{1,9}(?:\.\d{1,9})?)(?![\d,]|\.\d| -)"
)
_SCORED = re.compile(
    r"(?i)\b(?:w[io]n|wins|lost|lose|beat|lead|led|draw|drew|score|tied|victory|defeat|"
    r"final)\b[^.]{0,40}$"
)
_MINUS = re.compile(rf"(?:(?<=[\s(=<>~:,])|^)-(?=(?:{_SIGN}\s?)?\.?\d)")
_RANGE = re.compile(rf"(?<=\d)(%|s|°[CF]?|[kmKM])?(?:\s-\s|-)(?=[{_SIGN_CHARACTERS}]?\d)")
_RANGE_UNITS = re.compile(
    rf"(?<=\d)(\s?(?:{_UNIT}))(?:\s-\s|-)(?={NUMBER}\s?(?:{_UNIT})(?![\w'°]))"
)
_DECADE = re.compile(r"(?<![\w.,'])'?(\d\d)?(\d0)'?s\b(?!\w)")
_HUNDREDS = re.compile(r"(?<![\w.,'])([1-9]00)'?s\b")
_WAITED = re.compile(
    r"(?i)\b(?:wait|after|every|within|takes?|took|lasts?|than|timeout|in about|under|over) $"
)
_ORDINAL = re.compile(r"(?<![\d.,])(\d{1,3}(?:,\d{3})+|\d+)(?:st|nd|rd|th)(s?)\b", re.IGNORECASE)
_MIXED = re.compile(
    r"(?<![\d/.,])(?:(\d{1,4})[ -])?(\d{1,5})/(\d{1,5})((?i:st|nd|rd|th)s?\b)?"
    rf"(?: ?({_UNIT})(?![\w'°/]))?(?![\d/]|\.\d)"
)
_DENOMINATORS = frozenset(map(str, (*range(2, 21), 24, 25, 32, 50, 60, 64, 100, 128, 1000)))
_SCIENTIFIC = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)e([+-]?)(\d+)\b", re.IGNORECASE)
_POWER = re.compile(r"(?<=[\w)])\^\(?([-+]?)(\d+|[a-z](?![a-z]))\)?")
_TIMES = re.compile(r"(?<=\d)(\"| ?(?:cm|mm|m|ft|in))?\s?[x*]\s?(?=\d)")
_TIMES_OVER = re.compile(rf"(?<![\w.])({NUMBER})x\b(?!\w)")
_RATIO = re.compile(r"(?<=\d):(?=\d)")
_GLUED = re.compile(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")
_SCALED = re.compile(rf"(?<![\d.,])({NUMBER})(k|K|M|B|bn|mn|tn|T)\b(?!['/-]\w)")
_RESOLUTION = re.compile(r"(?<![\w.,])(\d{3,4})([pi])\b")
_ERA_BEFORE = re.compile(r"\b(AD|A\.D\.) ?(?=\d)")
_ERA = re.compile(r"(?<=[\d)]) ?(AD|BC|BCE|CE|BP)\b")
_HASH = re.compile(r"(?<![\w&])# ?(?=\d)")
_YEAR = re.compile(r"(?<![\d.,])(10[1-9]\d|1[1-9]\d\d|20\d\d)(?!\d|[.,]\d)")
_ROMAN = re.compile(r"\bM{1,3}[CDXLVI]{3,12}\b")
_ANY = re.compile(rf"{NUMBER}|(?<![\w.])\.\d+")


def speak_quantities(text: str) -> str:
    """The text with every number in words, with its currency or unit."""
    text = _ROMAN.sub(lambda m: year(str(roman_value(m[0]))) if roman_value(m[0]) else m[0], text)
    if not re.search(r"\d", text):
        return text
    text = _ERA_BEFORE.sub("A D ", _ERA.sub(lambda m: " " + " ".join(m[1]), text))
    text = _sums(text)
    text = _OTHER_GROUPS.sub(lambda m: re.sub(r"[,' ]", "", m[0]), text)
    text = _COMMA_DECIMAL.sub(lambda m: m[1].replace(".", "") + "." + m[2], text)
    text = _EURO_DECIMAL.sub(lambda m: f"{m[1] or m[3]}.{m[2] or m[4]}", text)
    text = _RANGE_UNITS.sub(r"\1 to ", _money_spans(_MINUS.sub("minus ", text)))
    text = _RANGE.sub(lambda m: f"{m[1] or ''} to ", text)
    text = _MONEY.sub(_prefixed, text)
    text = _MONEY_AFTER.sub(
        lambda m: _money(m[1], _CODES.get(m[5], m[5]), m[2] or m[3] or m[4]), text
    )
    text = _PENCE.sub(lambda m: _count(m[1], "penny", "pence"), text)
    text = _CENTS.sub(lambda m: _count(m[1], "cent", "cents"), text)
    text = _HUNDREDS.sub(_hundreds, _DECADE.sub(_decade, text))
    text = _INCHES.sub(_inches, _COORDINATE.sub(_coordinate, text))
    text = _CLOCKED.sub(_clocked, _INCHES_GLUED.sub(r"\1 inches", text))
    text = _RESOLUTION.sub(lambda m: f"{label(m[1])} {m[2].upper()}", text)
    text = _TIMES.sub(lambda m: f"{m[1] or ''} by ", _MIXED.sub(_fraction, text))
    text = _SCALED.sub(_scaled, _SCIENTIFIC.sub(_scientific, text))
    text = _SCALED_MEASURE.sub(
        lambda m: " " + _unit(m[1], None, False), _MEASURE.sub(_measure, text)
    )
    text = _ORDINAL.sub(lambda m: ordinal(m[1]) + m[2], text)
    text = _PER.sub(_per, text)
    text = _TIMES_OVER.sub(lambda m: f"{number(m[1])} X", text)
    text = _POWER.sub(_power, _RATIO.sub(" to ", _HASH.sub("number ", text)))
    text = _YEAR.sub(lambda m: year(m[1]), _GLUED.sub(" ", text))
    return _ANY.sub(lambda m: number(m.group()), text)


def _sums(text: str) -> str:
    """The text with the signs of sums in words; "7 - 2" goes down, so it is no span."""

    def spoken(match: re.Match[str]) -> str:
        weak = match.re is _SUM and match[1][0] not in "=e" and " - " not in match.group()
        if weak and "-" in match.group():
            return match.group()
        return _OPERATOR.sub(lambda m: f" {_OPERATORS[m[1]]} ", match.group())

    for pattern in (_SUM, _EQUALS_SUM, _ASKED_SUM):
        text = pattern.sub(spoken, text)

    def down(match: re.Match[str]) -> str:
        scored = _SCORED.search(match.string, max(0, match.start() - 60), match.start())
        minus = float(match[1]) > float(match[2]) and not scored
        return f"{match[1]} minus {match[2]}" if minus else match.group()

    return _DOWNWARDS.sub(down, text)


def _money_spans(text: str) -> str:
    """ "$5-10" as "5 to $10", so that the name of the money is said once."""
    return _MONEY_SPAN.sub(lambda m: f"{m[2]} to {m[1]}", text)


def _count(amount: str, one: str, many: str) -> str:
    """The number and its noun, in the plural unless it is 1."""
    return f"{number(amount)} {one if amount == '1' else many}"


def _prefixed(match: re.Match[str]) -> str:
    """The words of an amount after its sign or code."""
    sign = match[1].replace(" ", "").rstrip(".")
    upper = sign.upper() if sign[-1] in _SIGN_CHARACTERS else sign
    if len(upper) == 4 and upper[:3] in _CODES:
        upper = sign = upper[:3]
    code = next((code for code in _CODES if code.lower() == sign.lower()), None)
    known = _CODES[code] if code else upper
    if known not in _MONEY_NAMES and known.upper() in _MONEY_NAMES:
        known = known.upper()
    if known not in _MONEY_NAMES:
        known = known[-1]
    if match[8]:
        known = _CODES[match[8]]
    spoken = _money(match[3], known, match[4] or match[5] or match[6])
    return ("minus " if match[2] else "") + spoken + (" plus" if match[7] else "")


def _money(amount: str, sign: str, scale: str | None) -> str:
    """The words of an amount: two decimals are cents unless a scale follows."""
    one, many, small, smalls = _MONEY_NAMES[sign]
    if scale:
        return f"{number(amount)} {_SCALES.get(scale.lower(), scale.lower())} {many}"
    whole, _, fraction = amount.partition(".")
    if len(fraction) != 2:
        return _count(amount, one, many)
    cents = _count(str(int(fraction)), small, smalls) if int(fraction) else ""
    if cents and not whole.strip("0,"):
        return cents
    return _count(whole, one, many) + (f" and {cents}" if cents else "")


def _per(match: re.Match[str]) -> str:
    """The words of "/month" after an amount; "day/night" stays."""
    before = match.string[max(0, match.start() - 40) : match.start()]
    if not _COUNTED.search(before):
        return match.group()
    return f" per {_PER_NAMES.get(match[1], match[1])}"


def _unit(symbol: str, power: str | None, singular: bool) -> str:
    """The words of a unit, such as "square meters" or "miles per hour"."""
    name = UNITS[symbol]
    first, *rest = re.split(r" (?=per |of )", name, maxsplit=1)
    spoken = name if singular else " ".join([_plural_unit(first), *rest])
    return _POWERS.get(power or "", "") + spoken


def _plural_unit(name: str) -> str:
    """The plural of a unit's name: "degrees Celsius", "kilowatt hours", "square feet"."""
    if name in _NO_PLURAL:
        return name
    if name.startswith("degree"):
        return name.replace("degree", "degrees")
    if name.endswith(("foot", "inch")):
        return name.replace("foot", "feet").replace("inch", "inches")
    return name + "s"


def _measure(match: re.Match[str]) -> str:
    """The words of "5 kg", "10 km/h" or "5-kg"; a full stop that ends the sentence stays."""
    amount, gap, symbol, power, per, per_power = match.groups()
    if gap == " " and symbol in _SPACED_OR_GLUED:
        return match.group()
    if gap == "-" and (symbol in _SPACED_OR_GLUED or len(symbol) < 2):
        return match.group()
    spoken = f"{number(amount)} {_unit(symbol, power, amount == '1' or gap == '-')}"
    spoken += f" per {_unit(per, per_power, True)}" if per else ""
    following = match.string[match.end() :]
    ends = symbol.endswith(".") and (not following or re.match(r" [A-Z]", following))
    return spoken + ("." if ends else "")


def _inches(match: re.Match[str]) -> str:
    """The words of a height such as 5'10" or a width such as 27"."""
    if match[3]:
        return f"{match[3]} {'inch' if match[3] == '1' else 'inches'}"
    return f"{cardinal(match[1])} foot {cardinal(match[2])}"


def _coordinate(match: re.Match[str]) -> str:
    """The words of 40°26'46" N."""
    parts = zip(match.groups()[:3], ("degree", "minute", "second"), strict=True)
    spoken = [_count(amount, unit, unit + "s") for amount, unit in parts if amount]
    return f"{' '.join(spoken)} {_HEADINGS[match[4]]}"


def _clocked(match: re.Match[str]) -> str:
    """The words of 2h 30m or 5m30s."""
    values = (match[1], match[2] or match[4], match[3] or match[5])
    units = zip(values, ("hour", "minute", "second"), strict=True)
    return " ".join(_count(str(int(amount)), unit, unit + "s") for amount, unit in units if amount)


def _decade(match: re.Match[str]) -> str:
    """The words of the 1990s, the 1800s or the '90s; "10s" is ten seconds."""
    century, decade = match.groups()
    if match.group() == "1000s" and match.string.startswith(" of", match.end()):
        return "thousands"
    if not century:
        waited = _WAITED.search(match.string, max(0, match.start() - 12), match.start())
        apostrophe = match.group()[0] == "'"
        if not apostrophe and (decade in ("10", "00") or waited):
            return f"{cardinal(str(int(decade)))} seconds"
        return "two thousands" if decade == "00" else plural(cardinal(decade))
    if decade == "00":
        if century[0] == "0":
            return match.group()
        whole = year(century + decade)
        return f"{whole}s"
    if century[0] == "0":
        return match.group()
    return f"{cardinal(century)} {plural(cardinal(decade))}"


def _hundreds(match: re.Match[str]) -> str:
    """The words of the 900s; "100s of" counts hundreds."""
    if match[1] == "100" and match.string.startswith(" of", match.end()):
        return "hundreds"
    return plural(cardinal(match[1]))


def _fraction(match: re.Match[str]) -> str:
    """The words of 3/4, 1 1/2 or 2/3rds."""
    whole, above, below, named, symbol = match.groups()
    if above == below and not whole:
        spoken = f"{cardinal(above)} {cardinal(below)}"
    elif (below not in _DENOMINATORS and not named) or above == below or above == "0":
        spoken = f"{cardinal(above)} over {cardinal(below)}"
    else:
        special = {"2": "half", "4": "quarter"}.get(below) or ordinal(below)
        many = "halves" if special == "half" else special + "s"
        spoken = f"{cardinal(above)} {special if above == '1' else many}"
    if symbol:
        of = "" if whole or above == "1" else "of a "
        unit = f" {of}{_unit(symbol, None, not whole)}"
    else:
        unit = ""
    if not whole:
        return spoken + unit
    joined = spoken.replace("one ", "a ", 1) if above == "1" and below in "24" else spoken
    return f"{cardinal(whole)} and {joined}{unit}"


def _scaled(match: re.Match[str]) -> str:
    """The words of 20k or 2.5M; "4K" and "5B" are letters, of a screen and a door."""
    amount, scale = match.groups()
    if match.group() == "3M":
        return "three M"
    whole = amount.replace(",", "").partition(".")[0]
    if scale == "K" and "." not in amount and len(amount) > 3 and "," not in amount:
        return f"{label(amount)} K"
    if scale in ("K", "B", "T") and "." not in amount and (len(whole) < 3 or scale == "T"):
        return f"{number(amount)} {scale}"
    return f"{number(amount)} {_SCALES[scale.lower()]}"


def _scientific(match: re.Match[str]) -> str:
    """The words of 1.5e-3."""
    sign = "minus " if match[2] == "-" else ""
    return f"{number(match[1])} times ten to the power of {sign}{cardinal(match[3])}"


def _power(match: re.Match[str]) -> str:
    """The words of an exponent."""
    if match[1] != "-" and match[2] in ("2", "3"):
        return " squared" if match[2] == "2" else " cubed"
    exponent = cardinal(match[2]) if match[2].isdigit() else match[2].upper()
    return f" to the power of {'minus ' if match[1] == '-' else ''}{exponent}"
