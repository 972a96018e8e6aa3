"""Short sentences with homographs, for `teach`: everyday uses that encyclopaedias lack.

Every homograph is put into the frames of its labels; words whose senses no frame tells apart have
phrases of their own.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping

Example = tuple[tuple[str, ...], int, str, str]
"""Tokens, the position of the homograph, the homograph, and the label of its reading."""

_FILL = {
    "S": "I you we they people who students children doctors",
    "H": "he she it John Mary this that nobody everyone",
    "O": "it this that them him her me us everything",
    "D": "the a this your my our his her their that some",
    "N": "book house plan water people team door paper car money work list name page problem "
    "friend food song city game ground story letter results eggs land issue voice skills rope",
    "A": "good new old big small bad long nice great first last real whole young clear local",
    "M": "will can could should must would might may to didn't don't won't can't cannot",
    "P": "of in for on with at from about under by",
    "T": "now today soon again tomorrow here quickly together well slowly",
    "Y": "yesterday|last week|last night|last year|ago|this morning|when I was young|in 2019",
}
_FRAMES: Mapping[str, str] = {
    "V": "please {w} O .|{w} D N .|{w} D N P D N|{w} O T|do not {w} O .|S {w} O .|S {w} D N|"
    "S {w} N|S M {w} O|M you {w} O ?|M {w} D N|M {w} T .|S never {w} O|let's {w} it|go and {w} it|"
    "H M {w} O .|S often {w} D A N|why do S {w} it ?|did H {w} O|{w} T|S {w} P D N|M {w} P O|"
    "help me {w} O|S want to {w} D N|{w} it P D N|, {w} O|S {w} T|we always {w} N and N|{w} N",
    "Vs": "H {w} O .|H {w} D N|D N {w} O .|D N {w} T|H never {w} O|H {w} N|who {w} O ?|"
    "D N {w} P D N|H {w} P D N|H often {w} D A N|D N {w} D N|H {w} T .|which {w} O",
    "N": "D {w} is A .|D {w} was A|D A {w}|D A {w} .|no {w} .|D {w} P D N|D {w} P N|"
    "is there a {w} ?|H is a A {w}|S have D {w}|give me D {w}|D N {w}|what a {w} !|D {w} N|"
    "in D {w} .|by {w}|without {w}|of {w}|a {w} N|H has a {w} P N|one more {w}|D {w} .|D {w} ,",
    "Ns": "D {w} are A .|D {w} were A|D A {w} .|many {w}|these {w}|D {w} P D N|all {w}|"
    "five {w}|S have {w}|H has A {w}|D N {w} .|some {w} P N|no {w}|of {w} .|in their {w}",
    "A": "D {w} N|a very {w} N|H is {w} .|it was so {w}|D N is too {w} P O|very {w}|{w} and A",
    "P": "H {w} O .|H {w} D N|have S {w} O ?|S have {w} D N|has H {w} it|had {w} O|S {w} it Y|"
    "S {w} D N Y|was {w} P D N|H {w} it T and left|I {w} that D N was A|is {w} by N|have "
    "never {w} O|"
    "S 've {w} O|H {w} P D N|we {w} it Y .|having {w} it|Y S {w} it|D N was {w} aloud",
}
_PHRASES: Mapping[str, str] = {
    "lead:metal": "made of lead|lead pipes|lead pipe|lead paint|lead poisoning|a lead bullet|heavy as "
    "lead|the lead in a pencil|a pencil lead|lead and zinc|copper and lead|molten lead|a lump "
    "of lead|"
    "lead is a heavy metal|a lead weight|traces of lead in the water|lead acid battery|lead "
    "free fuel",
    "lead:guide": "they lead the way|the lead singer|in the lead|which team will lead|lead me home|"
    "lead a quiet life|a lead role|take the lead|lead the team|a dog lead|lead to trouble|to lead|"
    "our lead engineer|follow my lead|a sales lead|roads lead to Rome|we lead by two points",
    "bow:bend": "take a bow|bow to the king|bow down|they bow before the queen|bow your head|to bow|"
    "the bow of the ship|he made a low bow|bow and curtsy|the ship's bow|bow out|she gave a bow|"
    "I will bow to no one|please bow politely|the actors bow",
    "bow:knot": "a bow and arrow|bow and arrows|tie a bow|a violin bow|a red bow in her hair|the bow of "
    "a cello|a bow tie|draw the bow|he shot with a bow|a pretty bow|a ribbon with a bow|rain bow",
    "bows:bend": "he bows to the king|she bows her head|the actor bows|bows down|takes his bows",
    "bows:knot": "bows and arrows|red bows|ribbons and bows|violin bows|she ties bows",
    "row:fight": "they had a row about money|a terrible row|a row with his wife|a blazing row|the "
    "neighbours had a row|a row broke out|an angry row|a row over tax|what is that row",
    "row:line": "row the boat|row your boat|in a row|the front row|a row of houses|two days in a row|"
    "a row of trees|the last row|row across the lake|delete the row|we row every morning|"
    "second row",
    "bass:fish": "he caught a bass|sea bass|fish for bass|a bass in the lake|bass fishing|grilled bass|"
    "striped bass|a large bass swam by|we ate bass for dinner|bass and trout|the bass were biting",
    "bass:sound": "the bass guitar|a bass drum|turn up the bass|he sings bass|the double bass|the bass "
    "line|a deep bass voice|play the bass|bass player|too much bass|bass and drums",
    "wind:turn": "wind the clock|wind up the toy|wind the rope|to wind the watch|wind it around|wind "
    "down|the roads wind|wind your watch|wind up|please wind the wool|let's wind it up|paths wind",
    "wind:air": "the wind blows|a strong wind|wind and rain|the cold wind|in the wind|wind power|gone "
    "with the wind|a gust of wind|wind turbine|the north wind|the wind is howling|wind speed",
    "winds:turn": "the road winds|it winds through the hills|the river winds|he winds the clock|winds "
    "up|the path winds up|winds around|the stair winds",
    "winds:air": "strong winds|high winds|winds of change|the winds are strong|trade winds|cold winds|"
    "winds up to fifty miles|the four winds",
    "tear:rip": "do not tear the paper|tear it up|tear down the wall|a tear in the fabric|wear and tear|"
    "tear along the line|they tear the page|don't tear it|tear open|tear it apart|to tear|"
    "will tear|"
    "a tear in my shirt|tear off a piece|a muscle tear",
    "tear:drop": "a tear ran down her cheek|shed a tear|a tear fell|tear gas|a single tear|wiped away a "
    "tear|a tear in her eye|a tear of joy|tear drops|tear ducts|not a tear",
    "tears:rip": "he tears the page|she tears it up|it tears easily|tears it apart|tears down|who tears "
    "it|paper tears easily|tears open the letter|muscle tears",
    "tears:drop": "tears in her eyes|burst into tears|tears of joy|in tears|her tears|wiped her tears|"
    "tears ran down|moved to tears|blood sweat and tears|the tears fell",
    "wound:turned": "he wound the rope|she wound the clock|wound up|the path wound|wound around his arm|"
    "it was wound tightly|he wound it up|they wound down|wound the wool|the road wound up the hill",
    "wound:hurt": "the wound healed|a deep wound|clean the wound|a bullet wound|the wound bled|wound him|"
    "to wound|an open wound|salt in the wound|a head wound|did it wound you",
    "content:pleased": "I am content|he is content|content with|she was content to wait|we are content|"
    "feel content|be content|happy and content|not content with that|to his heart's content|"
    "perfectly "
    "content|they seemed content",
    "content:N": "the content of the page|web content|fat content|create content|new content|content "
    "creator|the content is good|post content|table of content|alcohol content|form and content",
    "invalid:false": "invalid argument|an invalid password|it is invalid|invalid input|the ticket is "
    "invalid|invalid email address|declared invalid|an invalid number|your card is invalid|invalid",
    "invalid:person": "an old invalid|the invalid in bed|care for an invalid|the poor invalid|her invalid "
    "mother|he became an invalid|nursed the invalid",
    "polish:shine": "polish the table|polish your shoes|nail polish|shoe polish|polish it|to polish|polish "
    "the silver|a coat of polish|please polish the floor|spit and polish",
    "polish:nation": "the Polish army|Polish food|she speaks Polish|he is Polish|a Polish town|in Polish|"
    "Polish people|Polish language|my Polish friend|Polish and German",
    "reading:V": "reading a book|I like reading|reading and writing|she is reading|the reading room|good "
    "reading|a reading of ten|reading the news|stop reading|reading glasses|he was reading in bed",
    "reading:city": "in Reading|near Reading|to Reading|the Reading station|from Reading|Reading Festival|"
    "live in Reading|Reading University|a train to Reading",
    "job:work": "a job|my new job|good job|get a job|job offer|the job is done|Job application|find a job|"
    "Job description|Job title|a full time job|did a great job|Job interview",
    "job:name": (
        "the book of Job|the patience of Job|God and Job|Job suffered|Job answered the Lord|Job "
        "said"
    ),
    "sake:drink": "a cup of sake|drink sake|sake and sushi|Japanese sake|hot sake|a bottle of sake|sake bar",
    "sake:reason": "for the sake of|for goodness sake|for your sake|art for art's sake|for heaven's sake",
    "resume:V": "resume work|resume the game|to resume|will resume|resume playing|resume it|talks resume|"
    "please resume|we resume tomorrow|classes resume on Monday|press play to resume|resume "
    "your work",
    "resume:N": "send your resume|my resume|a resume|update your resume|the resume|her resume|resume and "
    "cover letter|a strong resume|on my resume|read the resume",
    "aged:years": "he is aged forty|aged ten|aged between five|children aged six|a man aged fifty|aged "
    "over sixty|cheese aged for a year|she aged quickly|aged eighteen|women aged thirty",
    "aged:old": "an aged man|the aged|her aged mother|aged parents|care for the aged|an aged king",
    "axes:ax": "axes and saws|they swung their axes|sharp axes|battle axes|two axes|axes and hammers",
    "axes:axis": (
        "the x and y axes|the axes of the graph|both axes|three axes|coordinate axes|label the axes"
    ),
    "minute:A": "a minute detail|minute amounts|minute particles|minute traces|in minute detail|a minute "
    "quantity|so minute|minute differences",
    "minute:N": "wait a minute|one minute|last minute|this minute|a minute later|per minute|five minute "
    "walk|the minute I saw|just a minute|the next minute|a ten minute break|a minute ago",
    "close:V": "close the door|close your eyes|please close it|the shop will close|close the window|to "
    "close|we close at nine|close it|close all tabs|close up|they close early|don't close|"
    "close the deal",
    "close:A": "close to home|a close friend|so close|close by|come close|a close game|stay close|very "
    "close|close to the edge|close enough|they are close|too close|close up photo|close "
    "relatives|close "
    "to you|sit close to me|close call",
    "live:V": "I live in Berlin|where do you live|they live here|to live|live and learn|we live next "
    "door|"
    "long live the king|live well|live with it|people who live alone|how do you live",
    "live:N": "live music|a live show|your changes are live|we watched it live|the band plays live|go "
    "live|live on air|live television|a live wire|live broadcast|live in concert|we are live|"
    "watch it "
    "live|live from London|the site is live now|it is live|live animals|live tonight|it went live|"
    "streaming live|the page goes live|perform live",
    "lives:V": "she lives in Paris|he lives alone|it lives|who lives here|lives with|my sister lives|"
    "lives "
    "near|the cat lives|everyone lives",
    "lives:N": "nine lives|their lives|save lives|the lives of others|our lives|many lives|lives were "
    "lost|"
    "better lives|past lives|lives matter|in all our lives",
    "use:V": "please use this|we use it|use the door|to use|use your head|you can use mine|they use "
    "tools|use it|don't use that|use a pen|easy to use|I use it daily",
    "use:N": "a good use|no use|the use of|what is the use|in use|make use of|its use|any use|of use|"
    "for "
    "use in|it's no use|use of force|ready for use",
    "read:V": "I read every day|they often read books|read this|please read it|to read|will read|can "
    "you "
    "read|read more|do you read|let me read|I like to read|read the book|read on|I read a lot|"
    "we read "
    "to them every night|did you read it|read aloud|must read|children read better",
    "august:month": "in August|August the first|last August|August is hot|early August|by August",
    "mobile:moving": "a mobile phone|my mobile|mobile app|mobile network|call my mobile|on mobile|Mobile "
    "phones|more mobile|mobile home",
    "mobile:city": "in Mobile , Alabama|Mobile Alabama|Mobile Bay|from Mobile|the port of Mobile",
    "pasty:pale": "a pasty face|pasty skin|his pasty complexion|a thick pasty mixture",
    "pasty:food": "a Cornish pasty|a meat pasty|ate a pasty|a hot pasty",
    "learned:A": "a learned man|a learned scholar|my learned friend|learned judges",
    "learned:N": "I learned it|she learned to read|lessons learned|have learned|we learned that",
}


def frames(
    readings: Mapping[str, Iterable[str]], rng: random.Random, count: int
) -> Iterator[Example]:
    """`count` sentences for each label of each homograph, and all phrases of the others."""
    for key, phrases in _PHRASES.items():
        word, label = key.split(":")
        if label in readings.get(word, ()):
            for phrase in phrases.split("|"):
                yield from _variants(phrase.split(), word, label, rng)
    own = {key.split(":")[0] for key in _PHRASES}
    for word, labels in sorted(readings.items()):
        for label in labels:
            plural = label in "VN" and word.endswith("s") and not word.endswith("ss")
            patterns = _FRAMES.get(label + "s" if plural else label, "").split("|")
            if patterns == [""] or (word in own and label != "P"):
                continue
            for _ in range(count):
                tokens = [_filled(slot, rng) for slot in rng.choice(patterns).split()]
                flat = [part for slot in tokens for part in slot.split()]
                at = flat.index("{w}")
                yield from _variants([*flat[:at], word, *flat[at + 1 :]], word, label, rng)


def _filled(slot: str, rng: random.Random) -> str:
    """A word for a slot of a frame, or the slot itself where it is a word."""
    words = _FILL.get(slot)
    if words is None:
        return slot
    return rng.choice(words.split("|") if "|" in words else words.split())


def _variants(tokens: list[str], word: str, label: str, rng: random.Random) -> Iterator[Example]:
    """The sentence with a capital or without, and half the time with a full stop."""
    at = next(i for i, token in enumerate(tokens) if token.lower() == word)
    if rng.random() < 0.5:
        tokens = [tokens[0][0].upper() + tokens[0][1:], *tokens[1:]]
    if rng.random() < 0.5 and tokens[-1] not in (".", "?", "!", ","):
        tokens = [*tokens, "."]
    yield tuple(tokens), at, word, label
