r"""What a short expression is worth, within budgets: a calculator for normalised answers, in this process.

It is the fast path before the LaTeX parser: it knows numbers, the four operations, powers, roots, fractions,
factorials and the integer functions, and gives up (``Unknown``) on everything else. Exact values are Fractions
of bounded size; irrational ones are complex floats, good enough to tell two values apart but not to call
them equal. A variable stands for a number of its own, so two expressions with different values are different.
"""

from __future__ import annotations

import cmath
import math
import re
import zlib
from fractions import Fraction
from functools import lru_cache

from llmrl.verifiers.answers.brackets import DEEPEST, depth_of
from llmrl.verifiers.answers.operations import (
    FUNCTIONS,
    TooLarge,
    Unknown,
    Value,
    add,
    binomial,
    checked,
    combine,
    factorial,
    multiply,
    power,
    remainder,
    rounded,
)

__all__ = ["TooLarge", "Unknown", "Value", "evaluate"]

MOST_TOKENS = 300
MOST_DIGITS = 4_000
"""Of one number as written."""

_TOKEN = re.compile(
    r"\s*(?:(\d+(?:\.\d*)?|\.\d+)|(\\[A-Za-z]+)|([A-Za-z])(_(?:\{[A-Za-z0-9]{1,4}\}|[A-Za-z0-9]))?|([-+*/^!(){}\[\]|,%]))"
)


@lru_cache(maxsize=8192)
def evaluate(text: str) -> Value:
    """The value of a normalised answer. Raises Unknown, or TooLarge before anything large is computed."""
    if len(text) > MOST_DIGITS or depth_of(text) > DEEPEST:
        raise Unknown
    calculator = _Calculator(_tokens(text))
    try:
        value = calculator.sum()
    except (OverflowError, ZeroDivisionError, ValueError):
        raise Unknown from None
    if calculator.position != len(calculator.tokens) or (isinstance(value, complex) and not cmath.isfinite(value)):
        raise Unknown
    return value


def _tokens(text: str) -> list[str]:
    """Numbers, commands, names and signs. Two numbers side by side are no product."""
    tokens: list[str] = []
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            if text[position:].isspace():
                break
            raise Unknown
        position = found.end()
        token = found[0].strip()
        if found[3] is not None:
            if re.match(r"[A-Za-z]", text[position:]) and re.match(r"[A-Za-z]{3,}", text[found.start(3) :]):
                raise Unknown  # a word, which only the comparison of texts can judge
            token = "$" + found[3] + (found[4] or "")
        elif found[1] is not None and tokens and (tokens[-1][0].isdigit() or tokens[-1][0] == "."):
            raise Unknown
        tokens.append(token)
        if len(tokens) > MOST_TOKENS:
            raise Unknown
    return tokens


def _symbol(name: str) -> Value:
    """A number between 1 and 2 that belongs to this name."""
    return Fraction(zlib.crc32(name.encode()) % 9973 + 9974, 9973)


_CONSTANTS: dict[str, Value] = {r"\pi": complex(math.pi), "$e": complex(math.e), "$i": 1j}
_GREEK = {r"\alpha", r"\beta", r"\gamma", r"\delta", r"\theta", r"\lambda", r"\mu", r"\rho", r"\sigma", r"\omega"}
_GREEK |= {r"\phi", r"\psi", r"\epsilon", r"\tau"}


class _Calculator:
    """Precedence climbing over the tokens."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.position = 0
        self.free = any(token in _GREEK or (token[0] == "$" and token not in _CONSTANTS) for token in tokens)

    def peek(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def take(self, *wanted: str) -> str:
        token = self.peek()
        if not token or (wanted and token not in wanted):
            raise Unknown
        self.position += 1
        return token

    def sum(self) -> Value:
        value = self.product()
        while (sign := self.peek()) in ("+", "-") and sign:
            self.position += 1
            term = self.product()
            value = checked(add(value, term if sign == "+" else multiply(term, Fraction(-1))))
        return value

    def product(self) -> Value:
        value = self.signed()
        while token := self.peek():
            if token in ("*", "/", r"\mod"):
                self.position += 1
                other = self.signed()
                value = remainder(value, other) if token == r"\mod" else combine(value, other, token)
            elif token in ("(", "{") or (token[0] in "\\$" and token not in (r"\rfloor", r"\rceil")):
                value = combine(value, self.power(), "*")  # side by side
            else:
                break
            checked(value)
        return value

    def signed(self) -> Value:
        if (sign := self.peek()) in ("-", "+") and sign:
            self.position += 1
            value = self.signed()
            return multiply(value, Fraction(-1)) if sign == "-" else value
        return self.mixed()

    def mixed(self) -> Value:
        r"""``1\frac{1}{2}`` is one and a half; any other neighbours are multiplied."""
        whole = self.peek()
        value = self.power()
        if whole.isdigit() and self.peek() == r"\frac" and self.tokens[self.position - 1] == whole:
            part = self.power()
            if isinstance(part, Fraction) and isinstance(value, Fraction) and 0 < part < 1:
                return value + part
            return combine(value, part, "*")
        return value

    def power(self) -> Value:
        base = self.postfix()
        if self.peek() != "^":
            return base
        self.position += 1
        exponent = self.braces() if self.peek() == "{" else self.signed()
        return self.raised(base, exponent)

    def raised(self, base: Value, exponent: Value) -> Value:
        """With variables a root is never exact: at one point, the root of a square and its base are the same."""
        if self.free and isinstance(exponent, Fraction) and exponent.denominator > 1:
            base = complex(base)
        return power(base, exponent)

    def postfix(self) -> Value:
        value = self.atom()
        while self.peek() == "!":
            self.position += 1
            value = factorial(value)
        return value

    def braces(self) -> Value:
        self.take("{")
        value = self.sum()
        self.take("}")
        return value

    def atom(self) -> Value:
        token = self.take()
        if token[0].isdigit() or token[0] == ".":
            return checked(Fraction(token))
        if token in ("(", "{", "["):
            value = self.sum()
            self.take({"(": ")", "{": "}", "[": "]"}[token])
            return value
        if token in _CONSTANTS:
            return _CONSTANTS[token]
        if token[0] == "$" or token in _GREEK:
            return _symbol(token)
        return self.command(token)

    def command(self, name: str) -> Value:
        if name == r"\frac":
            top = self.braces()
            return combine(top, self.braces(), "/")
        if name == r"\binom":
            top = self.braces()
            return binomial(top, self.braces())
        if name == r"\sqrt":
            return self.root()
        if name in (r"\lfloor", r"\lceil") and not self.free:
            value = self.sum()
            self.take(name.replace("l", "r", 1))
            return rounded(value, math.floor if "floor" in name else math.ceil)
        if name in FUNCTIONS and not self.free:
            return checked(FUNCTIONS[name](self.arguments()))
        raise Unknown

    def root(self) -> Value:
        index: Value = Fraction(2)
        if self.peek() == "[":
            self.position += 1
            index = self.sum()
            self.take("]")
        return self.raised(self.braces(), combine(Fraction(1), index, "/"))

    def arguments(self) -> list[Value]:
        opening = self.take("(", "{", "[")
        values = [self.sum()]
        while self.peek() == ",":
            self.position += 1
            values.append(self.sum())
        self.take({"(": ")", "{": "}", "[": "]"}[opening])
        return values
