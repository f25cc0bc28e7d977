"""How numbers are written: decimals and their precision, percent, scientific notation, repeating digits, words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from llmrl.verifiers.answers.arithmetic import MOST_DIGITS

LARGEST_EXPONENT = 4_000
"""Of ten, in scientific notation."""


@dataclass(frozen=True, slots=True)
class Numeral:
    """A plain number as written."""

    value: Fraction
    decimals: int | None = None
    """Digits that a decimal shows after its point, its power of ten counted; None: an integer or fraction."""
    percent: bool = False

    @property
    def half_unit(self) -> Fraction:
        """Half a unit of the last place shown; 0 for what is exact."""
        return Fraction(0) if self.decimals is None else Fraction(1, 2) / Fraction(10) ** self.decimals


_PLAIN = re.compile(r"([-+]?)\s*(\d+|\d*\.\d+|\d+\.)\s*(%?)", re.ASCII)
_RATIO = re.compile(
    r"([-+]?)\s*(?:\\frac\{\s*([-+]?)\s*(\d+)\s*\}\{\s*([-+]?)\s*(\d+)\s*\}|(\d+)\s*[/:]\s*(\d+))\s*(%?)", re.ASCII
)
_MIXED = re.compile(
    r"([-+]?)\s*(\d+)(?:\s*\\frac\{\s*(\d+)\s*\}\{\s*(\d+)\s*\}|(?:\s+|\s*\+\s*|-)(\d+)\s*/\s*(\d+))\s*(%?)", re.ASCII
)
_SCIENTIFIC = re.compile(r"([-+]?)\s*(\d+\.?\d*|\.\d+)\s*(?:[eE]|\*\s*10\s*\^)\s*\{?\s*([-+]?\d{1,9})\s*\}?", re.ASCII)
_REPEATING = re.compile(r"([-+]?)\s*(\d*)\.(\d*)(?:\\overline\{(\d+)\}|\((\d+)\)|\\dot\{?(\d)\}?)", re.ASCII)
_TRAILING = re.compile(r"([-+]?)\s*(\d*)\.(\d*?)(\d{1,6}?)\4{2,}\s*\\ldots\s*", re.ASCII)


def read_number(text: str) -> Numeral | None:
    """The plain number that the whole of a normalised answer is, or None."""
    if len(text) > MOST_DIGITS or not text:
        return None
    for reader in (_plain, _ratio, _mixed, _scientific, _repeating):
        if (number := reader(text)) is not None:
            return number
    return _worded(text)


def _plain(text: str) -> Numeral | None:
    found = _PLAIN.fullmatch(text)
    if found is None:
        return None
    value = Fraction(found[1] + found[2])
    point = found[2].find(".")
    shown = len(found[2]) - point - 1 if point >= 0 else 0
    return _numeral(value, shown or None, found[3])


def _numeral(value: Fraction, decimals: int | None, percent: str) -> Numeral:
    if not percent:
        return Numeral(value, decimals)
    return Numeral(value / 100, None if decimals is None else decimals + 2, True)


def _ratio(text: str) -> Numeral | None:
    found = _RATIO.fullmatch(text)
    if found is None:
        return None
    sign, top_sign, top, bottom_sign, bottom, plain_top, plain_bottom, percent = found.groups()
    top, bottom = int(top or plain_top), int(bottom or plain_bottom)
    if bottom == 0:
        return None
    negative = [sign, top_sign, bottom_sign].count("-") % 2
    return _numeral(Fraction(-top if negative else top, bottom), None, percent)


def _mixed(text: str) -> Numeral | None:
    found = _MIXED.fullmatch(text)
    if found is None:
        return None
    sign, whole, top, bottom, plain_top, plain_bottom, percent = found.groups()
    top, bottom = int(top or plain_top), int(bottom or plain_bottom)
    if bottom == 0 or top >= bottom:
        return None
    value = int(whole) + Fraction(top, bottom)
    return _numeral(-value if sign == "-" else value, None, percent)


def _scientific(text: str) -> Numeral | None:
    found = _SCIENTIFIC.fullmatch(text)
    if found is None or abs(exponent := int(found[3])) > LARGEST_EXPONENT:
        return None
    digits = found[2].partition(".")[2]
    value = Fraction(found[1] + found[2]) * Fraction(10) ** exponent
    return Numeral(value, len(digits) - exponent if digits else None)


def _repeating(text: str) -> Numeral | None:
    r"""``0.1\overline{6}``, ``0.1(6)``, ``0.1666...``."""
    found = _REPEATING.fullmatch(text)
    if found is not None:
        sign, whole, fixed = found[1], found[2], found[3]
        block = found[4] or found[5] or found[6]
    else:
        found = _TRAILING.fullmatch(text)
        if found is None:
            return None
        sign, whole, fixed, block = found.groups()
    value = Fraction(int(whole or 0)) + Fraction(int(fixed or 0), 10 ** len(fixed))
    value += Fraction(int(block), (10 ** len(block) - 1) * 10 ** len(fixed))
    return Numeral(-value if sign == "-" else value)


_NAMES = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen"""
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_WORDS = {word: i for i, word in enumerate(_NAMES.split())} | {word: 20 + 10 * i for i, word in enumerate(_TENS)}
_SCALES = {"hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = {"half": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "eighth": 8, "tenth": 10}
_SCALED = re.compile(r"([-+]?\d+(?:\.\d+)?)\s*(hundred|thousand|million|billion|trillion)", re.ASCII)


def _worded(text: str) -> Numeral | None:
    """``twenty-one``, ``two thirds``, ``3.5 million``."""
    if not text[-1].isalpha() or "\\" in text or len(text) > 100:
        return None
    text = text.lower()
    if (found := _SCALED.fullmatch(text)) is not None:
        decimals = len(found[1].partition(".")[2])
        scale = _SCALES[found[2]]
        return Numeral(Fraction(found[1]) * scale, None if not decimals else decimals - len(str(scale)) + 1)
    words = [word for word in re.split(r"[\s-]+", text) if word not in ("and", "a", "an", "")]
    negative = words[:1] in (["negative"], ["minus"])
    words = words[negative:]
    part = _PARTS.get(words[-1].removesuffix("s") if words[-1] != "halves" else "half") if words else None
    count = _count(words[:-1] or ["one"]) if part is not None else _count(words)
    if count is None:
        return None
    value = Fraction(count, part or 1)
    return Numeral(-value if negative else value)


def _count(words: list[str]) -> int | None:
    total = group = 0
    for word in words:
        if word in _WORDS:
            group += _WORDS[word]
        elif word == "hundred":
            group = (group or 1) * 100
        elif word in _SCALES:
            total, group = total + (group or 1) * _SCALES[word], 0
        else:
            return None
    return total + group if words else None
