"""Arithmetic on exact and floating values whose size is known before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

MOST_BITS = 20_000
"""Of the numerator or denominator of any value on the way."""

Value = Fraction | complex
"""A Fraction while exact, else a complex float."""


class Unknown(Exception):
    """The expression holds something that only the symbolic stage can judge."""


class TooLarge(Exception):
    """A value on the way would exceed the budget of bits."""


def checked(value: Value) -> Value:
    """The value, where it is within the budget."""
    if isinstance(value, Fraction) and max(value.numerator.bit_length(), value.denominator.bit_length()) > MOST_BITS:
        raise TooLarge
    return value


def add(a: Value, b: Value) -> Value:
    """The sum, exact where both are."""
    return a + b if isinstance(a, Fraction) and isinstance(b, Fraction) else complex(a) + complex(b)


def multiply(a: Value, b: Value) -> Value:
    """The product, exact where both are."""
    return a * b if isinstance(a, Fraction) and isinstance(b, Fraction) else complex(a) * complex(b)


def combine(a: Value, b: Value, sign: str) -> Value:
    """The product, or the quotient where ``sign`` is "/"."""
    if sign == "/":
        b = 1 / b
    return checked(multiply(a, b))


def power(base: Value, exponent: Value) -> Value:
    """An exact power where there is one; the size of the result is known before it is computed."""
    if isinstance(base, Fraction) and isinstance(exponent, Fraction):
        if exponent.denominator == 1:
            return _integer_power(base, exponent.numerator)
        if base >= 0 and exponent.denominator <= 12 and (root := _exact_root(base, exponent.denominator)) is not None:
            return _integer_power(root, exponent.numerator)
    if isinstance(exponent, complex) and abs(exponent) > 1e4:
        raise TooLarge
    if isinstance(base, Fraction) and base < 0 and not isinstance(exponent, complex):
        raise Unknown  # a real or a complex root
    return complex(base) ** complex(exponent)


def _integer_power(base: Fraction, exponent: int) -> Fraction:
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if base not in (0, 1, -1) and (exponent.bit_length() > 24 or bits * abs(exponent) > MOST_BITS):
        raise TooLarge
    return base**exponent if abs(base) != 1 else base ** (exponent % 2)


def _exact_root(base: Fraction, index: int) -> Fraction | None:
    top, bottom = (_integer_root(n, index) for n in (base.numerator, base.denominator))
    return None if top is None or bottom is None else Fraction(top, bottom)


def _integer_root(number: int, index: int) -> int | None:
    if index == 2:
        root = math.isqrt(number)
    elif number.bit_length() > 900:
        return None
    else:
        root = round(number ** (1 / index))
    return root if root**index == number else None


def _integer(value: Value) -> int:
    if not isinstance(value, Fraction) or value.denominator != 1:
        raise Unknown
    return value.numerator


def factorial(value: Value) -> Value:
    """The factorial of a whole number."""
    number = _integer(value)
    if number < 0:
        raise Unknown
    if number > 1_500:
        raise TooLarge
    return Fraction(math.factorial(number))


def binomial(top: Value, bottom: Value) -> Value:
    """A binomial coefficient of whole numbers."""
    n, k = _integer(top), _integer(bottom)
    if not 0 <= k <= n:
        raise Unknown
    if n > 15_000:
        raise TooLarge
    return Fraction(math.comb(n, k))


def remainder(a: Value, b: Value) -> Value:
    """``a`` modulo ``b``, for whole numbers."""
    return Fraction(_integer(a) % _integer(b))


def rounded(value: Value, how: Callable[[Fraction], int]) -> Value:
    """Rounded down or up; a float too near to a whole number is not judged."""
    if isinstance(value, Fraction):
        return Fraction(how(value))
    if abs(value.imag) > 1e-9 or abs(value.real - round(value.real)) < 1e-6 or abs(value) > 1e9:
        raise Unknown
    return Fraction(how(Fraction(value.real)))


def _integers(values: Sequence[Value]) -> list[int]:
    return [_integer(value) for value in values]


def _reals(values: Sequence[Value]) -> list[Fraction]:
    exact = [value for value in values if isinstance(value, Fraction)]
    if len(exact) < len(values):
        raise Unknown
    return exact


def _only(values: Sequence[Value]) -> Value:
    if len(values) != 1:
        raise Unknown
    return values[0]


def _pair(values: Sequence[Value]) -> tuple[Value, Value]:
    if len(values) != 2:
        raise Unknown
    return values[0], values[1]


FUNCTIONS: dict[str, Callable[[list[Value]], Value]] = {
    r"\gcd": lambda values: Fraction(math.gcd(*_integers(values))),
    r"\lcm": lambda values: Fraction(math.lcm(*_integers(values))),
    r"\max": lambda values: max(_reals(values)),
    r"\min": lambda values: min(_reals(values)),
    r"\floor": lambda values: rounded(_only(values), math.floor),
    r"\ceil": lambda values: rounded(_only(values), math.ceil),
    r"\ceiling": lambda values: rounded(_only(values), math.ceil),
    r"\abs": lambda values: abs(_reals([_only(values)])[0]),
    r"\mod": lambda values: remainder(*_pair(values)),
    r"\binom": lambda values: binomial(*_pair(values)),
    r"\choose": lambda values: binomial(*_pair(values)),
}
