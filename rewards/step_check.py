"""A process reward: every line of a chain such as ``12 + 30 = 42`` is checked on its own."""

import operator
import re
from fractions import Fraction

from llmrl.rewards import per_step

LINE = re.compile(r"\s*(-?\d{1,30})\s*([-+*/])\s*(-?\d{1,30})\s*=\s*(-?\d{1,60})\s*", re.ASCII)
OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


@per_step(separator="\n")
def steps(steps: list[str]) -> list[float]:
    """1 for a true line ``a op b = c``, -1 for a false one, 0 for any other line."""
    return [score(step) for step in steps]


def score(line: str) -> float:
    """The score of one line."""
    equation = LINE.fullmatch(line)
    if equation is None:
        return 0.0
    a, symbol, b, c = equation.groups()
    if symbol == "/" and int(b) == 0:
        return -1.0
    return 1.0 if OPERATORS[symbol](Fraction(a), Fraction(b)) == Fraction(c) else -1.0
