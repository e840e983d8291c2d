"""What must not be in a log, found in text.

Findings are places, not substitutions, so that colours and what surrounds them stay. Each expression runs in time
linear in the text, whatever it is (no two neighbouring parts of one can match the same character, or the first is
possessive), and only where a needle that it cannot do without is there at all.
"""

import re
from collections.abc import Callable, Iterator, Sequence

Span = tuple[int, int, str]
"""Start, end, and what stands there instead."""

EMAIL, PHONE, CARD, TOKEN, SECRET = "[email]", "[phone]", "[card]", "[token]", "[secret]"
PERSONAL, KEY = "[personal]", "[private key]"

_ANSI = re.compile(r"\x1b(?:\[[0-?]*+[ -/]*+[@-~]|\][^\x07\x1b]*+(?:\x07|\x1b\\))")

_EMAIL = re.compile(
    r"(?<![\w.+~&-])[\w.+~&-]++(?:@|%40)[\w-]++(?:\.[\w-]++)++|(?<=\")[^\"\s@]{1,64}\"@[\w-]++(?:\.[\w-]++)++"
)
_ADDRESS_SIGN = ("@", "%40")

# What comes before a number is looked at when it is found: an expression that begins with a look behind is five times
# slower than one that begins with a character.
_PHONES: tuple[tuple[str, re.Pattern[str]], ...] = (
    # +49 (0)30 901820, +14155552671; a time zone's +0000 begins with a zero, a signed number is shorter.
    ("+", re.compile(r"\+[1-9](?:[ .\-/]?\(?\d\)?){7,14}(?![\w-])")),
    # 0044 20 7946 0958
    ("00", re.compile(r"00[1-9]\d{0,2}[ -]\(?\d(?:[ -]?\(?\d\)?){6,12}(?![\w-])")),
    # (415) 555-2671
    ("(", re.compile(r"\([2-9]\d\d\)[ -]?[2-9]\d\d[ .-]\d{4}(?![\w-])")),
)
# 415-555-2671, 1.415.555.2671
_NORTH_AMERICAN = re.compile(r"[2-9]\d\d([.-])[2-9]\d\d\1\d{4}(?![\w-]|\.\d)")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
# Digits alone are a phone number when a word says so.
_CALLED = re.compile(
    r"(?i)(?:phone|fax|mobile|cell|tel)(?:[_ ]?(?:no|number|nr))?\\?['\"]?[ \t]{0,3}[:=][ \t]{0,3}\\?['\"]?"
    r"(\+?\(?\d(?:[ .\-/()]{0,2}\d){5,14})(?![\w-])"
)
_CALLED_NEEDLES = ("phone", "tel", "fax", "mobile", "cell")

_CARD = re.compile(r"[2-6]\d{3}(?:([ -]?)\d{4}\1\d{4}\1\d{4}(?:\d{2,3})?|([ -]?)\d{6}\2\d{4,5}|\d{9})(?![\w-]|\.\d)")
# Brand, by first digits and length: Visa, Mastercard, American Express, Diners, JCB, Discover and UnionPay.
_BRAND = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|3[068]\d{12}|35\d{14}|6(?:011|4|5|2)\d{12,17}"
)

_TOKENS: tuple[tuple[tuple[str, ...], re.Pattern[str]], ...] = (
    (("AKIA", "ASIA", "AROA", "AIDA"), re.compile(r"(?<!\w)(?:AKIA|ASIA|AROA|AIDA)[A-Z2-7]{16}(?!\w)")),
    (
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        re.compile(r"(?<!\w)(?:gh[pousr]_[A-Za-z0-9]{20,}+|github_pat_\w{20,}+)"),
    ),
    (("glpat-",), re.compile(r"(?<!\w)glpat-[\w-]{20,}+")),
    (("xox", "xapp-"), re.compile(r"(?<!\w)(?:xox[a-z]|xapp)-[\w-]{10,}+")),
    (("hooks.slack.com/",), re.compile(r"hooks\.slack\.com/[\w/]{8,}+")),
    (("AIza",), re.compile(r"(?<!\w)AIza[\w-]{35}(?!\w)")),
    (("k_live_", "k_test_"), re.compile(r"(?<!\w)[srp]k_(?:live|test)_\w{10,}+")),
    (("sk-",), re.compile(r"(?<![\w-])sk-[\w-]{20,}+")),
    (("npm_", "hf_", "pypi-"), re.compile(r"(?<!\w)(?:npm_\w{30,}+|hf_\w{30,}+|pypi-[\w-]{40,}+)")),
    (("eyJ",), re.compile(r"(?<![\w.])eyJ[\w-]{5,}+\.[\w-]{5,}+\.[\w-]*+")),
)
# Only the password of an address goes: host and user help whoever reads the error.
_URL_PASSWORD = re.compile(r"://[^\s/:@\"'<>]*+:((?:[^\s/@\"'<>]*+@)++)")

_OURS = r"(?!\*{3}|\[(?:email|phone|card|token|secret|personal|private key)\])"
_AUTHORIZATION = re.compile(
    r"(?i)authorization['\"]?[ \t]{0,3}[:=][ \t]{0,3}(?:b?['\"])?(?:(?:basic|bearer|token|digest)[ \t]{1,3})?"
    rf"{_OURS}([\w.~+/=-]{{8,}}+)"
)
# "Bearer certificates" are two words: a token has something else than small letters, or is long.
_BEARER = re.compile(rf"(?i:bearer)[ \t]{{1,3}}{_OURS}((?:[a-z]{{20}}|[a-z]{{0,19}}[\d.~+/=_A-Z-])[\w.~+/=-]{{7,}}+)")
_ASSIGNED = re.compile(
    r"(?i)(?:(?:passw(?:or)?d|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key(?:[_-]?id)?|private[_-]?key"
    r"|signature|credential)\\?['\"]?[ \t]{0,3}(?:=>|:=|[=:])[ \t]{0,3}"
    r"|passw(?:or)?d[ \t]{1,3}(?=['\"]))(?:b(?=['\"]))?"
    rf"{_OURS}(?:'{_OURS}([^'\n]*+)'|\"{_OURS}([^\"\n]*+)\"|\\?+['\"]?+{_OURS}([^\s'\"]++))"
)
_ASSIGNED_NEEDLES = (
    *("passw", "passphrase", "pwd", "secret", "token", "signature", "credential"),
    *("apikey", "api_key", "api-key", "access_key", "access-key", "accesskey", "private_key", "private-key"),
)
# `token: 512` counts, `secret: true` and `password=None` say whether there is one, `password=secret(name)` is code.
_NO_SECRET = re.compile(r"(?i)\d{1,6}|none|null|true|false|\*+|[{\[]+|str|bytes|secret(?:\W.*)?")

_KEY_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")


def spans(text: str, extra: Callable[[str], Sequence[Span]] | None = None) -> list[Span]:
    """Places of `text` that must not be seen, in order and without overlaps. `extra` finds more."""
    if "\x1b" in text:
        return _beneath_colours(text, extra)
    found = list(_find(text))
    if extra is not None:
        found += extra(text)
    return merged(found)


def merged(found: list[Span]) -> list[Span]:
    """Overlapping places as one, with the label of the longest."""
    if len(found) < 2:
        return found
    found.sort()
    result = [found[0]]
    for start, end, label in found[1:]:
        first, last, name = result[-1]
        if start >= last:
            result.append((start, end, label))
        elif end > last or end - start > last - first:
            result[-1] = (first, max(end, last), label if end - start > last - first else name)
    return result


def replaced(text: str, places: Sequence[Span]) -> str:
    """`text` with each place replaced by its label; colours that began or ended inside stay."""
    if not places:
        return text
    parts, at = [], 0
    for start, end, label in places:
        parts += [text[at:start], label]
        if "\x1b" in text[start:end]:
            parts += _ANSI.findall(text, start, end)
        at = end
    return "".join([*parts, text[at:]])


def redact(text: str, extra: Callable[[str], Sequence[Span]] | None = None) -> str:
    """`text` without what must not be seen."""
    return replaced(text, spans(text, extra))


def _beneath_colours(text: str, extra: Callable[[str], Sequence[Span]] | None) -> list[Span]:
    """The same in text with escape sequences, which may stand in the middle of a value."""
    kept, origin, at = [], [], 0
    length = 0
    for match in _ANSI.finditer(text):
        kept.append(text[at : match.start()])
        origin.append((length, at))
        length += match.start() - at
        at = match.end()
    kept.append(text[at:])
    origin.append((length, at))
    plain = "".join(kept)
    if "\x1b" in plain:
        # An escape that begins no sequence: as a blank it separates, and no sequence can be made of what is left.
        plain = plain.replace("\x1b", " ")
    places, index = [], 0
    for start, end, label in spans(plain, extra):
        while index + 1 < len(origin) and origin[index + 1][0] <= start:
            index += 1
        last = index
        while last + 1 < len(origin) and origin[last + 1][0] < end:
            last += 1
        places.append((start - origin[index][0] + origin[index][1], end - origin[last][0] + origin[last][1], label))
    return places


def _find(text: str) -> Iterator[Span]:
    if any(sign in text for sign in _ADDRESS_SIGN):
        yield from _emails(text)
    yield from _numbers(text)
    for needles, pattern in _TOKENS:
        if any(needle in text for needle in needles):
            for match in pattern.finditer(text):
                yield match.start(), match.end(), TOKEN
    if "://" in text:
        for match in _URL_PASSWORD.finditer(text):
            if match.end(1) - 1 > match.start(1):
                yield match.start(1), match.end(1) - 1, SECRET
    yield from _named(text, text.lower())
    if "-----BEGIN " in text:
        yield from _private_keys(text)


def _emails(text: str) -> Iterator[Span]:
    for match in _EMAIL.finditer(text):
        # The last label of a domain has a letter: name@1.2.3 is a version.
        if any(character.isalpha() for character in match[0].rstrip("-.").rpartition(".")[2]):
            yield match.start(), match.end(), EMAIL


def _numbers(text: str) -> Iterator[Span]:
    for needle, pattern in _PHONES:
        if needle in text:
            for match in pattern.finditer(text):
                if _stands_alone(text, match.start()) and not _DATE.search(match[0]):
                    yield match.start(), match.end(), PHONE
    for match in _NORTH_AMERICAN.finditer(text):
        start = match.start()
        if text[max(0, start - 2) : start] in (f"1{match[1]}", f"+1{match[1]}"):
            start -= 2
        if _stands_alone(text, start):
            yield start, match.end(), PHONE
    for match in _CARD.finditer(text):
        digits = "".join(filter(str.isdecimal, match[0]))
        if _stands_alone(text, match.start()) and _BRAND.fullmatch(digits) and _luhn(digits):
            yield match.start(), match.end(), CARD


def _stands_alone(text: str, start: int) -> bool:
    """Whether no longer number, identifier or path ends in what begins here."""
    before = text[start - 1 : start] if start else ""
    return not (before.isalnum() or (before and before in "_.+-"))


def _named(text: str, lowered: str) -> Iterator[Span]:
    """Values that the word before them makes a secret, or a phone number."""
    for match in _at_needles(_CALLED, _CALLED_NEEDLES, text, lowered):
        # A hotel is no tel.
        if match[0][0] in "pP" or not text[match.start() - 1 : match.start()].isalpha():
            yield match.start(1), match.end(1), PHONE
    for needle, pattern in (("authorization", _AUTHORIZATION), ("bearer", _BEARER)):
        for match in _at_needles(pattern, (needle,), text, lowered):
            yield match.start(1), match.end(1), TOKEN
    for match in _at_needles(_ASSIGNED, _ASSIGNED_NEEDLES, text, lowered):
        start, end = match.span(match.lastindex or 0)
        while end > start and text[end - 1] in ",;)}]\\":
            end -= 1
        if end > start and not _NO_SECRET.fullmatch(text, start, end):
            yield start, end, SECRET


def _at_needles(pattern: re.Pattern[str], needles: Sequence[str], text: str, lowered: str) -> Iterator[re.Match[str]]:
    """Matches that begin with one of the needles: to look for these first is ten times faster than the expression."""
    if len(lowered) != len(text):  # a letter that is two in lower case
        yield from pattern.finditer(text)
        return
    for needle in needles:
        at = lowered.find(needle)
        while at >= 0:
            match = pattern.match(text, at)
            if match:
                yield match
            # Behind what was found: `token=token=…` would otherwise be read to its end at each word.
            at = lowered.find(needle, match.end() if match else at + 1)


def _luhn(number: str) -> bool:
    digits = [int(digit) for digit in number]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _private_keys(text: str) -> Iterator[Span]:
    at = 0
    while begin := _KEY_BEGIN.search(text, at):
        end = _KEY_END.search(text, begin.end())
        yield begin.start(), end.end() if end else len(text), KEY
        if end is None:
            return
        at = end.end()


def open_key(text: str) -> bool:
    """Whether a private key begins in `text` and does not end there."""
    begin = text.rfind("-----BEGIN ")
    return begin >= 0 and _KEY_BEGIN.match(text, begin) is not None and _KEY_END.search(text, begin) is None


def key_end(text: str) -> int | None:
    """Where a private key that began before `text` ends in it."""
    match = _KEY_END.search(text)
    return match.end() if match else None
