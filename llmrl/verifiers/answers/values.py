"""Whether two single values are equal: units, numbers as they round, expressions by what they come to."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from llmrl.verifiers.answers import words
from llmrl.verifiers.answers.arithmetic import TooLarge, Unknown, Value, evaluate
from llmrl.verifiers.answers.brackets import balanced, depth_of
from llmrl.verifiers.answers.normalise import compact
from llmrl.verifiers.answers.numerals import Numeral, read_number
from llmrl.verifiers.answers.process import SYMBOLIC, Allowance
from llmrl.verifiers.answers.units import same_unit, split_unit

LONGEST_EXPRESSION = 1_000
"""Characters that the LaTeX parser is given."""
DEEPEST_EXPRESSION = 20


@dataclass(frozen=True, slots=True)
class Values:
    """How exactly values have to agree, and the time that the symbolic stage may still take."""

    allowance: Allowance
    approximation_digits: int
    tolerance: Fraction

    def same(self, pred: str, gold: str) -> bool:
        """Whether two normalised single values are equal."""
        if compact(pred) == compact(gold) or words.same(pred, gold):
            return True
        if words.is_words(pred) != words.is_words(gold) and not (words.numbers(pred) and words.numbers(gold)):
            return False
        pred, pred_unit = split_unit(pred)
        gold, gold_unit = split_unit(gold)
        if not same_unit(pred_unit, gold_unit):
            return False
        if (pred_unit or gold_unit is not None or pred_unit is not None) and compact(pred) == compact(gold):
            return True
        return self._values(pred, gold)

    def _values(self, pred: str, gold: str) -> bool:
        gold_number = read_number(gold)
        if gold_number:
            pred = words.only_number(pred)
        pred_number = read_number(pred)
        if pred_number and gold_number:
            return self.numbers(pred_number, gold_number)
        verdict = words.same_base(pred, gold)
        if verdict is not None:
            return verdict
        try:
            return self._evaluated(pred, gold, pred_number, gold_number)
        except TooLarge:
            return False
        except (Unknown, OverflowError):
            return self._symbolic(pred, gold, gold_number)

    def _evaluated(self, pred: str, gold: str, pred_number: Numeral | None, gold_number: Numeral | None) -> bool:
        """By value where the calculator knows both. Raises Unknown where only sympy can tell, TooLarge."""
        value = pred_number.value if pred_number else evaluate(pred)
        if gold_number:
            return self._near(value, gold_number)
        try:
            reference = evaluate(gold)
        except TooLarge:
            return False  # which the prediction, being evaluated, is not
        if isinstance(value, Fraction) and isinstance(reference, Fraction):
            return value == reference
        if pred_number and pred_number.decimals is not None:
            return self._approximates(pred_number, reference)
        if not _alike(value, reference):
            return False
        raise Unknown  # floats cannot prove it

    def _near(self, value: Value, gold: Numeral) -> bool:
        if isinstance(value, Fraction):
            return self.numbers(Numeral(value), gold)
        margin = max(gold.half_unit, self.tolerance)
        if not margin and not _alike(value, gold.value):
            return False
        if not margin:
            raise Unknown
        return abs(value - complex(gold.value)) <= float(margin)

    def numbers(self, pred: Numeral, gold: Numeral) -> bool:
        """Exactly, or within what the gold shows; a percent sign may be left out or written out."""
        if self._close(pred, gold):
            return True
        if pred.percent == gold.percent:
            return False
        if gold.percent:
            return self._close(Numeral(pred.value / 100, None), gold)
        return self._close(Numeral(pred.value * 100, None), gold)

    def _close(self, pred: Numeral, gold: Numeral) -> bool:
        gap = abs(pred.value - gold.value)
        if gap <= max(gold.half_unit, self.tolerance):
            return True
        return (
            gold.decimals is None
            and pred.decimals is not None
            and gold.value.denominator != 1
            and self._rounds(pred, gap)
        )

    def _approximates(self, pred: Numeral, reference: Value) -> bool:
        gap = abs(complex(pred.value) - complex(reference))
        return gap <= float(self.tolerance) or self._rounds(pred, Fraction(gap))

    def _rounds(self, pred: Numeral, gap: Fraction) -> bool:
        """Whether a decimal is long enough to stand for an exact value, rounded or cut off."""
        assert pred.decimals is not None
        return pred.decimals >= self.approximation_digits and gap < 2 * pred.half_unit

    def _symbolic(self, pred: str, gold: str, gold_number: Numeral | None) -> bool:
        if words.is_words(pred) or words.is_words(gold):
            return False
        if gold_number and (margin := max(gold_number.half_unit, self.tolerance)):
            return self.ask("near", pred, str(gold_number.value), tolerance=str(margin))
        return self.ask("value", pred, gold)

    def ask(self, kind: str, pred: str, gold: str, **more: str) -> bool:
        """The verdict of the symbolic stage, from what is left of the time; see ``questions`` for the kinds."""
        for text in (pred, gold):
            if len(text) > LONGEST_EXPRESSION or depth_of(text) > DEEPEST_EXPRESSION or not balanced(text):
                return False
        return SYMBOLIC.ask(kind, pred, gold, self.allowance, **more)


def _alike(a: Value, b: Value) -> bool:
    a, b = complex(a), complex(b)
    return abs(a - b) <= 1e-9 * max(1e-9, abs(a), abs(b))
