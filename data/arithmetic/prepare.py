"""Generate the arithmetic task: a few operations on small whole numbers, solved one step a line.

A problem such as ``What is (7 + 15) * 3 - 4?`` is worked out from left to right, so that its solution is a
chain of single operations and a boxed result: ``7+15=22``, ``22*3=66``, ``66-4=62``, ``\\boxed{62}``.

``python data/arithmetic/prepare.py`` writes ``train.jsonl`` and ``heldout.jsonl``. A hash of its text decides on
which side a problem lies, so nothing generated here shares a problem with the held-out side, whatever its seed.

:func:`corpus` yields the text that the start model is pretrained on. As on the web, its authors differ: some
write every step, and some only state a result, the more of them the longer the problem.
"""

import argparse
import json
import random
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

DIFFICULTY = (2, 3, 4)
LARGEST = 99
CORPUS_DIFFICULTY = (1, 2, 2, 3, 3, 4, 4)
HASTY = {1: 0.1, 2: 0.3, 3: 0.6, 4: 0.75, 5: 0.85, 6: 0.9}
"""Share of the corpus's authors who only state a result, by the number of operations."""


class Step(NamedTuple):
    """One operation of a chain."""

    left: int
    sign: str
    right: int
    result: int


class Problem(NamedTuple):
    """A question and the right chain that answers it."""

    prompt: str
    steps: list[Step]

    @property
    def heldout(self) -> bool:
        """Whether the problem is kept for evaluation, as one in eight is."""
        return zlib.crc32(self.prompt.encode()) % 8 == 0


def problem(rng: random.Random, operations: int, largest: int = LARGEST) -> Problem:
    """Draw a problem of so many operations in which no operand and no result exceeds ``largest``."""
    total = rng.randint(2, largest)
    text, steps, loose = str(total), [], False
    for _ in range(operations):
        room = {"+": largest - total, "-": total, "*": min(9, largest // max(total, 1))}
        sign = rng.choice([sign for sign in room if room[sign] >= 2])
        right = rng.randint(2, room[sign])
        result = {"+": total + right, "-": total - right, "*": total * right}[sign]
        text = f"({text}) * {right}" if sign == "*" and loose else f"{text} {sign} {right}"
        steps.append(Step(total, sign, right, result))
        total, loose = result, sign != "*"
    return Problem(f"What is {text}?", steps)


def solution(steps: Sequence[Step], answer: int) -> str:
    """Write a chain, one step a line, and the boxed answer."""
    return "".join(f"{s.left}{s.sign}{s.right}={s.result}\n" for s in steps) + f"\\boxed{{{answer}}}"


def corpus(
    seed: int, size: int, difficulty: Sequence[int] = CORPUS_DIFFICULTY, largest: int = LARGEST
) -> Iterator[dict[str, str]]:
    """Yield ``{"prompt", "completion"}`` rows by careful and hasty authors; no prompt is held out.

    A careful author writes every step and is right. A hasty one only states a result, right half of the time.
    The more operations a problem has, the more of its authors are hasty (``HASTY``).
    """
    rng = random.Random(seed)
    while size > 0:
        drawn = problem(rng, rng.choice(difficulty), largest)
        if drawn.heldout:
            continue
        answer = drawn.steps[-1].result
        if rng.random() < HASTY[len(drawn.steps)]:
            slip = rng.choice((0, 0, 0, 0, 0, 0, -10, -2, -1, 1, 2, 10))
            completion = solution((), max(0, answer + slip))
        else:
            completion = solution(drawn.steps, answer)
        yield {"prompt": drawn.prompt, "completion": completion}
        size -= 1


def rows(
    side: str, seed: int, size: int, difficulty: Sequence[int] = DIFFICULTY, largest: int = LARGEST
) -> list[dict[str, str | int]]:
    """Return distinct problems of one side, ``train`` or ``heldout``, the difficulties in turn."""
    rng, found = random.Random(seed), {}
    for _ in range(1000 * size):
        if len(found) == size:
            break
        level = difficulty[len(found) % len(difficulty)]
        prompt, steps = drawn = problem(rng, level, largest)
        if drawn.heldout == (side == "heldout") and prompt not in found:
            answer, name = str(steps[-1].result), f"{side}-{len(found)}"
            found[prompt] = {"id": name, "prompt": prompt, "answer": answer, "difficulty": level}
    else:
        raise SystemExit(f"{len(found)} distinct problems found of {size}: raise --difficulty or --largest")
    return list(found.values())


def main() -> None:
    """Write ``train.jsonl`` and ``heldout.jsonl``."""
    parser = argparse.ArgumentParser(description="Generate the arithmetic task: train.jsonl and heldout.jsonl.")
    parser.add_argument("--difficulty", type=int, nargs="+", default=DIFFICULTY, help="operations a problem, each >= 1")
    parser.add_argument("--largest", type=int, default=LARGEST, help="no number exceeds it")
    parser.add_argument("--train", type=int, default=6000, help="rows")
    parser.add_argument("--heldout", type=int, default=1000, help="rows")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--folder", type=Path, default=Path(__file__).resolve().parent, help="where the files go")
    options = parser.parse_args()
    sizes = {"train": options.train, "heldout": options.heldout}
    data = {side: rows(side, options.seed, n, options.difficulty, options.largest) for side, n in sizes.items()}
    assert not {row["prompt"] for row in data["train"]} & {row["prompt"] for row in data["heldout"]}, "sides overlap"
    options.folder.mkdir(parents=True, exist_ok=True)
    for side, found in data.items():
        (options.folder / f"{side}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found), "utf-8")


if __name__ == "__main__":
    main()
