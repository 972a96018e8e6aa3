"""Abbreviations, acronyms and roman numerals written out."""

from __future__ import annotations

import re
from collections.abc import Collection

from speechkit.text.dates import ends_sentence
from speechkit.text.numbers import cardinal, ordinal, roman_value
from speechkit.text.tagger import NUMBER_WORDS

_TITLES = {
    "Mr": "Mister", "Mrs": "Missus", "Ms": "Miz", "Dr": "Doctor", "Prof": "Professor",
    "Rev": "Reverend", "Hon": "Honorable", "Gen": "General", "Col": "Colonel", "Maj": "Major",
    "Capt": "Captain", "Cpt": "Captain", "Lt": "Lieutenant", "Sgt": "Sergeant", "Cpl": "Corporal",
    "Pvt": "Private", "Adm": "Admiral", "Cmdr": "Commander", "Gov": "Governor", "Sen": "Senator",
    "Rep": "Representative", "Pres": "President", "Supt": "Superintendent", "Insp": "Inspector",
    "Amb": "Ambassador", "St": "Saint", "Ste": "Saint", "Sts": "Saints", "Mt": "Mount",
    "Mts": "Mountains", "Ft": "Fort", "Fr": "Father", "Br": "Brother", "Bp": "Bishop",
    "Messrs": "Messrs", "Mme": "Madame", "Mlle": "Mademoiselle", "Msgr": "Monsignor",
}  # fmt: skip
_TITLE = re.compile(
    rf"\b({'|'.join(_TITLES)}|MR|MRS|MS|DR)\. ?(?=[A-Z])"
    r"|\b(Mr|Mrs|Ms|Dr|MR|MRS|DR|Prof|Sgt|Capt|Lt|Col|Gen|Rev|Sen|St|Mt|Ft|Mme)\b\.?(?= [A-Z])"
    r"|\b(Mr|Mrs|Ms|Lt|Sgt|Capt|Prof)\."
)
_AFTER_NAME = {
    "St": "Street", "Dr": "Drive", "Ave": "Avenue", "Av": "Avenue", "Blvd": "Boulevard",
    "Rd": "Road", "Ln": "Lane", "Hwy": "Highway", "Pkwy": "Parkway", "Expy": "Expressway",
    "Fwy": "Freeway", "Tpke": "Turnpike", "Sq": "Square", "Ct": "Court", "Pl": "Place",
    "Ter": "Terrace", "Cres": "Crescent", "Cir": "Circle", "Aly": "Alley", "Pk": "Park",
    "Jr": "Junior", "Sr": "Senior", "Esq": "Esquire", "Inc": "Incorporated", "Ltd": "Limited",
    "Corp": "Corporation", "Co": "Company", "Bros": "Brothers", "Univ": "University",
    "Assn": "Association", "Mfg": "Manufacturing", "Ctr": "Center", "Mtn": "Mountain",
}  # fmt: skip
_PLACE = re.compile(rf"([\w,'’]{{1,40}}) ({'|'.join(_AFTER_NAME)})\.(?!\w)")
_PLACE_BARE = re.compile(
    r"((?:(?<!\w)\d{1,5}[A-Za-z]{0,2} (?:[NSEW]{1,2}\.? )?)?(?:[A-Z][\w'’]{1,30}|\d{1,3}(?:st|"
    r"nd|rd|th))) "
    r"(St|Dr|Ave|Blvd|Rd|Ln|Hwy|Pkwy|Expy|Fwy|Sq|Ct|Pl|Cres|Jr|Sr|Inc|Ltd|Corp|hwy|blvd|ave)\b"
    r"(?!['’.]\w)(?=[,.;:!?)]|$| (?:[a-z]|[A-Z]))"
)
_STREET_ONLY = frozenset(("St", "Dr", "Ct", "Pl", "Sq"))
"""Short names that are titles, too, or something else."""
_COMPASS = re.compile(r"(?<=\d )([NSEW]|NE|NW|SE|SW)\.? (?=(?:[A-Z][a-z]|\d{1,3}(?:st|nd|rd|th)))")
_COMPASS_NAMES = {"N": "North", "S": "South", "E": "East", "W": "West"}
_ANYWHERE = {
    "e.g": "for example", "i.e": "that is", "eg": "for example", "ie": "that is", "vs": "versus",
    "cf": "compare", "viz": "namely", "etc": "et cetera", "approx": "approximately",
    "dept": "department", "depts": "departments", "est": "established", "avg": "average",
    "incl": "including", "excl": "excluding", "misc": "miscellaneous", "al": "al",
    "cont": "continued", "ca": "circa", "esp": "especially", "govt": "government",
    "intl": "international", "natl": "national", "mgr": "manager", "asst": "assistant",
    "assoc": "associate", "max": "maximum", "temp": "temperature", "qty": "quantity",
    "amt": "amount", "acct": "account", "appt": "appointment", "apt": "apartment",
    "bldg": "building", "blvd": "boulevard", "hwy": "highway", "ext": "extension", "tel": "telephone",
    "ref": "reference", "rev": "revised", "ed": "edition", "eds": "editors", "orig": "originally",
    "prev": "previous", "resp": "respectively", "admin": "administration", "attn": "attention",
    "min": "minimum", "ave": "avenue", "mfg": "manufacturing", "pkg": "package", "wt": "weight",
    "ht": "height", "dist": "district", "univ": "university", "tbsp": "tablespoon",
    "tsp": "teaspoon", "hrs": "hours", "yrs": "years", "mins": "minutes", "lbs": "pounds",
    "dob": "date of birth", "div": "division", "vols": "volumes", "figs": "figures",
}  # fmt: skip
_STOP_GOES = "|".join(sorted(map(re.escape, _ANYWHERE), key=len, reverse=True))
_PLAIN = re.compile(rf"\b({_STOP_GOES})\.(?!\w)", re.IGNORECASE)
_BARE = re.compile(
    r"(?<![\w.'-])(vs|etc|approx|Blvd|blvd|Bldg|bldg|hwy|dept|govt|tbsp|tsp|tbsps|tsps|qty|w/o|w/|"
    r"b/c|c/o|n/a|N/A|Apt|apt|Ste|Ext|ext|Rm|rm|Hwy|Pkwy|pkwy)(?![\w'/-]|\.\w)(?=\.?(\s?#?\d|"
    r"[A-Z\d]?))"
)
_BARE_NAMES = {
    "vs": "versus", "etc": "et cetera", "approx": "approximately", "blvd": "boulevard",
    "bldg": "building", "hwy": "highway", "dept": "department", "govt": "government",
    "tbsp": "tablespoon", "tsp": "teaspoon", "tbsps": "tablespoons", "tsps": "teaspoons",
    "qty": "quantity", "w/o": "without", "w/": "with", "b/c": "because", "c/o": "care of",
    "n/a": "not applicable", "pkwy": "parkway",
}  # fmt: skip
_NUMBERED_NAMES = {
    "apt": "apartment", "ste": "suite", "ext": "extension", "rm": "room", "hwy": "highway",
}  # fmt: skip
_BEFORE_NUMBER = {
    "no": "number", "nos": "numbers", "nr": "number", "vol": "volume", "ch": "chapter",
    "chap": "chapter", "fig": "figure", "figs": "figures", "sec": "section", "p": "page",
    "pp": "pages", "pg": "page", "art": "article", "pt": "part", "eq": "equation", "ed": "edition",
    "apt": "apartment", "ste": "suite", "ext": "extension", "rm": "room", "fl": "floor",
    "bldg": "building", "tel": "telephone", "ver": "version", "op": "opus", "c": "circa",
    "ca": "circa", "ep": "episode", "app": "appendix", "ex": "exercise", "para": "paragraph",
    "par": "paragraph", "l": "line", "ll": "lines", "mk": "mark", "lot": "lot", "unit": "unit",
    "rte": "route", "rt": "route", "hwy": "highway", "yr": "year", "wk": "week", "gr": "grade",
}  # fmt: skip
_COUNTED = re.compile(
    rf"(?<![\w.'])({'|'.join(sorted(_BEFORE_NUMBER, key=len, reverse=True))})\. ?(?=#?\d|[IVXL]{2, 7}\b)",
    re.IGNORECASE,
)
_VERSUS = re.compile(r"(?<=[a-z]) vs?\.? (?=[A-Z\d])")
_INITIALISM = re.compile(
    r"(?<![\w.])(?:[A-Za-z]\.){2,}[A-Za-z]?(?!\w)|\b(?:Ph\.?D|M\.?Sc|B\.?Sc)\b\.?"
)
_ERA = re.compile(r"(?<=\d )([ABab])\.([DCdc])(?![\w.])")
_INITIALS = re.compile(r"(?<![\w'.])(?<![A-Z] )((?:[A-HJ-Z]\. ?){1,6})(?=([A-Z][a-z]+))")
_STARTERS = frozenset((
    "A", "About", "After", "Again", "All", "Also", "Although", "Always", "An", "And", "Another",
    "Any", "Anyone", "Are", "As", "At", "Be", "Because", "Before", "Both", "But", "By", "Can",
    "Could", "Did", "Do", "Does", "During", "Each", "Either", "Even", "Every", "Everyone", "Few",
    "Finally", "First", "For", "From", "Further", "Had", "Has", "Have", "He", "Her", "Here", "His",
    "How", "However", "I", "If", "In", "Instead", "Is", "It", "Its", "Just", "Last", "Later", "Let",
    "Like", "Many", "Maybe", "Meanwhile", "More", "Most", "Much", "My", "Neither", "Never", "Next",
    "No", "Nobody", "None", "Nor", "Not", "Nothing", "Now", "Of", "Often", "On", "Once", "One",
    "Only", "Or", "Other", "Others", "Our", "Over", "People", "Perhaps", "Please", "Several", "She",
    "Should", "Since", "So", "Some", "Someone", "Sometimes", "Soon", "Still", "Such", "Than",
    "That", "The", "Their", "Then", "There", "Therefore", "These", "They", "This", "Those",
    "Though", "Thus", "To", "Today", "Together", "Too", "Two", "Under", "Unless", "Until", "Was",
    "We", "Well", "Were", "What", "When", "Where", "Whether", "Which", "While", "Who", "Why",
    "Will", "With", "Within", "Without", "Would", "Yes", "Yesterday", "Yet", "You", "Your",
))  # fmt: skip
"""Words that, after a letter and a full stop, begin a sentence rather than go on with a name."""

_NAMES = frozenset((
    "Abdullah", "Abdul", "Adrian", "Agnes", "Ahmed", "Alan", "Albert", "Alexander", "Alexandra",
    "Alexios", "Alfonso", "Alfred", "Amenhotep", "Andrew", "Anna", "Anne", "Anthony", "Antiochus",
    "Artaxerxes", "Arthur", "August", "Augustus", "Baldwin", "Basil", "Baudouin", "Bayezid",
    "Beatrice", "Bela", "Benedict", "Benjamin", "Boleslaw", "Boniface", "Calixtus", "Carl",
    "Casimir", "Catherine", "Celestine", "Charles", "Christian", "Christina", "Clement",
    "Cleopatra", "Clovis", "Conrad", "Constantine", "Constantius", "Cosimo", "Cyrus", "Daniel",
    "Darius", "David", "Donald", "Edmund", "Edward", "Edwin", "Elizabeth", "Emmanuel", "Eric",
    "Ernest", "Eugene", "Felipe", "Felix", "Ferdinand", "Francis", "Francisco", "Franz", "Frank",
    "Frederick", "Frederik", "Fuad", "George", "Gerald", "Gilbert", "Godfrey", "Gordon", "Gregory",
    "Gustav", "Gustavus", "Haakon", "Hadrian", "Harald", "Harold", "Harry", "Hassan", "Henri",
    "Henry", "Herbert", "Honorius", "Howard", "Hugh", "Humbert", "Hussein", "Innocent", "Isaac",
    "Isabella", "Ivan", "Jack", "Jacob", "James", "Jerome", "Joan", "Joanna", "John", "Joseph",
    "Juan", "Julius", "Justin", "Justinian", "Karl", "Kenneth", "Ladislaus", "Lawrence", "Leo",
    "Leonard", "Leopold", "Lewis", "Lothair", "Louis", "Louise", "Lucius", "Ludwig", "Magnus",
    "Malcolm", "Manuel", "Margaret", "Marcellus", "Maria", "Martin", "Mary", "Matthew",
    "Maximilian", "Mehmed", "Michael", "Mohammed", "Muhammad", "Murad", "Mustafa", "Napoleon",
    "Nectanebo", "Nicholas", "Norodom", "Olaf", "Oliver", "Oscar", "Otto", "Patrick", "Paul",
    "Pedro", "Peter", "Philip", "Philippe", "Pius", "Ptolemy", "Rainier", "Ralph", "Rama",
    "Rameses", "Ramesses", "Ramses", "Ranavalona", "Raymond", "Richard", "Robert", "Roger",
    "Roland", "Ronald", "Rudolf", "Rudolph", "Rupert", "Samuel", "Sancho", "Sam", "Sargon", "Selim",
    "Seti", "Shapur", "Sigismund", "Sixtus", "Stephen", "Suleiman", "Sverre", "Sylvester",
    "Theodore", "Theodosius", "Theobald", "Thomas", "Thutmose", "Tiberius", "Tutankhamun",
    "Umberto", "Urban", "Valdemar", "Valentinian", "Vasili", "Victor", "Victoria", "Vittorio",
    "Vladimir", "Walter", "Wenceslaus", "Wilhelm", "Wilhelmina", "William", "Willem", "Xerxes",
    "Zog",
))  # fmt: skip
"""Names of rulers and of people, after whom a numeral is an ordinal: "Henry the eighth"."""
_RULING = (
    "King|Queen|Pope|Emperor|Empress|Tsar|Czar|Pharaoh|Sultan|Shah|Prince|Princess|Duke|Count|Earl|"
    "Baron|Lord|Sir|Kaiser|Saint|Caliph|Patriarch|Archduke|Grand Duke|Antipope|Mister|Doctor"
)
_NAMED = re.compile(
    rf"(?<![\w-])((?:(?:{_RULING}) )?)((?:[A-Z][\w'’-]{{1,24}} ){{1,3}})([IVXL]{{1,7}})\b(?![-.]\w|/)"
)
_CENTURY = re.compile(
    r"(?<![\w-])([IVXL]{1,6})(?:th|st|nd|rd)?(?=[ -](?:century|centuries|dynasty|olympi\w{2}|"
    r"congress|"
    r"legion|corps|army|millennium|arrondissement|edition|amendment|anniversary)\b)",
    re.IGNORECASE,
)
_SUFFIXED = re.compile(r"(?<![\w-])([IVXL]{2,7})(?:th|st|nd|rd)\b")
_THE = re.compile(r"(?<=\b[Tt]he )([IVX]{2,6})(?= [a-zA-Z])(?! (?:and|or|drip|fluids?|lines?)\b)")
_SECTIONS = (
    "chapters?|parts?|acts?|scene|volumes?|vol|books?|sections?|articles?|phases?|types?|class|"
    "figures?|tables?|appendix|annex|world wars?|super bowl|wrestlemania|canto|titles?|"
    "stages?|lessons?|"
    "units?|rounds?|levels?|episodes?|seasons?|marks?|mk|grades?|divisions?|groups?|category|tier|"
    "schedule|amendment|psalm|sonnet|symphony|opus|movement|exercise|theorem|lemma|step|"
    "sector|zone|"
    "area|block|page|plate|note|rule|factor|vatican|apollo|gemini|final fantasy|rocky|star wars|"
    "star trek|version|page|generation|gen|day|week|year|form|league|match|game|heat|"
    "option|problem|question|case|camp|list|cohort|arm|study|series|complex|quarter|saturn|titan"
)
_SECTION = re.compile(rf"\b({_SECTIONS})\.? ([IVXLC]{{1,7}})\b(?!\.\w|'[a-z])", re.IGNORECASE)
_ALONE = re.compile(r"(?<![\w.&/'-])([IVX]{2,6})(?![\w&/]|\.\w|-[A-Z])")
_DRIP = re.compile(
    r" (?:drips?|fluids?|lines?|bags?|antibiotics?|therapy|infusions?|poles?|access|catheters?|"
    r"treatments?|push|injections?|medications?|needles?|drugs?)\b"
)
_NUMBER_NEXT = re.compile(rf" (?:{'|'.join(sorted(NUMBER_WORDS))})\b")
_NOT_ROMAN = frozenset(("XX", "XXX", "XI", "IX", "VI", "XV"))
"""Numerals that alone may be something else; they are read as numbers after a name."""
_AFTER_FIRST = re.compile(
    r"$|[.,;:!?)'\"-]| (?:of|was|is|had|and|who|in|became|ruled|died|reigned|to|the|by|on)\b"
)

_SPELLED = frozenset((
    "AC", "AI", "AKA", "API", "AR", "ASAP", "BA", "CEO", "CFO", "CIA", "CIO", "DIY", "DUI",
    "EDI", "EEG", "EKG", "ER", "ETA", "EU", "EV", "FAQ", "GOP", "GUI", "HIV", "ICU", "ID",
    "IOU", "IP", "IPO", "IQ", "IRS", "IUD", "LED", "MA", "MIT", "OS", "PA", "PHD", "PR", "QA",
    "ROI", "SAAS", "SOS", "SUV", "TA", "UAE", "UFO", "UI", "UK", "UN", "UPS", "URL", "US",
    "USA", "USSR", "UV", "UX", "VIP", "VR", "XL", "ISO", "USB", "AM", "IT",
))  # fmt: skip
"""Initialisms that look like words."""
_ALSO_WORDS = frozenset(("US", "MA", "PA", "TA", "ID", "AM", "IT"))
_SAID = {"JPEG": "jay peg", "MPEG": "em peg", "NASDAQ": "nazdack", "CSIRO": "sigh row"}
"""Acronyms read as a word though their letters do not look like one."""
_CAPITALS = re.compile(r"(?<![\w'])([A-Z]{2,6})('?s)?(?![\w])")
_DEPARTMENT = re.compile(
    r" (?:departments?|support|teams?|staff|managers?|infrastructure|security|professionals?|"
    r"services?|industry|sector|compan(?:y|ies)|consultants?|guy|jobs?|skills|systems?|help)\b"
)
_WORD = re.compile(r"[^\W\d_]{2,}")
_ONSETS = frozenset((
    "bl", "br", "ch", "chr", "cl", "cr", "dr", "dw", "fl", "fr", "gh", "gl", "gn", "gr", "kh",
    "kl", "kn", "kr", "mc", "ph", "phl", "phr", "pl", "pr", "ps", "qu", "rh", "sc", "sch",
    "scr", "sh", "shr", "sk", "sl", "sm", "sn", "sp", "sph", "spl", "spr", "squ", "st", "str",
    "sv", "sw", "th", "thr", "thw", "tr", "ts", "tw", "vl", "wh", "wr", "zh",
))  # fmt: skip
_CODAS = frozenset((
    "bs", "bt", "ch", "ck", "cks", "ct", "cts", "ds", "ff", "ffs", "ft", "fts", "gh", "ghs", "ght",
    "ghts", "gn", "gs", "ks", "lb", "lbs", "ld", "lds", "lf", "lk", "lks", "ll", "lls", "lm", "lms",
    "lp", "lps", "ls", "lt", "lts", "mb", "mbs", "mn", "mp", "mps", "mpt", "ms", "nch", "nd", "nds",
    "ng", "ngs", "nk", "nks", "nn", "ns", "nt", "nth", "nts", "ph", "pht", "ps", "pt", "pts", "rb",
    "rbs", "rc", "rch", "rd", "rds", "rf", "rg", "rk", "rks", "rl", "rls", "rm", "rms", "rn", "rns",
    "rp", "rps", "rs", "rsh", "rst", "rt", "rth", "rts", "rv", "sh", "sk", "sks", "sm", "sms", "sp",
    "sps", "ss", "st", "sts", "tch", "th", "ths", "ts", "tt", "wd", "wk", "wl", "wls", "wn", "wns",
    "ws", "xt", "zz",
))  # fmt: skip
_SHAPE = re.compile(r"([^aeiouy]*)[aeiouy].*?([^aeiouy]*)$")


def expand_abbreviations(text: str) -> str:
    """The text with abbreviations in full; a full stop that also ends a sentence stays."""
    text = _VERSUS.sub(" versus ", _COMPASS.sub(_compass, text))
    text = _TITLE.sub(_title, _PLACE_BARE.sub(_place_bare, _PLACE.sub(_place, text)))
    if "." in text:
        text = _ERA.sub(r"\1.\2.", text)
        text = _COUNTED.sub(_counted, text)
        text = _PLAIN.sub(_plain, text)
        text = _INITIALS.sub(_initials, _INITIALISM.sub(_initialism, text))
    return _BARE.sub(_bare, text)


def speak_roman(text: str) -> str:
    """The text with roman numerals in words: "Henry the eighth", "Chapter four", "Rocky four"."""
    if not re.search(r"(?i)\b[ivxlc]{1,7}(?:th|st|nd|rd)?\b", text):
        return text
    text = _SUFFIXED.sub(_as_ordinal, _CENTURY.sub(_as_ordinal, text))
    text = _NAMED.sub(_named, _THE.sub(_as_ordinal, text))
    return _ALONE.sub(_alone, _SECTION.sub(_section, text))


def spell_acronyms(text: str, keep: Collection[str], shouted: bool) -> str:
    """The text with acronyms that cannot be read as a word in separate letters.

    Words in `keep` (lower case) stay. In a `shouted` text, one all in capitals, every other word
    becomes lower case.
    """

    def spoken(match: re.Match[str]) -> str:
        word, ending = match[1], match[2] or ""
        if word.lower() in keep:
            return match.group()
        if word in _SAID:
            return _SAID[word] + ending
        if word == "IT" and (shouted or not _DEPARTMENT.match(match.string, match.end())):
            return "it" if shouted else match.group()
        if is_spelled(word, shouted):
            return " ".join(word) + ("'s" if ending else "")
        return match.group().lower() if shouted else match.group()

    text = _CAPITALS.sub(spoken, text)
    return _WORD.sub(lambda m: m.group().lower(), text) if shouted else text


def is_shouted(text: str) -> bool:
    """True for a text of two words or more, all in capitals."""
    return text.upper() == text and len(_WORD.findall(text)) > 1


def is_spelled(word: str, shouted: bool = False) -> bool:
    """True when a word in capitals is an initialism: listed, or not shaped like an English word."""
    if word in _SPELLED:
        return not (shouted and word in _ALSO_WORDS)
    shape = _SHAPE.match(word.lower())
    if shape is None:
        return set(word) - set("HMSZR") != set()
    onset, coda = shape.groups()
    return (len(onset) > 1 and onset not in _ONSETS) or (len(coda) > 1 and coda not in _CODAS)


def _stop(match: re.Match[str]) -> str:
    """A full stop when the match's own also ends the sentence."""
    return "." if match.group()[-1] == "." and ends_sentence(match) else ""


def _title(match: re.Match[str]) -> str:
    """The title in full, before a name."""
    short = next(group for group in match.groups() if group)
    return _TITLES[short.capitalize()] + (" " if match[1] else "")


def _compass(match: re.Match[str]) -> str:
    """North and the like in an address."""
    return " ".join(_COMPASS_NAMES[letter] for letter in match[1]) + " "


def _place(match: re.Match[str]) -> str:
    """Street or Drive after a name, unless a name follows: then the title rule reads it."""
    before, short = match.groups()
    named = before[:1].isupper() or before[:1].isdigit()
    followed = re.match(r" [A-Z]", match.string[match.end() : match.end() + 2])
    if short in _STREET_ONLY and (not named or (followed and not before[:1].isupper())):
        return match.group()
    return f"{before} {_AFTER_NAME[short]}{_stop(match)}"


def _place_bare(match: re.Match[str]) -> str:
    """Street after a name without a full stop; before another name only with a house number."""
    before, short = match.groups()
    followed = re.match(r" [A-Z]", match.string[match.end() : match.end() + 2])
    if short in _STREET_ONLY and followed and not before[:1].isdigit():
        return match.group()
    if before in _STARTERS:
        return match.group()
    return f"{before} {_AFTER_NAME[short.capitalize()]}"


def _counted(match: re.Match[str]) -> str:
    """The word before a number; a letter in capitals is a name: "vitamin C. 5 mg"."""
    if len(match[1]) == 1 and match[1].isupper():
        return match.group()
    return f"{_BEFORE_NUMBER[match[1].lower()]} "


def _plain(match: re.Match[str]) -> str:
    """The words of an abbreviation that needs no neighbour."""
    short = match[1].lower()
    if short in ("min", "max", "ed", "rev", "est", "temp", "al", "apt", "ie", "div") and (
        match[1] == short and ends_sentence(match)
    ):
        return match.group() if short not in ("al",) else "al."
    words = _ANYWHERE[short]
    if match[1][0].isupper() and words:
        words = words[0].upper() + words[1:]
    ends = match.end() == len(match.string) or (short not in ("vs", "cf", "e.g", "i.e", "approx"))
    return words + (_stop(match) if ends else "")


def _bare(match: re.Match[str]) -> str:
    """The words of an abbreviation without a full stop; "Apt" and "ext" only before a number."""
    short = match[1].lower()
    follows = match[2] or ""
    if short in _NUMBERED_NAMES:
        numbered = follows.strip(" #")[:1].isdigit()
        name = _NUMBERED_NAMES[short] if numbered else ""
    else:
        counted = match.string[max(0, match.start() - 2) : match.start()].strip().isdigit()
        name = "" if counted and short[0] == "t" else _BARE_NAMES.get(short, "")
    if not name:
        return match.group()
    return name.capitalize() if match[1][0].isupper() and short != "n/a" else name


def _initialism(match: re.Match[str]) -> str:
    """The letters of "U.S." or "Ph.D.", apart; a full stop before a new sentence stays."""
    letters = " ".join(letter.upper() for letter in match.group() if letter.isalpha())
    following = re.match(r"[\"')]* ([A-Z][a-z']*)", match.string[match.end() : match.end() + 24])
    at_end = match.end() == len(match.string) or (following and following[1] in _STARTERS)
    return letters + ("." if at_end and match.group()[-1] == "." else "")


def _initials(match: re.Match[str]) -> str:
    """The initials of a name, as in "J. R. R. Tolkien", apart and without full stops."""
    if match[2] in _STARTERS:
        return match.group()
    return " ".join(letter for letter in match[1] if letter.isalpha()) + " "


def _as_ordinal(match: re.Match[str]) -> str:
    """The ordinal of a numeral."""
    value = roman_value(match[1].upper())
    return ordinal(str(value)) if value and match[1] != "i" else match.group()


def _named(match: re.Match[str]) -> str:
    """The ordinal after a ruler's or a person's name, the cardinal after any other."""
    ruling, names, numeral = match.groups()
    value = roman_value(numeral)
    words = names.split()
    last = words[-1].rstrip("'’s") if words[-1].endswith(("'s", "’s")) else words[-1]
    if not value or last in _STARTERS or words[-1].lower() in _SECTIONS.split("|"):
        return match.group()
    titled = bool(ruling) or any(word in _RULING.split("|") for word in words[:-1])
    person = last in _NAMES or titled or (len(words) > 1 and words[-2] in _NAMES and value < 6)
    if numeral == "I" and not (person and _AFTER_FIRST.match(match.string, match.end())):
        return match.group()
    if len(numeral) == 1 and _NUMBER_NEXT.match(match.string, match.end()):
        return match.group()
    if numeral in ("X", "L", "C") and (not person or last == "Malcolm"):
        return match.group()
    if numeral == "IV" and _DRIP.match(match.string, match.end()):
        return match.group()
    if person:
        return f"{ruling}{names}the {ordinal(str(value))}"
    return (
        match.group() if len(numeral) == 1 and numeral != "V" else f"{names}{cardinal(str(value))}"
    )


def _section(match: re.Match[str]) -> str:
    """The cardinal after "Chapter" and the like; "part I" only where it cannot be the pronoun."""
    numeral = match[2]
    value = roman_value(numeral.upper())
    if numeral.upper() != numeral and (
        numeral.lower() != numeral or "l" in numeral or "c" in numeral
    ):
        return match.group()
    pronoun = numeral == "I" and not _AFTER_FIRST.match(match.string, match.end())
    if not value or (pronoun and match[1].islower()) or numeral in ("C", "L", "i"):
        return match.group()
    return f"{match[1]} {cardinal(str(value))}"


def _alone(match: re.Match[str]) -> str:
    """The cardinal of a numeral by itself, unless it may be something else."""
    numeral = match[1]
    value = roman_value(numeral)
    before = match.string[max(0, match.start() - 12) : match.start()]
    if numeral == "IV" and (
        _DRIP.match(match.string, match.end()) or re.search(r"\b(?:an|by|via|per|the|on) $", before)
    ):
        return "I V"
    enumerated = re.search(r"[IVX](?:,| and| or|, and| to|-) ?$", before) or re.search(
        r"(?:one|two|three|four|five|six|seven|eight|nine|ten)(?:,| and| or|, and| to) $", before
    )
    if not value or (numeral in _NOT_ROMAN and not enumerated):
        return match.group()
    return cardinal(str(value))
