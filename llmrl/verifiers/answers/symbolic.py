r"""Equality of expressions through sympy; runs in the killable process only.

Text becomes a tree through latex2sympy2_extended, which never runs it as code and leaves it unevaluated. The tree
is then evaluated, at several points where it has variables.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any

import mpmath
import sympy
from latex2sympy2_extended.latex2sympy2 import ConversionConfig, latex2sympy

from llmrl.verifiers.answers.evaluation import DIGITS, TooLarge, Unreadable, Value, evaluate, inexact

__all__ = ["TooLarge", "Unreadable", "evaluate", "near", "parse", "same_relation", "same_set", "same_value"]

MOST_NODES = 3_000
POINTS = 7
"""Where expressions with variables are compared; at least ``ENOUGH`` of them have to lie in both domains."""
ENOUGH = 2


@lru_cache(maxsize=4096)
def parse(text: str) -> Any:
    """The unevaluated sympy tree of a normalised answer. Raises Unreadable."""
    try:
        tree = latex2sympy(text, normalization_config=None, conversion_config=ConversionConfig(lowercase_symbols=False))
    except RecursionError:
        raise TooLarge from None
    except Exception as error:  # the parser raises bare Exceptions, and others from inside ANTLR
        raise Unreadable(str(error).split("\n")[0]) from None
    if isinstance(tree, sympy.Basic):
        for count, _ in enumerate(sympy.preorder_traversal(tree)):
            if count > MOST_NODES:
                raise TooLarge
    return tree


def same_value(pred: str, gold: str) -> bool:
    """Whether two expressions are equal wherever both are defined."""
    return _same(parse(gold), parse(pred))


def near(pred: str, gold: Fraction, tolerance: Fraction) -> bool:
    """Whether an expression without variables is within ``tolerance`` of a number."""
    value = evaluate(parse(pred), {})
    with mpmath.workdps(DIGITS):
        return bool(abs(inexact(value) - inexact(gold)) <= inexact(tolerance) * (1 + mpmath.mpf(10) ** -20))


def same_relation(pred: str, pred_sign: str, gold: str, gold_sign: str) -> bool:
    """Whether ``pred (sign) 0`` and ``gold (sign) 0`` say the same: one is a constant times the other.

    Denominators are cleared first for equations; a negative constant turns an inequality round.
    """
    trees = [parse(gold), parse(pred)]
    if gold_sign in ("=", "ne"):
        trees = [_numerator(tree) for tree in trees]
    ratio: Value | None = None
    met = 0
    for point in _points(trees):
        values = _at(trees, point)
        if values is None:
            continue
        if _zero(values[0]) or _zero(values[1]):
            if _zero(values[0]) != _zero(values[1]):
                return False
            continue
        quotient = _divide(values[1], values[0])
        if ratio is not None and not _close(quotient, ratio):
            return False
        ratio, met = quotient, met + 1
    return ratio is not None and met >= ENOUGH and _signs_agree(ratio, pred_sign, gold_sign)


def _signs_agree(ratio: Value, pred_sign: str, gold_sign: str) -> bool:
    if gold_sign in ("=", "ne"):
        return pred_sign == gold_sign
    turned = {"<": ">", ">": "<", "le": "ge", "ge": "le"}
    return pred_sign == (gold_sign if mpmath.re(inexact(ratio)) > 0 else turned[gold_sign])


def _numerator(tree: Any) -> Any:
    if not any(isinstance(node, sympy.Pow) and node.exp.is_negative for node in sympy.preorder_traversal(tree)):
        return tree
    return sympy.fraction(sympy.together(tree))[0]


def same_set(pred: str, gold: str) -> bool:
    """Whether two sets, as sympy understands them, are the same."""
    sets = [parse(gold).doit(), parse(pred).doit()]
    sets = [s if isinstance(s, sympy.Set) else sympy.FiniteSet(*s) if isinstance(s, sympy.Tuple) else s for s in sets]
    if not all(isinstance(s, sympy.Set) for s in sets):
        return False
    first, second = sets
    return first == second or first.symmetric_difference(second) == sympy.S.EmptySet


def _same(gold: Any, pred: Any) -> bool:
    if isinstance(gold, sympy.Set | sympy.Tuple) or isinstance(pred, sympy.Set | sympy.Tuple):
        return bool(gold == pred)
    if _is_matrix(gold) or _is_matrix(pred):
        return _same_matrix(gold, pred)
    if gold == pred:
        return True
    met = 0
    for point in _points([gold, pred]):
        values = _at([gold, pred], point)
        if values is None:
            continue
        if not _close(*values):
            return False
        met += 1
    return met >= (ENOUGH if _symbols([gold, pred]) else 1)


def _is_matrix(tree: Any) -> bool:
    return isinstance(tree, sympy.MatrixBase | sympy.MatrixExpr)


def _same_matrix(gold: Any, pred: Any) -> bool:
    matrices = [tree.doit() if _is_matrix(tree) else tree for tree in (gold, pred)]
    if not all(isinstance(m, sympy.MatrixBase) for m in matrices) or matrices[0].shape != matrices[1].shape:
        return False
    return all(_same(a, b) for a, b in zip(*(m.flat() for m in matrices), strict=True))


def _symbols(trees: list[Any]) -> list[Any]:
    names = {symbol for tree in trees for symbol in getattr(tree, "free_symbols", ()) if symbol.name not in ("i", "e")}
    return sorted(names, key=lambda symbol: symbol.name)


def _points(trees: list[Any]) -> list[Mapping[str, Value]]:
    """First points with all variables positive, then of both signs; one empty point without variables."""
    names = [symbol.name for symbol in _symbols(trees)]
    if not names:
        return [{}]
    points = []
    for index in range(POINTS):
        point = {}
        for name in names:
            generator = random.Random(zlib.crc32(f"{name} {index}".encode()))
            sign = 1 if index < 4 else generator.choice((-1, 1))
            point[name] = Fraction(sign * generator.randrange(301, 2999), 997)
        points.append(point)
    return points


def _at(trees: list[Any], point: Mapping[str, Value]) -> list[Value] | None:
    """Both values at a point, or None where one side is not defined or leaves the reals alone."""
    try:
        values = [evaluate(tree, point) for tree in trees]
    except (ZeroDivisionError, ValueError):
        if not point:
            raise Unreadable("no value") from None
        return None
    if point and _is_complex(values[0]) != _is_complex(values[1]):
        return None
    return values


def _is_complex(value: Value) -> bool:
    return isinstance(value, mpmath.mpc) and abs(value.imag) > 1e-25 * (1 + abs(value.real))


def _zero(value: Value) -> bool:
    return value == 0 if isinstance(value, Fraction) else bool(abs(value) < mpmath.mpf(10) ** -25)


def _close(a: Value, b: Value) -> bool:
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a == b
    with mpmath.workdps(DIGITS):
        a, b = inexact(a), inexact(b)
        if mpmath.isinf(a) or mpmath.isinf(b):
            return bool(a == b)
        gap = abs(a - b)
        return bool(gap <= mpmath.mpf(10) ** -18 * max(abs(a), abs(b)) or gap <= mpmath.mpf(10) ** -28)


def _divide(a: Value, b: Value) -> Value:
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a / b
    with mpmath.workdps(DIGITS):
        return inexact(a) / inexact(b)
