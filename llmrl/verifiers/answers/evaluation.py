"""The value of a sympy tree, node by node: exact while it is rational, else to 40 digits, and never large.

The size of every power and factorial is known before it is computed, so that no tree can bloat.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import mpmath
import sympy

MOST_BITS = 60_000
MOST_TERMS = 5_000
"""Of a sum or product that is written out."""
DIGITS = 40

Value = Fraction | Any
"""A Fraction while exact, else an mpmath number."""


class Unreadable(Exception):
    """The expression is none that is understood, or has no value."""


class TooLarge(Exception):
    """A value or tree exceeds its budget."""


def inexact(value: Value) -> Any:
    """The mpmath number."""
    return mpmath.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def evaluate(tree: Any, point: Mapping[str, Value]) -> Value:
    """The value of a tree. Raises Unreadable for what has none, TooLarge, or what arithmetic raises."""
    with mpmath.workdps(DIGITS):
        return _bounded(_node(tree, point))


def _bounded(value: Value) -> Value:
    if isinstance(value, Fraction):
        if max(value.numerator.bit_length(), value.denominator.bit_length()) > MOST_BITS:
            raise TooLarge
    elif mpmath.isnan(value):
        raise ZeroDivisionError
    return value


def _node(tree: Any, point: Mapping[str, Value]) -> Value:
    if isinstance(tree, sympy.Rational):
        return Fraction(int(tree.p), int(tree.q))
    if isinstance(tree, sympy.Float):
        return Fraction(str(tree))
    if isinstance(tree, sympy.Symbol):
        return _name(tree.name, point)
    if tree in _CONSTANTS:
        return _CONSTANTS[tree]()
    how = _HOW.get(type(tree).__name__)
    if how is None:
        return _by_sympy(tree, point)
    return _bounded(how(*[_node(argument, point) for argument in tree.args]))


def _name(name: str, point: Mapping[str, Value]) -> Value:
    if name in point:
        return point[name]
    if name in ("i", "e"):
        return mpmath.mpc(0, 1) if name == "i" else +mpmath.e
    raise Unreadable(name)


def _by_sympy(tree: Any, point: Mapping[str, Value]) -> Value:
    """Sums, integrals, limits and the like: whatever sympy makes of them, within the process's time limit."""
    if isinstance(tree, sympy.Sum | sympy.Product) and (terms := _terms(tree, point)) is not None:
        return _sum(*terms) if isinstance(tree, sympy.Sum) else _product(*terms)
    definite = isinstance(tree, sympy.Integral) and len(tree.limits[0].args) == 3
    if definite or isinstance(tree, sympy.Sum | sympy.Product | sympy.Limit | sympy.Derivative):
        result: Any = tree.doit()
        if not result.has(type(tree)):
            return _node(result, point)
    elif isinstance(tree, sympy.Function) and type(tree).__module__ is None:
        return _undefined(tree, point)
    raise Unreadable(type(tree).__name__)


def _terms(tree: Any, point: Mapping[str, Value]) -> list[Value] | None:
    """The terms of a sum or product whose one index runs between two integers; None for any other."""
    index, *ends = tree.limits[0]
    if len(tree.limits) > 1 or any(not end.is_number or end.is_infinite for end in ends):
        return None
    low, high = (_integer(_node(end, point)) for end in ends)
    if high - low > MOST_TERMS:
        raise TooLarge
    return [_node(tree.function, {**point, index.name: Fraction(i)}) for i in range(low, high + 1)] or None


def _undefined(tree: Any, point: Mapping[str, Value]) -> Value:
    """A function that the answer only names, such as f(x): a number that depends on its name and arguments."""
    arguments = [_node(argument, point) for argument in tree.args]
    seed = zlib.crc32(f"{type(tree).__name__} {[mpmath.nstr(inexact(a), 15) for a in arguments]}".encode())
    return Fraction(seed % 100_003, 9_973)


def _sum(*terms: Value) -> Value:
    return sum(terms[1:], terms[0]) if all(isinstance(t, Fraction) for t in terms) else mpmath.fsum(map(inexact, terms))


def _product(*factors: Value) -> Value:
    exact = all(isinstance(f, Fraction) for f in factors)
    result = Fraction(1) if exact else mpmath.mpf(1)
    for factor in factors:
        result = _bounded(result * (factor if exact else inexact(factor)))
    return result


def _power(base: Value, exponent: Value) -> Value:
    if isinstance(exponent, Fraction) and exponent.denominator == 1 and isinstance(base, Fraction):
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if base not in (0, 1, -1) and (exponent.numerator.bit_length() > 30 or bits * abs(exponent) > MOST_BITS):
            raise TooLarge
        return base**exponent.numerator
    base, exponent = inexact(base), inexact(exponent)
    if abs(exponent) > 1e6:
        raise TooLarge
    return mpmath.power(base, exponent)


def _integer(value: Value) -> int:
    if isinstance(value, Fraction) and value.denominator == 1:
        return value.numerator
    raise Unreadable("not an integer")


def _factorial(value: Value) -> Value:
    if isinstance(value, Fraction) and value.denominator == 1 and value >= 0:
        if value > 5_000:
            raise TooLarge
        return Fraction(int(sympy.factorial(value.numerator)))
    if abs(inexact(value)) > 5_000:
        raise TooLarge
    return mpmath.factorial(inexact(value))


def _binomial(n: Value, k: Value) -> Value:
    if max(abs(inexact(n)), abs(inexact(k))) > 20_000:
        raise TooLarge
    return mpmath.binomial(inexact(n), inexact(k))


def _rounded(how: Callable[[Any], Any]) -> Callable[[Value], Value]:
    def rounded(value: Value) -> Value:
        if not isinstance(value, Fraction) and abs(value) > 1e30:
            raise TooLarge
        whole = how(inexact(value))
        return Fraction(int(whole.real if isinstance(whole, mpmath.mpc) else whole))

    return rounded


def _modulo(a: Value, b: Value) -> Value:
    return (
        a - b * (a // b) if isinstance(a, Fraction) and isinstance(b, Fraction) else mpmath.fmod(inexact(a), inexact(b))
    )


def _extreme(how: Callable[..., Any]) -> Callable[..., Value]:
    def extreme(*values: Value) -> Value:
        if any(isinstance(value, mpmath.mpc) for value in values):
            raise Unreadable("not real")
        return how(values, key=inexact)

    return extreme


def _logarithm(value: Value, base: Value | None = None) -> Value:
    if value == 0:
        raise ZeroDivisionError
    top = mpmath.log(inexact(value))
    return top if base is None else top / mpmath.log(inexact(base))


def _real(function: Callable[[Any], Any]) -> Callable[[Value], Value]:
    return lambda value: function(inexact(value))


_CONSTANTS: dict[Any, Callable[[], Value]] = {
    sympy.pi: lambda: +mpmath.pi,
    sympy.E: lambda: +mpmath.e,
    sympy.I: lambda: mpmath.mpc(0, 1),
    sympy.oo: lambda: mpmath.inf,
    sympy.S.NegativeInfinity: lambda: -mpmath.inf,
    sympy.S.GoldenRatio: lambda: +mpmath.phi,
}
_REAL = ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "coth", "asin", "acos", "atan", "acot")
_REAL += ("asec", "acsc", "asinh", "acosh", "atanh")
_HOW: dict[str, Callable[..., Value]] = {
    "Add": _sum,
    "Mul": _product,
    "Pow": _power,
    "UnevaluatedExpr": lambda value: value,
    "Abs": lambda value: abs(value),
    "factorial": _factorial,
    "binomial": _binomial,
    "floor": _rounded(mpmath.floor),
    "ceiling": _rounded(mpmath.ceil),
    "Mod": _modulo,
    "Max": _extreme(max),
    "Min": _extreme(min),
    "log": _logarithm,
    "exp": lambda value: _power(+mpmath.e, value),
    "gamma": lambda value: _factorial(value - 1),
    **{name: _real(getattr(mpmath, name)) for name in _REAL},
}
