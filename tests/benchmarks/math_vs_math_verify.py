"""The math checker and math-verify on the same rows: accuracy, agreement with data sets, throughput, hostile answers.

``python tests/benchmarks/math_vs_math_verify.py [--hostile]``: one JSON line a measurement on standard output. The
rows of data sets are read from the folder that LLMRL_DATASETS names and left out without it. math-verify is called
as its users do: the reference wrapped as LaTeX, 5 s for parsing and 5 s for comparing.
"""

# ruff: noqa: E402 - the labelled rows lie beside this folder, and the package may not be installed
from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from answers.hostile import BOMBS, CODE, LONG, NESTED, ODD
from answers.labelled import Row, everything
from math_verify import parse
from math_verify import verify as compare

from llmrl.errors import VerifierError
from llmrl.verifiers.math import verify

DEADLINE_S = 10
"""After which a hostile answer counts as a hang."""


def ours(completion: str, gold: str) -> bool:
    """The verdict, a failure counting as wrong."""
    try:
        return verify(completion, gold)
    except VerifierError:
        return False


def theirs(completion: str, gold: str) -> bool:
    """math-verify's verdict, an exception counting as wrong."""
    try:
        return compare(parse(gold if "$" in gold or "\\boxed" in gold else f"${gold}$"), parse(completion))
    except Exception:
        return False


SIDES: dict[str, Callable[[str, str], bool]] = {"ours": ours, "math_verify": theirs}


def measure(rows: Iterable[Row], side: str) -> dict[str, float]:
    """How many rows are judged as labelled, and how long a row takes."""
    seconds, false_positives, false_negatives = [], 0, 0
    for row in rows:
        start = time.perf_counter()
        verdict = SIDES[side](row.completion, row.gold)
        seconds.append(time.perf_counter() - start)
        false_positives += verdict and not row.right
        false_negatives += row.right and not verdict
    wrong = false_positives + false_negatives
    return {
        "rows": len(seconds),
        "accuracy": round(1 - wrong / len(seconds), 5),
        "false_positives": false_positives,
        "false_negatives": false_negatives,
        "median_ms": round(1e3 * statistics.median(seconds), 4),
        "p99_ms": round(1e3 * statistics.quantiles(seconds, n=100)[98], 2),
        "rows_per_s": round(len(seconds) / sum(seconds)),
    }


def data_sets() -> dict[str, list[Row]]:
    """Solutions as completions, each once with its own reference and once with another row's, by data set."""
    folder = os.environ.get("LLMRL_DATASETS")
    found: dict[str, list[Row]] = {}
    for name, path in {"gsm8k": "gsm8k/test.jsonl.gz", "math500": "math/math500_test.jsonl.gz"}.items():
        if not folder or not (Path(folder) / path).exists():
            continue
        with gzip.open(Path(folder) / path, "rt", encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
        golds = [line["answer"] for line in lines]
        others = random.Random(0).sample(golds, len(golds))
        found[name] = [Row(name, line["solution"], line["answer"], True) for line in lines]
        rows = zip(lines, others, strict=True)
        found[f"{name}_shuffled"] = [Row(name, s["solution"], g, False) for s, g in rows if s["answer"] != g]
    return found


def realistic(found: dict[str, list[Row]]) -> list[Row]:
    """A reward's batch: four answers that are numbers to each that may be an expression, half of them right."""
    rng = random.Random(1)
    numbers = rng.sample(found["gsm8k"], 600) + rng.sample(found["gsm8k_shuffled"], 600)
    mixed = rng.sample(found["math500"], 150) + rng.sample(found["math500_shuffled"], 150)
    return rng.sample(numbers + mixed, 1_500)


def hostile(side: str) -> dict[str, float]:
    """Answers that are all wrong, each in a forked child with a deadline."""
    answers = [f"\\boxed{{{answer}}}" for answer in [*BOMBS, *LONG, *NESTED, *ODD, *CODE]]
    outcomes, seconds = [], []
    SIDES[side](r"\boxed{\tan x}", r"\frac{\sin x}{\cos x}")
    for answer in answers:
        start = time.perf_counter()
        outcomes.append(_in_a_child(side, answer))
        seconds.append(time.perf_counter() - start)
    return {
        "rows": len(answers),
        "right": outcomes.count(0) / len(answers),
        "hangs": outcomes.count(-signal.SIGKILL),
        "slowest_s": round(max(seconds), 2),
    }


def _in_a_child(side: str, answer: str) -> int:
    """0 where the answer is judged wrong; else how the child ended."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os._exit(SIDES[side](answer, "7"))
    deadline = time.monotonic() + DEADLINE_S
    while (status := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.001)
    return os.waitstatus_to_exitcode(status[1])


def main() -> None:
    """Print every measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hostile", action="store_true", help="hostile answers too; minutes for math-verify")
    given = parser.parse_args()
    found = data_sets()
    for judge in SIDES.values():  # both have imported sympy and learnt the grammar; ours takes a second in its process
        judge(r"\boxed{\tan x}", r"\frac{\sin x}{\cos x}")
    batches = {"realistic": realistic(found)} if found else {}  # first, before verdicts are cached
    batches |= {"labelled": everything(), **found}
    for name, rows in batches.items():
        for side in SIDES:
            print(json.dumps({"rows_of": name, "side": side, **measure(rows, side)}), flush=True)
    for side in SIDES if given.hostile else ():
        print(json.dumps({"rows_of": "hostile", "side": side, **hostile(side)}), flush=True)


if __name__ == "__main__":
    main()
