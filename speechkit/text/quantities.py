"""Money, measures, fractions and every other number as it is read out; leaves no ASCII digit."""

from __future__ import annotations

import re

from speechkit.text.numbers import NUMBER, cardinal, digits, number, ordinal, plural, year

_SIGNS = {
    "$": ("dollar", "dollars", "cent", "cents"), "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"), "¥": ("yen", "yen", "sen", "sen"),
    "₹": ("rupee", "rupees", "paisa", "paise"),
}  # fmt: skip
_CODES = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "INR": "₹"}
_SCALES = {"k": "thousand", "m": "million", "bn": "billion", "b": "billion", "tn": "trillion"}
_SCALE = r"(?:\s?(k|m|bn|b|tn)\b|\s(thousand|million|billion|trillion)\b)?"
_MONEY = re.compile(rf"([$£€¥₹])\s?({NUMBER}){_SCALE}(?!\d)", re.IGNORECASE)
_MONEY_AFTER = re.compile(rf"({NUMBER}){_SCALE}\s?([$£€¥₹]|(?:USD|EUR|GBP|JPY|INR)\b)(?!\d)")
_CENTS = re.compile(r"(?<![\d.])(\d{1,3})\s?¢")

_UNITS = {
    "kg": "kilogram", "g": "gram", "mg": "milligram", "μg": "microgram", "lb": "pound",
    "lbs": "pound", "oz": "ounce", "km": "kilometer", "m": "meter", "cm": "centimeter",
    "mm": "millimeter", "μm": "micrometer", "nm": "nanometer", "mi": "mile", "yd": "yard",
    "l": "liter", "L": "liter", "dl": "deciliter", "ml": "milliliter", "mL": "milliliter",
    "s": "second", "sec": "second", "ms": "millisecond", "μs": "microsecond", "ns": "nanosecond",
    "min": "minute", "mins": "minute", "h": "hour", "hr": "hour", "hrs": "hour", "Hz": "hertz",
    "kHz": "kilohertz", "MHz": "megahertz", "GHz": "gigahertz", "W": "watt", "kW": "kilowatt",
    "MW": "megawatt", "GW": "gigawatt", "kWh": "kilowatt hour", "V": "volt", "kV": "kilovolt",
    "mA": "milliamp", "mAh": "milliamp hour", "J": "joule", "kJ": "kilojoule",
    "kcal": "kilocalorie", "ft": "foot",
    "Pa": "pascal", "kPa": "kilopascal", "hPa": "hectopascal", "dB": "decibel", "kB": "kilobyte",
    "KB": "kilobyte", "MB": "megabyte", "GB": "gigabyte", "TB": "terabyte", "KiB": "kibibyte",
    "MiB": "mebibyte", "GiB": "gibibyte", "Mbps": "megabit per second",
    "Gbps": "gigabit per second", "kbps": "kilobit per second", "mph": "mile per hour",
    "kph": "kilometer per hour", "rpm": "revolution per minute", "fps": "frame per second",
    "px": "pixel", "Ω": "ohm", "kΩ": "kiloohm", "ha": "hectare", "°C": "degree Celsius",
    "°F": "degree Fahrenheit", "°": "degree", "%": "percent", "‰": "per mille",
}  # fmt: skip
_NO_PLURAL = frozenset(("hertz", "kilohertz", "megahertz", "gigahertz", "percent", "per mille"))
_UNIT = "|".join(sorted(map(re.escape, _UNITS), key=len, reverse=True))
_MEASURE = re.compile(
    rf"({NUMBER}|\.\d+)(\s?|-)({_UNIT})(?:\^([23]))?(?:/({_UNIT})(?:\^([23]))?)?(?![\w'°])"
)
_FEET = re.compile(r"(?<![\w'.])(\d{1,2})'\s?(\d{1,2})\"")
_POWERS = {"2": "square ", "3": "cubic "}

_PHONE = re.compile(
    r"(?<![\w.-])(?:(?:\+?\d{1,3}[ .-])?(?:\(\d{3}\) ?|\d{3}[.-]))?\d{3}[.-]\d{4}"
    r"(?![\w-]|\.\d)"
)
_MINUS = re.compile(r"(?:(?<=[\s(])|^)-(?=[$£€¥₹]?\.?\d)")
_RANGE = re.compile(r"(?<=\d)(%?)(?:\s-\s|-)(?=[$£€¥₹]?\d)")
_PER = re.compile(r"(?<=[\w%])/(?=(?:second|minute|hour|day|night|week|month|year|person|kg|lb)\b)")
_DECADE = re.compile(r"(?<![\w.,'])'?(\d\d)?([1-9]0)s\b")
_ORDINAL = re.compile(r"(?<![\d.,])(\d{1,3}(?:,\d{3})+|\d+)(?:st|nd|rd|th)\b", re.IGNORECASE)
_MIXED = re.compile(r"(?<![\d/.,])(?:(\d{1,4}) )?(\d{1,3})/(\d{1,4})(?![\d/]|\.\d)")
_DENOMINATORS = frozenset(map(str, (*range(2, 21), 32, 64)))
_SCIENTIFIC = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)e([+-]?)(\d+)\b", re.IGNORECASE)
_POWER = re.compile(r"(?<=[\w)])\^(-?)(\d+)")
_DOTTED = re.compile(r"(?<![\d.])\d+(?:\.\d+){2,}(?!\d)")
_TIMES = re.compile(r"(?<=\d)\s?[x*]\s?(?=\d)")
_RATIO = re.compile(r"(?<=\d):(?=\d)")
_SPELLED = re.compile(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")
_THOUSANDS = re.compile(rf"(?<![\d.,])({NUMBER})k\b")
_CODE = re.compile(r"(?<=[A-Z])\d{3,}(?![\d.,]\d)")
_ERA = re.compile(r"(?<=\d) ?AD\b")
_YEAR = re.compile(r"(?<![\d.,])(10[1-9]\d|1[1-9]\d\d|20\d\d)(?!\d|[.,]\d)")
_ANY = re.compile(rf"{NUMBER}|(?<![\w.])\.\d+")


def speak_quantities(text: str) -> str:
    """The text with every number in words, with its currency or unit."""
    if not re.search(r"\d", text):
        return text
    text = _CODE.sub(lambda m: f" {digits(m.group())}", _ERA.sub(" A D", text))
    text = _PHONE.sub(lambda m: ", ".join(map(digits, re.findall(r"\d+", m.group()))), text)
    text = _RANGE.sub(r"\1 to ", _MINUS.sub("minus ", text))
    text = _MONEY.sub(lambda m: _money(m[2], m[1], m[3] or m[4]), text)
    text = _MONEY_AFTER.sub(lambda m: _money(m[1], _CODES.get(m[4], m[4]), m[2] or m[3]), text)
    text = _CENTS.sub(lambda m: _count(m[1], "cent", "cents"), text)
    text = _DECADE.sub(_decade, _FEET.sub(_feet, text))
    text = _SCIENTIFIC.sub(_scientific, _MEASURE.sub(_measure, text))
    text = _ORDINAL.sub(lambda m: ordinal(m[1]), _PER.sub(" per ", text))
    text = _DOTTED.sub(lambda m: " point ".join(map(cardinal, m.group().split("."))), text)
    text = _MIXED.sub(_fraction, _TIMES.sub(" by ", text))
    text = _THOUSANDS.sub(lambda m: f"{number(m[1])} thousand", text)
    text = _POWER.sub(_power, _RATIO.sub(" to ", text))
    text = _YEAR.sub(lambda m: year(m[1]), _SPELLED.sub(" ", text))
    return _ANY.sub(lambda m: number(m.group()), text)


def _count(amount: str, one: str, many: str) -> str:
    """The number and its noun, in the plural unless it is 1."""
    return f"{number(amount)} {one if amount == '1' else many}"


def _money(amount: str, sign: str, scale: str | None) -> str:
    """The words of an amount: two decimals are cents unless a scale follows."""
    one, many, small, smalls = _SIGNS[sign]
    if scale:
        return f"{number(amount)} {_SCALES.get(scale.lower(), scale.lower())} {many}"
    whole, _, fraction = amount.partition(".")
    if len(fraction) != 2:
        return _count(amount, one, many)
    cents = _count(str(int(fraction)), small, smalls) if int(fraction) else ""
    if cents and not whole.strip("0,"):
        return cents
    return _count(whole, one, many) + (f" and {cents}" if cents else "")


def _unit(symbol: str, power: str | None, singular: bool) -> str:
    """The words of a unit, such as "square meters" or "miles per hour"."""
    first, *rest = _UNITS[symbol].split(" ", 1) if " per " in _UNITS[symbol] else [_UNITS[symbol]]
    name = " ".join([_plural_unit(first), *rest]) if not singular else _UNITS[symbol]
    return _POWERS.get(power or "", "") + name


def _plural_unit(name: str) -> str:
    """The plural of a unit's name: "degrees Celsius", "kilowatt hours"."""
    if name in _NO_PLURAL:
        return name
    if name.startswith("degree"):
        return name.replace("degree", "degrees")
    if name == "foot":
        return "feet"
    return name + "s"


def _measure(match: re.Match[str]) -> str:
    """The words of "5 kg", "10 km/h" or "5-kg"."""
    amount, gap, symbol, power, per, per_power = match.groups()
    spoken = f"{number(amount)} {_unit(symbol, power, amount == '1' or gap == '-')}"
    return f"{spoken} per {_unit(per, per_power, True)}" if per else spoken


def _feet(match: re.Match[str]) -> str:
    """The words of a height such as 5'10"."""
    return f"{cardinal(match[1])} foot {cardinal(match[2])}"


def _decade(match: re.Match[str]) -> str:
    """The words of the 1990s or the '90s; "10s" is ten seconds."""
    century, decade = match.groups()
    if decade == "10" and not century:
        return match.group() if match.group()[0] == "'" else "ten seconds"
    if not century:
        return plural(cardinal(decade))
    return f"{cardinal(century)} {plural(cardinal(decade))}"


def _fraction(match: re.Match[str]) -> str:
    """The words of 3/4, 1 1/2 or 24/7."""
    whole, above, below = match.groups()
    if (above, below) in (("24", "7"), ("9", "11")) or (above == below and not whole):
        spoken = f"{cardinal(above)} {cardinal(below)}"
    elif (below not in _DENOMINATORS and f"{above}/{below}" != "1/100") or above == below:
        spoken = f"{cardinal(above)} over {cardinal(below)}"
    else:
        special = {"2": "half", "4": "quarter"}.get(below) or ordinal(below)
        many = "halves" if special == "half" else special + "s"
        spoken = f"{cardinal(above)} {special if above == '1' else many}"
    if not whole:
        return spoken
    joined = spoken.replace("one ", "a ", 1) if above == "1" and below in "24" else spoken
    return f"{cardinal(whole)} and {joined}"


def _scientific(match: re.Match[str]) -> str:
    """The words of 1.5e-3."""
    sign = "minus " if match[2] == "-" else ""
    return f"{number(match[1])} times ten to the power of {sign}{cardinal(match[3])}"


def _power(match: re.Match[str]) -> str:
    """The words of an exponent."""
    if not match[1] and match[2] in ("2", "3"):
        return " squared" if match[2] == "2" else " cubed"
    return f" to the power of {'minus ' if match[1] else ''}{cardinal(match[2])}"
