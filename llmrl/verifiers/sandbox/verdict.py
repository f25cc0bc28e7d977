"""Tests of a program, and the verdict: two confined processes, or for whole programs their output."""

from __future__ import annotations

import ast
import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from llmrl.errors import VerifierError
from llmrl.verifiers.sandbox.execution import ExecutionResult, Limits, Status
from llmrl.verifiers.sandbox.host import Sandbox

Outcome = Literal["passed", "failed", "error", "timeout", "not run"]


@dataclass(frozen=True, slots=True)
class Asserts:
    """A list of statements, each one test; MBPP's form."""

    tests: Sequence[str]
    setup: str = ""
    """Runs before them, and may use what the program defines; MBPP's ``test_setup_code`` and ``test_imports``."""


@dataclass(frozen=True, slots=True)
class CheckFunction:
    """Source that defines ``check(candidate)``, called with one function of the program; HumanEval's form."""

    source: str
    entry_point: str
    """The function's name in the program."""
    prompt: str = ""
    """The beginning of the program that was given to the model: other functions in it are taken from here, so that a
    program cannot replace what the tests rely on."""


@dataclass(frozen=True, slots=True)
class InputOutput:
    """Pairs of standard input and the standard output expected of it; the form of programming contests.

    Trailing white space of each line and trailing empty lines do not count.
    """

    pairs: Sequence[tuple[str, str]]


Tests = Asserts | CheckFunction | InputOutput


@dataclass(frozen=True, slots=True)
class TestOutcome:
    """What came of one test."""

    __test__ = False  # nothing for pytest to collect
    outcome: Outcome
    message: str = ""


@dataclass(frozen=True, slots=True)
class TestReport:
    """The verdict on a program."""

    __test__ = False
    passed: int
    total: int
    status: Status
    """How the program itself ended: ``ok``, or the first other status it had. A program that ends before its tests
    are through is an ``error`` whatever its exit code."""
    per_test: tuple[TestOutcome, ...]
    stderr: str = ""
    """What the program wrote to standard error."""

    @property
    def all_passed(self) -> bool:
        """Whether there are tests and the program passed every one."""
        return 0 < self.total == self.passed

    @property
    def fraction(self) -> float:
        """The share of tests passed."""
        return self.passed / self.total


def check(sandbox: Sandbox, program: str, tests: Asserts | CheckFunction, limits: Limits) -> TestReport:
    """Run the tests in one process against the program in another. Raises VerifierError."""
    content = _judge_content(tests)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        candidate = sandbox.start("candidate", {"program": program, "files": {}}, limits, channel=theirs.fileno())
        # The judge's own limits only bound tests that do not end; the program's are the ones that count.
        generous = replace(limits, wall_s=limits.wall_s + 1, cpu_s=limits.wall_s + 1, memory_mb=limits.memory_mb + 512)
        judge = sandbox.start("judge", content, generous, channel=ours.fileno())
    try:
        verdict = judge.result()
    finally:
        candidate.cancel()
        ended = candidate.result()
    return _report(ended, verdict, len(content["tests"]))


def check_output(results: Sequence[ExecutionResult], tests: InputOutput) -> TestReport:
    """The verdict on the outputs of one run for each pair."""
    outcomes = tuple(map(_compare, results, (expected for _, expected in tests.pairs)))
    statuses: list[Status] = [result.status for result in results if result.status != "ok"]
    status: Status = statuses[0] if statuses else "ok"
    stderr = next((result.stderr for result in results if result.stderr), "")
    return TestReport(sum(x.outcome == "passed" for x in outcomes), len(outcomes), status, outcomes, stderr)


def _judge_content(tests: Asserts | CheckFunction) -> dict[str, list[str]]:
    if isinstance(tests, Asserts):
        content = {"setup": [tests.setup], "tests": list(tests.tests), "entry_point": ""}
    else:
        setup = [tests.prompt, tests.source]
        content = {"setup": setup, "tests": ["check(candidate)"], "entry_point": tests.entry_point}
    if not content["tests"]:
        raise VerifierError("there are no tests")
    for source in [*content["setup"], *content["tests"]]:
        try:
            ast.parse(source)
        except (SyntaxError, ValueError) as error:
            raise VerifierError(f"the tests are not Python: {error}") from None
    return content


def _report(ended: ExecutionResult, verdict: ExecutionResult, total: int) -> TestReport:
    lines = [json.loads(line) for line in verdict.stdout.splitlines()]
    if not lines or (len(lines) <= total and lines[0] and verdict.status not in ("timeout", "memory")):
        raise VerifierError(f"the tests' own process ended with {verdict.status}: {verdict.stderr[-500:]}")
    outcomes = [TestOutcome(*line) for line in lines[1:]]
    status: Status = ended.status
    if status == "ok" and (not lines[0] or len(outcomes) < total):
        status = "error" if verdict.status == "ok" else verdict.status
    if status == "timeout":
        outcomes = [_timed_out(outcome) for outcome in outcomes]
    missing = [TestOutcome("not run", "the program did not get this far")] * (total - len(outcomes))
    per_test = (*outcomes, *missing)
    return TestReport(sum(x.outcome == "passed" for x in per_test), total, status, per_test, ended.stderr)


def _timed_out(outcome: TestOutcome) -> TestOutcome:
    gone = outcome.outcome == "error" and outcome.message.startswith("Broken")
    return TestOutcome("timeout", "the program took too long") if gone else outcome


def _compare(result: ExecutionResult, expected: str) -> TestOutcome:
    if result.status == "timeout":
        return TestOutcome("timeout", "the program took too long")
    if not result.ok:
        return TestOutcome("error", f"{result.status}: {result.stderr[-300:]}")
    if _lines(result.stdout) == _lines(expected):
        return TestOutcome("passed")
    return TestOutcome("failed", "another output than expected")


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]
