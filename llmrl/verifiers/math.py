r"""Is the final answer of a completion equal to the reference answer?

The answer is looked for in this order: the last ``\boxed{…}``, the last ``#### …``, the last "answer is …",
the last number of the last line. Two answers are equal when both are plain numbers or fractions of the same
exact value, or else when they are the same text after normalisation. Nothing is evaluated or parsed as code.
"""

from __future__ import annotations

import re
from fractions import Fraction

LONGEST_NUMBER = 1_000
"""Characters; anything longer is compared as text, so that no conversion can stall."""

_BOXED = re.compile(r"\\boxed\s*\{")
_HASHES = re.compile(r"####[ \t]*(.+)")
_STATED = re.compile(r"answer is:?[ \t]*(.+?)(?:\.(?!\d)|$)", re.IGNORECASE | re.MULTILINE)
_NUMBER = re.compile(r"(?:(?<![\w)}])-)?(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d*\.?\d+)(?:\.\d+)?(?:/\d+)?", re.ASCII)
_PLAIN = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)", re.ASCII)
_RATIO = re.compile(r"([+-]?)(?:\\frac\{([+-]?\d+)\}\{(\d+)\}|(\d+)/(\d+))", re.ASCII)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))", re.ASCII)
_NOISE = re.compile(r"\\[,!;: ]|\\?\$|\\?%|(?<![0-9A-Za-z])\s+|\s+(?![0-9A-Za-z])")


class VerifierError(Exception):
    """The verifier was given something that it cannot judge by; the completion is not to blame."""


def verify(completion: str, gold: str) -> bool:
    """Whether the completion's final answer equals ``gold``; False where it states none.

    Raises VerifierError when ``gold`` is empty.
    """
    if not gold.strip():
        raise VerifierError("the reference answer is empty")
    answer = extract_answer(completion)
    return answer is not None and is_equivalent(answer, gold)


def extract_answer(text: str) -> str | None:
    r"""The final answer that ``text`` states, as written there; None where it states none.

    A last ``\boxed{`` that is never closed was cut off: it states no answer.
    """
    boxes = list(_BOXED.finditer(text))
    if boxes:
        return _braced(text, boxes[-1].end())
    for pattern in (_HASHES, _STATED):
        if found := pattern.findall(text):
            return found[-1].strip() or None
    lines = text.rstrip().rsplit("\n", 1)
    numbers = _NUMBER.findall(lines[-1])
    return numbers[-1] if numbers else None


def is_equivalent(pred: str, gold: str) -> bool:
    """Whether two answers are the same number, or else the same text once normalised."""
    pred, gold = _normalise(pred), _normalise(gold)
    if not pred or pred == gold:
        return bool(pred)
    value = _number(pred)
    return value is not None and value == _number(gold)


def _braced(text: str, start: int) -> str | None:
    """What stands between ``start`` and the brace that closes the one before it."""
    depth = 1
    for brace in re.finditer(r"[{}]", text[start:]):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return text[start : start + brace.start()].strip() or None
    return None


def _normalise(answer: str) -> str:
    answer = _NOISE.sub(
        "", answer.replace("{,}", ",").replace("\u2212", "-")
    )  # U+2212 is the minus sign of typeset text
    answer = re.sub(r"\\[dt]frac", r"\\frac", answer)
    return _THOUSANDS.sub("", answer).rstrip(".")


def _number(answer: str) -> Fraction | None:
    """The exact value of a plain number or fraction; None for everything else."""
    if len(answer) > LONGEST_NUMBER:
        return None
    if _PLAIN.fullmatch(answer):
        return Fraction(answer)
    ratio = _RATIO.fullmatch(answer)
    if ratio is None:
        return None
    top, bottom = int(ratio[2] or ratio[4]), int(ratio[3] or ratio[5])
    if bottom == 0:
        return None
    return Fraction(-top if ratio[1] == "-" else top, bottom)
