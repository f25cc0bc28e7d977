"""Programs a second: the sandbox beside plain interpreters. ``python tests/benchmarks/code_throughput.py``

Each way runs the same short programs from twice as many threads as there are cores, in turn, several rounds. One
JSON line a way: programs a second (median over the rounds, and each round's), and processor milliseconds a program,
which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from llmrl.verifiers.code import Asserts, isolation, run_python, run_tests
from llmrl.verifiers.sandbox import host
from llmrl.verifiers.sandbox.inside import processes

SOLUTION = "def largest(xs, n):\n    return sorted(xs, reverse=True)[:n]\n"
TESTS = Asserts(
    [
        "assert largest([25, 35, 22, 85, 14, 65, 75, 22, 58], 3) == [85, 75, 65]",
        "assert largest([25, 35, 22, 85, 14, 65, 75, 22, 58], 2) == [85, 75]",
        "assert largest([25, 35, 22, 85, 14, 65, 75, 22, 58], 5) == [85, 75, 65, 58, 35]",
    ]
)
PROGRAM = SOLUTION + "\n".join(TESTS.tests) + "\nprint('passed')\n"


def with_interpreter(*flags: str) -> None:
    """The program in an interpreter of its own, not isolated at all."""
    done = subprocess.run(
        [sys.executable, *flags, "-c", PROGRAM], capture_output=True, timeout=10, check=True, stdin=subprocess.DEVNULL
    )
    assert done.stdout == b"passed\n"


def as_program(sandbox: str) -> None:
    """The program with its asserts inside it."""
    assert run_python(PROGRAM, sandbox=sandbox).stdout == "passed\n"


def judged(sandbox: str) -> None:
    """The solution and its tests in two processes."""
    assert run_tests(SOLUTION, TESTS, sandbox=sandbox).all_passed


def processor_seconds() -> float:
    """Used so far by this process, the templates, and all that they started and waited for."""
    ours = os.times()
    total = ours.user + ours.system + ours.children_user + ours.children_system
    for sandbox in host._registry.sandboxes.values():
        for process in processes.members(processes.table(), sandbox._process.pid):
            with open(f"/proc/{process.pid}/stat") as file:
                total += sum(map(int, file.read().rpartition(")")[2].split()[11:15])) / os.sysconf("SC_CLK_TCK")
    return total


def measure(work: Callable[[], None], programs: int, threads: int) -> tuple[float, float]:
    """Programs a second, and processor seconds a program."""
    with ThreadPoolExecutor(threads) as pool:
        processor, begin = processor_seconds(), time.perf_counter()
        list(pool.map(lambda _: work(), range(programs)))
        wall = time.perf_counter() - begin
    return programs / wall, (processor_seconds() - processor) / programs


def main() -> None:
    """Measure every way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=int, default=200, help="a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2 * len(os.sched_getaffinity(0)))
    parser.add_argument("--sandbox", default="auto")
    options = parser.parse_args()
    ways: dict[str, Callable[[], None]] = {
        "run_python": lambda: as_program(options.sandbox),
        "run_tests": lambda: judged(options.sandbox),
        "python -I": lambda: with_interpreter("-I"),
        "python -I -S": lambda: with_interpreter("-I", "-S"),
    }
    for work in ways.values():
        work()
    print(json.dumps({"isolation": isolation().level, "threads": options.threads, "load": os.getloadavg()[0]}))
    rounds = [
        {name: measure(work, options.programs, options.threads) for name, work in ways.items()}
        for _ in range(options.rounds)
    ]
    for name in ways:
        rates, costs = zip(*(measured[name] for measured in rounds), strict=True)
        line = {"way": name, "per_second": round(statistics.median(rates), 1), "rounds": [round(r, 1) for r in rates]}
        print(json.dumps(line | {"processor_ms": round(statistics.median(costs) * 1e3, 2)}))


if __name__ == "__main__":
    main()
