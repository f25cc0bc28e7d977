"""The labelled answers of pairs.txt and completions.py, as rows for tests and benchmarks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from answers.completions import GROUPS


class Row(NamedTuple):
    """A completion, its reference, whether it is right, and what kind of row it is."""

    kind: str
    completion: str
    gold: str
    right: bool


def pairs() -> Iterator[Row]:
    """Answers as they stand, in the order of the file."""
    kind = ""
    for line in (Path(__file__).parent / "pairs.txt").read_text().splitlines():
        if line.startswith("["):
            kind = line[1:-1]
        elif line and not line.startswith("#"):
            gold, *answers = line[2:].split(" ;; ")
            for answer in answers:
                yield Row(kind, answer, gold, line[0] == "=")


def boxed(row: Row) -> Row:
    """The answer in the box at the end of a sentence."""
    if "\\boxed" in row.completion:
        return row
    answer = re.sub(r"(?<!\\)\$", "", row.completion)
    return row._replace(completion=rf"So the answer is $\boxed{{{answer}}}$.")


def completions() -> Iterator[Row]:
    """Whole completions."""
    for kind, rows in GROUPS.items():
        for text, gold, right in rows:
            yield Row(kind, text, gold, right)


def everything() -> list[Row]:
    """Each answer bare and boxed, and the completions."""
    rows = list(pairs())
    return [*rows, *map(boxed, rows), *completions()]
