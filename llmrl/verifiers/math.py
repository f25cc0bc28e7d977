r"""Is the final answer of a completion equal to the reference answer?

The completion's answer is its last ``\boxed{…}``, or else what follows ``####`` or "the answer is", or else its last
line; see ``answers/extract.py``. Reference and answer are brought to one spelling and compared in four steps, each
slower than the one before: as text, as exact numbers, by kind (lists in any order, tuples, intervals, matrices,
equations up to a factor) and value, and last by sympy in a process that is killed at a time limit. No text is ever
run as code, and nothing large is computed: what only a bomb could evaluate is a wrong answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from llmrl.errors import VerifierError
from llmrl.verifiers.answers import words
from llmrl.verifiers.answers.brackets import balanced
from llmrl.verifiers.answers.compare import Comparison
from llmrl.verifiers.answers.extract import final_answer
from llmrl.verifiers.answers.normalise import LONGEST_ANSWER, compact, normalise
from llmrl.verifiers.answers.numerals import read_number
from llmrl.verifiers.answers.process import Allowance
from llmrl.verifiers.answers.values import Values

__all__ = ["Options", "VerifierError", "extract_answer", "is_equivalent", "verify", "verify_batch"]


@dataclass(frozen=True, slots=True)
class Options:
    """What counts as equal."""

    time_limit_s: float = 2.0
    """For all that one check asks of sympy, from when the process takes its first question."""
    accept_unsolved: bool = False
    """Whether arithmetic that still has to be done, ``2+3`` for 5, is an answer. With a prompt only what the prompt
    itself says is refused."""
    approximation_digits: int = 6
    """Decimals that an approximation needs in order to stand for an exact reference that has no short decimal, such
    as 1/3. A reference that is a decimal itself is met by whatever rounds to it."""
    tolerance: float = 0.0
    """Absolute difference that is forgiven between numbers, for data sets that state one."""


DEFAULT = Options()

_WHOLE_SOLUTION = 200
"""Characters beyond which a reference is read like a completion, as is one with a box or ``####``."""
_STATEMENT = re.compile(r"\\f?boxed|####|\banswer\s*(?:is|:)", re.IGNORECASE)


def verify(completion: str, gold: str, *, prompt: str | None = None, options: Options = DEFAULT) -> bool:
    """Whether the completion's final answer equals ``gold``; False where it states none.

    ``prompt`` is the question's text where it is known: a completion that only repeats it does not answer it. Raises
    VerifierError where ``gold`` cannot be read or evaluated, or the check itself breaks down.
    """
    reference = _reference(gold)
    if prompt and completion.startswith(prompt):
        completion = completion[len(prompt) :]
    answer = extract_answer(completion)
    if answer is None:
        return False
    return _equal(answer, reference, prompt or "", options)


def extract_answer(text: str) -> str | None:
    """The final answer that ``text`` states, as written there; None where it states none."""
    return final_answer(text)


def is_equivalent(pred: str, gold: str, *, options: Options = DEFAULT) -> bool:
    """Whether two answers are equal. Raises VerifierError as ``verify`` does."""
    return _equal(pred, _reference(gold), "", options)


def verify_batch(
    completions: Sequence[str],
    golds: Sequence[str],
    prompts: Sequence[str | None] | None = None,
    *,
    options: Options = DEFAULT,
) -> list[bool | VerifierError]:
    """``verify`` for each row; a row that cannot be judged holds its error and costs the others nothing."""
    rows = zip(completions, golds, prompts or [None] * len(golds), strict=True)
    return [_verdict(completion, gold, prompt, options) for completion, gold, prompt in rows]


def _verdict(completion: str, gold: str, prompt: str | None, options: Options) -> bool | VerifierError:
    try:
        return verify(completion, gold, prompt=prompt, options=options)
    except VerifierError as error:
        return error


@lru_cache(maxsize=4096)
def _reference(gold: str) -> str:
    """The reference answer in its one spelling. Raises VerifierError where there is none."""
    if len(gold) > _WHOLE_SOLUTION or _STATEMENT.search(gold):
        found = final_answer(gold)
        if found is None:
            raise VerifierError(f"the reference states no answer: {gold[-80:]!r}")
        gold = found
    if len(gold) > LONGEST_ANSWER:
        raise VerifierError(f"the reference answer is longer than {LONGEST_ANSWER} characters")
    reference = normalise(gold)
    if not reference or not balanced(reference):
        raise VerifierError(f"the reference answer is {'malformed' if reference else 'empty'}: {gold[:80]!r}")
    return reference


@lru_cache(maxsize=16_384)
def _equal(answer: str, reference: str, prompt: str, options: Options) -> bool:
    answer = normalise(answer)
    if not answer:
        return False
    if not options.accept_unsolved and _unsolved(answer, reference, prompt):
        return False
    allowance = Allowance(options.time_limit_s)
    values = Values(allowance, options.approximation_digits, Fraction(options.tolerance))
    return Comparison(values).equal(answer, reference)


_ARITHMETIC = re.compile(r"\s*[-+]?[\d.]+(?:\s*[-+*/]\s*[\d.]+)+\s*(?:=\s*\??\s*)?")
_SCIENTIFIC = re.compile(r"[-+]?[\d.]+\s*\*\s*10\s*\^.*")
_OPERATION = re.compile(r"[-+*^=]|\\(?!frac|pi|infty|text)[A-Za-z]+")


def _unsolved(answer: str, reference: str, prompt: str) -> bool:
    """Whether the answer is the question again, where the reference is what it comes to."""
    if compact(answer) == compact(reference):
        return False
    if prompt:
        return _OPERATION.search(answer.lstrip("-")) is not None and _stands_in(compact(answer).rstrip("=?"), prompt)
    if read_number(reference) is None or words.is_words(answer):
        return False
    return (
        _ARITHMETIC.fullmatch(answer) is not None and read_number(answer) is None and not _SCIENTIFIC.fullmatch(answer)
    )


def _stands_in(answer: str, prompt: str) -> bool:
    return len(answer) > 2 and answer in _question(prompt)


@lru_cache(maxsize=1024)
def _question(prompt: str) -> str:
    return compact(normalise(prompt))
