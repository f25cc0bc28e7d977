"""Inequalities as the intervals that they describe."""

from __future__ import annotations

from llmrl.verifiers.answers.shapes import Bag, Relation, Row, Shape, Union, read_shape

_TURNED = {"<": ">", ">": "<", "le": "ge", "ge": "le", "ne": "ne"}


def as_ranges(relation: Relation) -> Shape | None:
    r"""``x > 5``, ``1 \le x < 2`` and ``x \ne 3`` as intervals; None for every other relation."""
    name = relation.variable()
    if name is None or "=" in relation.signs or "approx" in relation.signs or "equiv" in relation.signs:
        return None
    if len(relation.signs) == 2 and relation.sides[1] == name:
        low, high = relation.signs
        if {low, high} <= {"<", "le"}:
            return _interval(relation.sides[0], low, relation.sides[2], high)
        if {low, high} <= {">", "ge"}:
            return _interval(relation.sides[2], _TURNED[high], relation.sides[0], _TURNED[low])
        return None
    if len(relation.signs) != 1:
        return None
    sign, bound = relation.signs[0], relation.sides[1]
    if relation.sides[1] == name:
        sign, bound = _TURNED[sign], relation.sides[0]
    return _half_line(sign, bound)


def _half_line(sign: str, bound: str) -> Shape:
    if sign == "ne":
        return Union((_interval(r"-\infty", "<", bound, "<"), _interval(bound, "<", r"\infty", "<")))
    if sign in ("<", "le"):
        return _interval(r"-\infty", "<", bound, sign)
    return _interval(bound, _TURNED[sign], r"\infty", "<")


def _interval(low: str, low_sign: str, high: str, high_sign: str) -> Row:
    items: tuple[Shape, ...] = (read_shape(low), read_shape(high))
    return Row("(" if low_sign == "<" else "[", items, ")" if high_sign == "<" else "]")


def joined(shape: Shape) -> Shape:
    """Inequalities that are listed, ``x < 1 or x > 2``, as the union of what they describe."""
    if not isinstance(shape, Bag) or len(shape.items) < 2:
        return shape
    ranges = [as_ranges(item) if isinstance(item, Relation) else None for item in shape.items]
    known = tuple(item for item in ranges if item is not None)
    return Union(known) if len(known) == len(shape.items) else shape
