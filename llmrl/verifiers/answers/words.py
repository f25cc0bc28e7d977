"""Answers in words: their equality, the letters of choices, numbers inside prose, numerals with a base."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_LETTERS_ONLY = re.compile(r"[A-Za-z\s.,:;'\"()\-?!]+")
_ARTICLES = {
    "and",
    "the",
    "a",
    "an",
    "is",
    "are",
    "it",
    "its",
    "there",
    "answer",
    "option",
    "choice",
    "so",
    "of",
    "this",
}
_SHORT_WORDS = {
    "no",
    "up",
    "am",
    "pm",
    "if",
    "so",
    "on",
    "in",
    "at",
    "it",
    "is",
    "he",
    "we",
    "to",
    "by",
    "or",
    "of",
    "as",
}

_SYNONYMS = {
    name: group[0]
    for group in (
        ["no solution", "no solutions", "no real solutions", "no real solution", "none", "no answer", "empty set",
         "null set", "emptyset", "no roots", "no real roots", "no such number", "no such numbers", "none exist"],
        ["does not exist", "dne", "doesn t exist", "do not exist", "not exist", "limit does not exist"],
        ["undefined", "not defined"],
        ["infinitely many", "infinitely many solutions", "infinite", "infinite solutions", "infinite number solutions"],
        ["all real numbers", "all reals", "real numbers", "mathbb r", "r", "reals", "any real number"],
        ["yes", "yep"],
        ["no", "nope"],
        ["true", "correct"],
        ["false", "incorrect"],
        ["none above", "none these"],
    )
    for name in group
}  # fmt: skip


def is_words(text: str) -> bool:
    """Whether an answer is language and not mathematics."""
    if _LETTERS_ONLY.fullmatch(text) is None:
        return False
    return any(_is_word(word) for word in _WORD.findall(text))


def _is_word(word: str) -> bool:
    if len(word) == 2:
        return word.lower() in _SHORT_WORDS
    return len(word) > 3 or re.search(r"[aeiouyAEIOUY]", word) is not None


def same(pred: str, gold: str) -> bool:
    """Whether both say the same in words, whatever their case, punctuation and articles."""
    a, b = _plain(pred), _plain(gold)
    return a == b and a != ""


@lru_cache(maxsize=4096)
def _plain(text: str) -> str:
    """Lower-case words without articles, synonyms unified; "" where the text is mathematics."""
    if len(text) > 400 or not text:
        return ""
    if text in (r"\emptyset", r"\mathbb{R}", r"(-\infty,\infty)", r"(-\infty, \infty)", r"(-\infty,+\infty)"):
        return "no solution" if text == r"\emptyset" else "all real numbers"
    if re.search(r"[\\^_=<>+/|]", text) or not _WORD.search(text):
        return ""
    words = re.findall(r"-(?=[\d.])|[a-z0-9.]+", text.lower().replace("'", " "))
    kept = [word for word in (w.strip(".") for w in words) if word and word not in _ARTICLES]
    plain = " ".join(kept or words)
    return _SYNONYMS.get(plain, plain)


_CHOICE = re.compile(
    r"(?:option|choice|answer|i (?:choose|pick|select))?\s*"
    r"(?:\(([A-Ja-j])\)|([A-J])(?=[).:]|$|\s*[-)]\s|\s+is\s+(?:correct|right|the\s)))[).:-]*\s*(.*)",
    re.DOTALL | re.IGNORECASE,
)
_ANOTHER = re.compile(r"\([A-J]\)|(?<![A-Za-z\\])[A-J][).:](?=\s|$)")


def choice(text: str) -> tuple[str, str] | None:
    """The letter of an option and what stands behind it: ``(B) 5``, ``B``, ``B. 5``, ``option B``."""
    found = _CHOICE.fullmatch(text.strip())
    if found is None or _ANOTHER.search(found[3]) or len(text) > 400:
        return None
    letter = found[1] or found[2]
    return letter.upper(), found[3].strip()


_LETTERS = re.compile(r"[A-H](?:\s*(?:,|and|or|&)?\s*[A-H])*")


def letters(text: str) -> frozenset[str] | None:
    """Several choice letters: ``A, C``, ``AC``, ``A and C``."""
    bare = text.replace("(", "").replace(")", "")
    if len(text) > 60 or not _LETTERS.fullmatch(bare):
        return None
    found = re.findall(r"[A-H]", bare.replace("and", ""))
    return frozenset(found) if len(set(found)) == len(found) > 1 else None


def same_choice(pred: str, gold: str) -> bool | None:
    """Whether both name the same letter or letters; None where one of them names none."""
    several, expected = letters(pred), letters(gold)
    if several is not None or expected is not None:
        return several == expected if several and expected else None if not _lettered(pred, gold) else False
    a, b = choice(pred), choice(gold)
    return None if a is None or b is None else a[0] == b[0]


def _lettered(pred: str, gold: str) -> bool:
    return choice(pred) is not None or choice(gold) is not None


_NUMBER = re.compile(r"(?<![\w.\\^{_])-?(?:\\frac\{\d+\}\{\d+\}|\d+/\d+|\d*\.?\d+)(?:\s*%)?(?![\d^_{}])")
_QUALIFIED = re.compile(
    r"\b(?:not|least|most|than|between|from|over|under|or|and|to|neither|either|maybe|if)\b", re.IGNORECASE
)


def numbers(text: str) -> list[str]:
    """The plain numbers in a text."""
    return _NUMBER.findall(text)


def only_number(text: str) -> str:
    """The one number that a phrase such as "Tom has 5 apples" holds; any other text as it is."""
    if len(text) > 300 or re.search(r"[\\=<>^*+_]|[A-Za-z]\(", text.replace(r"\frac", "")):
        return text
    words = _WORD.findall(text)
    if not any(_is_word(word) for word in words) or _QUALIFIED.search(text):
        return text
    found = numbers(text)
    return found[0] if len(found) == 1 else text


_TIME = re.compile(r"(\d{1,2}:\d{2})\s*(?:([ap])\.?\s*m\.?)?", re.IGNORECASE)
_RATIO = re.compile(r"\d+(?:\.\d+)?(?:\s*:\s*\d+(?:\.\d+)?)+")


def same_ratio(pred: str, gold: str) -> bool | None:
    """Times of day, ``3:30``, and ratios, ``3:2``. None: there are none."""
    a, b = _TIME.fullmatch(pred), _TIME.fullmatch(gold)
    if a and b:
        return a[1].lstrip("0") == b[1].lstrip("0") and (not a[2] or not b[2] or a[2].lower() == b[2].lower())
    if not _RATIO.fullmatch(pred) or not _RATIO.fullmatch(gold):
        return None
    ours, theirs = ([Fraction(part.strip()) for part in text.split(":")] for text in (pred, gold))
    return len(ours) == len(theirs) and all(x * theirs[0] == y * ours[0] for x, y in zip(ours, theirs, strict=True))


_CONGRUENCE = re.compile(r"(?:[A-Za-z]\s*\\equiv\s*)?(-?\d+)\s*\(?\s*\\mod\s*[({]?\s*(\d+)\s*[)}]?\s*\)?")


def same_congruence(pred: str, gold: str) -> bool | None:
    r"""Residues, ``x \equiv 3 \pmod 7``; a modulus that one side leaves out is the other's. None: there are none."""
    if r"\equiv" not in pred + gold:
        return None
    a, b = _CONGRUENCE.fullmatch(pred), _CONGRUENCE.fullmatch(gold)
    if a and b:
        return a[2] == b[2] and (int(a[1]) - int(b[1])) % (int(a[2]) or 1) == 0
    found, other = (a, gold) if a else (b, pred)
    return None if found is None else found[1] == other


_BASED = re.compile(r"\(?([0-9A-Za-z]+)\)?\s*(?:_\s*\{?\s*(\d{1,2})\s*\}?|\(?\s*(?:in\s+)?base\s*(\d{1,2})\s*\)?)")
_BASE_TEN_WORDS = {"two": "2", "ten": "10", "eight": "8", "sixteen": "16"}


def same_base(pred: str, gold: str) -> bool | None:
    """Numerals with a base, ``1011_2``; a base that one side leaves out is the other's. None: there are none."""
    a, b = _based(pred), _based(gold)
    if a is None and b is None:
        return None
    if a is not None and b is not None:
        return a[0].lstrip("0") == b[0].lstrip("0") if a[1] == b[1] else None is not _decimal(*a) == _decimal(*b)
    (digits, _), other = (a, gold) if a is not None else (b, pred)  # pyright: ignore[reportGeneralTypeIssues]
    if not other.isalnum():
        return None
    return other.lstrip("0").upper() == digits.lstrip("0") or (a is not None and other == str(_decimal(*a)))


def _based(text: str) -> tuple[str, int] | None:
    for word, digits in _BASE_TEN_WORDS.items():
        text = text.replace(f"base {word}", f"base {digits}").replace(f"_{{{word}}}", f"_{digits}")
    found = _BASED.fullmatch(text)
    if found is None or not found[1][0].isdigit() or len(found[1]) > 200:
        return None
    base = int(found[2] or found[3])
    digits = found[1].upper()
    return (digits, base) if 2 <= base <= 36 else None


def _decimal(digits: str, base: int) -> int | None:
    return int(digits, base) if all(int(digit, 36) < base for digit in digits) else None
