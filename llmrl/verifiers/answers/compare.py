"""Whether two answers are equal: by text, by number, by kind and element, and last by what sympy says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from llmrl.verifiers.answers import words
from llmrl.verifiers.answers.brackets import DEEPEST, depth_of
from llmrl.verifiers.answers.normalise import LONGEST_ANSWER, compact
from llmrl.verifiers.answers.numerals import Numeral, read_number
from llmrl.verifiers.answers.ranges import as_ranges, joined
from llmrl.verifiers.answers.shapes import Bag, Leaf, Matrix, Relation, Row, Shape, Union, read_shape, written
from llmrl.verifiers.answers.values import Values

_NAME = re.compile(
    r"(?:\\(?:angle|triangle)\s*[A-Z]{1,4}|\\[A-Za-z]+\s*|[A-Za-z]{3,}|[A-Z]{2}|[A-Za-z]|\([a-z](?:,\s*[a-z])+\))"
    r"(?:_(?:\w|\{\w+\}))?'*(?:\([A-Za-z, ]*\))?"
)
r"""What the left side of a definition may be: x, AB, f(x), \angle A, (a, b)."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One check of a prediction against a reference."""

    values: Values

    def equal(self, pred: str, gold: str) -> bool:
        """Whether two normalised answers are equal. Raises VerifierError for a gold that cannot be evaluated."""
        if compact(pred) == compact(gold):
            return True
        if max(depth_of(pred), depth_of(gold)) > DEEPEST or max(len(pred), len(gold)) > LONGEST_ANSWER:
            return False
        if ":" in pred and ":" in gold and (verdict := words.same_ratio(pred, gold)) is not None:
            return verdict
        if (verdict := words.same_congruence(pred, gold)) is not None:
            return verdict
        pred_number, gold_number = read_number(pred), read_number(gold)
        if pred_number is not None and gold_number is not None:
            return self.values.numbers(pred_number, gold_number)
        if words.same(pred, gold):
            return True
        pred, gold = _decimal_comma(pred, gold_number), _decimal_comma(gold, pred_number)
        verdict = words.same_choice(pred, gold)
        if verdict is not None:
            return verdict
        return self.shapes(read_shape(pred), read_shape(gold)) or self._contents(pred, gold)

    def _contents(self, pred: str, gold: str) -> bool:
        """What stands behind a choice's letter, where the other side gives no letter."""
        for text, other in ((pred, gold), (gold, pred)):
            if (option := words.choice(text)) is not None and option[1]:
                return self.equal(option[1], other) if text is pred else self.equal(other, option[1])
        return False

    def shapes(self, pred: Shape, gold: Shape) -> bool:
        """Whether two answers of these kinds are equal."""
        pred, gold = joined(pred), joined(gold)
        if isinstance(pred, Relation) or isinstance(gold, Relation):
            return self._relations(pred, gold)
        match pred, gold:
            case Leaf(), Leaf() if not _has_set_signs(pred, gold):
                return self.values.same(pred.text, gold.text)
            case (Matrix(), Row(items=(Row(), *_))) | (Row(items=(Row(), *_)), Matrix()):
                return self.shapes(_rows_of_rows(pred), _rows_of_rows(gold))
            case Matrix(), Matrix():
                return self._in_order([Row("", r, "") for r in pred.rows], [Row("", r, "") for r in gold.rows])
            case Row(), Row():
                return _same_brackets(pred, gold) and self._in_order(pred.items, gold.items)
            case (Matrix(rows=rows), Row(items=items)) | (Row(items=items), Matrix(rows=rows)):
                vector = [row[0] for row in rows] if all(len(row) == 1 for row in rows) else list(rows[0])
                first, second = (vector, items) if isinstance(pred, Matrix) else (items, vector)
                return (len(rows) == 1 or len(vector) == len(rows)) and self._in_order(first, second)
            case Bag(), Bag():
                return self._any_order(pred.items, gold.items)
            case (Bag(braces=False, items=items), Row() as row) | (Row() as row, Bag(braces=False, items=items)):
                first, second = (items, row.items) if isinstance(pred, Bag) else (row.items, items)
                return row.left + row.right == "()" and self._in_order(first, second)
            case Union(), Union():
                return self._any_order(pred.parts, gold.parts) or self._sets(pred, gold)
            case (Bag(items=(only,)), other) | (other, Bag(items=(only,))):
                return self.shapes(only, other) if isinstance(pred, Bag) else self.shapes(other, only)
            case (Union(), Leaf(text=text)) | (Leaf(text=text), Union()) if not _SET_SIGN.search(text):
                return False
            case (Union(), _) | (_, Union()):
                return self._sets(pred, gold)
            case Bag(braces=False), _:  # alternatives: one answer written in several ways
                return all(self.shapes(item, gold) for item in pred.items)
            case _, Bag(braces=False):
                return all(self.shapes(pred, item) for item in gold.items)
        if isinstance(pred, Matrix) or isinstance(gold, Matrix):
            return all(r"\begin" in written(shape) for shape in (pred, gold)) and self._matrices(pred, gold)
        return _has_set_signs(pred, gold) and self._sets(pred, gold)

    def _in_order(self, pred: Sequence[Shape], gold: Sequence[Shape]) -> bool:
        return len(pred) == len(gold) and all(self.shapes(p, g) for p, g in zip(pred, gold, strict=True))

    def _any_order(self, pred: Sequence[Shape], gold: Sequence[Shape]) -> bool:
        """Every element has its equal on the other side, one to one; in lists of other lengths repeats are dropped."""
        if len(pred) != len(gold):
            pred, gold = list(dict.fromkeys(pred)), list(dict.fromkeys(gold))
        if len(pred) != len(gold):
            return False
        rest = list(gold)
        for item in sorted(pred, key=lambda shape: shape not in gold):
            match = next((g for g in rest if g == item), None) or next((g for g in rest if self.shapes(item, g)), None)
            if match is None:
                return False
            rest.remove(match)
        return True

    def _relations(self, pred: Shape, gold: Shape) -> bool:
        if isinstance(pred, Relation) and isinstance(gold, Relation):
            return self._two_relations(pred, gold)
        relation, other = (pred, gold) if isinstance(pred, Relation) else (gold, pred)
        assert isinstance(relation, Relation)
        if set(relation.signs) == {"="}:
            if relation is gold and not _NAME.fullmatch(relation.sides[0]):
                return False  # an equation is not answered by one of its sides
            value = read_shape(relation.sides[-1])
        elif (value := as_ranges(relation)) is None:
            return False
        return self.shapes(value, other) if relation is pred else self.shapes(other, value)

    def _two_relations(self, pred: Relation, gold: Relation) -> bool:
        if set(pred.signs) == set(gold.signs) == {"="}:
            if _NAME.fullmatch(pred.sides[0]) and _NAME.fullmatch(gold.sides[0]):
                if _same_name(compact(pred.sides[0]), compact(gold.sides[0])):
                    return self.shapes(read_shape(pred.sides[-1]), read_shape(gold.sides[-1]))
                if read_number(pred.sides[-1]) or read_number(gold.sides[-1]):
                    return False
        elif (a := as_ranges(pred)) is not None and (b := as_ranges(gold)) is not None:
            return pred.variable() == gold.variable() and self.shapes(a, b)
        if len(pred.signs) != 1 or len(gold.signs) != 1:
            same = pred.signs == gold.signs
            return same and self._in_order([*map(read_shape, pred.sides)], [*map(read_shape, gold.sides)])
        return self._scaled(pred, gold)

    def _scaled(self, pred: Relation, gold: Relation) -> bool:
        """Both sides moved to the left and multiplied by a constant."""
        left = [f"({r.sides[0]})-({r.sides[1]})" for r in (pred, gold)]
        signs = {"pred_sign": pred.signs[0], "gold_sign": gold.signs[0]}
        return self.values.ask("relation", left[0], left[1], **signs)

    def _sets(self, pred: Shape, gold: Shape) -> bool:
        return self.values.ask("set", written(pred), written(gold))

    def _matrices(self, pred: Shape, gold: Shape) -> bool:
        return self.values.ask("value", written(pred), written(gold))


_COMMA_FOR_POINT = re.compile(r"[-+]?(?:\d+,\d{1,2}|0,\d+)")


def _decimal_comma(text: str, other: Numeral | None) -> str:
    """``2,74`` is a number where the other side is one number with decimals; else it is a list."""
    if other is None or other.value.denominator == 1 or not _COMMA_FOR_POINT.fullmatch(text):
        return text
    return text.replace(",", ".")


def _same_name(pred: str, gold: str) -> bool:
    return pred == gold or ("y" in (pred, gold) and "(" in pred + gold)


_SET_SIGN = re.compile(r"\\(?:cap|cup|setminus|mathbb)(?![A-Za-z])")


def _has_set_signs(*shapes: Shape) -> bool:
    """Whether an operation on sets is left, which only the symbolic stage can carry out."""
    return any(isinstance(shape, Leaf) and _SET_SIGN.search(shape.text) is not None for shape in shapes)


def _rows_of_rows(shape: Shape) -> Shape:
    """``[[1,2],[3,4]]`` as the matrix that it is."""
    if not isinstance(shape, Row):
        return shape
    return Matrix(tuple(row.items if isinstance(row, Row) else (row,) for row in shape.items))


def _same_brackets(pred: Row, gold: Row) -> bool:
    """An interval is open or closed at each end; the brackets of longer rows and of points say nothing."""
    if len(gold.items) != 2 or (pred.left, pred.right) == (gold.left, gold.right):
        return True
    if {pred.left + pred.right, gold.left + gold.right} == {"()", "[]"}:
        return _descends(gold)
    return False


def _descends(row: Row) -> bool:
    """Two numbers that cannot be the ends of an interval."""
    ends = [read_number(item.text) if isinstance(item, Leaf) else None for item in row.items]
    return None not in ends and ends[0].value >= ends[1].value  # pyright: ignore[reportOptionalMemberAccess]
