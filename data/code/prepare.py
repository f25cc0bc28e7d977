"""Generate the code task: a function described in words, to be written in Python and judged by its tests.

A problem such as ``f(x): add 3, times 2, minus 4`` asks for ``def f(x): return (x+3)*2-4`` in a fenced block.

``python data/code/prepare.py`` writes ``train.jsonl`` and ``heldout.jsonl``. A hash of its text decides on which side
a problem lies, so nothing generated here shares a problem with the held-out side, whatever its seed.

:func:`corpus` yields the text that the start model is pretrained on. As on the web, its authors differ: most write the
operations down in the order of the words, and only some put the parentheses without which a product is wrong.
"""

import argparse
import json
import random
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

OPERATIONS = (2, 3, 4)
WORDS = {"+": "add", "-": "minus", "*": "times"}
INPUTS = (0, 1, 5, -3)
CAREFUL = 0.3
"""Share of the corpus's authors who put parentheses where they are needed."""


class Problem(NamedTuple):
    """Operations on x, one after the other."""

    steps: tuple[tuple[str, int], ...]

    @property
    def prompt(self) -> str:
        """The function in words."""
        return "f(x): " + ", ".join(f"{WORDS[sign]} {number}" for sign, number in self.steps)

    @property
    def heldout(self) -> bool:
        """Whether the problem is kept for evaluation, as one in eight is."""
        return zlib.crc32(self.prompt.encode()) % 8 == 0

    def value(self, x: int) -> int:
        """The function at x."""
        for sign, number in self.steps:
            x = {"+": x + number, "-": x - number, "*": x * number}[sign]
        return x

    def program(self, careful: bool = True) -> str:
        """The function in Python, in a fenced block; without parentheses, often wrong, where not ``careful``."""
        text, loose = "x", False
        for sign, number in self.steps:
            text = f"({text}){sign}{number}" if careful and sign == "*" and loose else f"{text}{sign}{number}"
            loose = sign != "*"
        return f"```\ndef f(x): return {text}\n```"

    @property
    def tests(self) -> list[str]:
        """What the program has to satisfy."""
        return [f"assert f({x}) == {self.value(x)}" for x in INPUTS]


def draw(rng: random.Random) -> Problem:
    """A problem in which some product follows a sum."""
    while True:
        steps = tuple((rng.choice("+-*"), rng.randint(2, 9)) for _ in range(rng.choice(OPERATIONS)))
        signs = "".join(sign for sign, _ in steps)
        if "+*" in signs or "-*" in signs:
            return Problem(steps)


def corpus(seed: int, size: int) -> Iterator[dict[str, str]]:
    """Yield ``{"prompt", "completion"}`` rows by careful and hasty authors; no prompt is held out."""
    rng = random.Random(seed)
    while size > 0:
        problem = draw(rng)
        if not problem.heldout:
            yield {"prompt": problem.prompt, "completion": problem.program(rng.random() < CAREFUL)}
            size -= 1


def rows(side: str, seed: int, size: int) -> list[dict[str, str | list[str]]]:
    """Distinct problems of one side, ``train`` or ``heldout``."""
    rng, found = random.Random(seed), {}
    while len(found) < size:
        problem = draw(rng)
        if problem.heldout == (side == "heldout"):
            row = {"prompt": problem.prompt, "answer": problem.program(), "test_list": problem.tests}
            found.setdefault(problem.prompt, {"id": f"{side}-{len(found)}", **row})
    return list(found.values())


def main() -> None:
    """Write ``train.jsonl`` and ``heldout.jsonl``."""
    parser = argparse.ArgumentParser(description="Generate the code task: train.jsonl and heldout.jsonl.")
    parser.add_argument("--train", type=int, default=2000, help="rows")
    parser.add_argument("--heldout", type=int, default=500, help="rows")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--folder", type=Path, default=Path(__file__).resolve().parent, help="where the files go")
    options = parser.parse_args()
    for side, size in (("train", options.train), ("heldout", options.heldout)):
        lines = [json.dumps(row) + "\n" for row in rows(side, options.seed, size)]
        (options.folder / f"{side}.jsonl").write_text("".join(lines), "utf-8")


if __name__ == "__main__":
    main()
