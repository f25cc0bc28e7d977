"""Tests of a program, and the verdict on it."""

from __future__ import annotations

import ast
import builtins
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

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


def tests_of(columns: Mapping[str, Any]) -> Tests:
    """The tests of a row of data, in whichever form it has them. Raises VerifierError where it has none.

    - ``test_list``, and optionally ``test_imports`` and ``test_setup_code``: assert statements (MBPP);
    - ``test`` and ``entry_point``: source with a function ``check`` (HumanEval), and optionally ``starter_code``, the
      signature and docstring that the program begins with;
    - ``inputs`` and ``outputs``: lists of texts for standard input and output (programming contests).
    """
    if columns.get("test_list"):
        setup = [*(columns.get("test_imports") or []), columns.get("test_setup_code") or ""]
        return Asserts(columns["test_list"], setup="\n".join(setup))
    if columns.get("test"):
        return CheckFunction(columns["test"], columns["entry_point"], prompt=columns.get("starter_code") or "")
    if columns.get("inputs"):
        return InputOutput(list(zip(columns["inputs"], columns["outputs"], strict=True)))
    raise VerifierError("the row has no tests: none of the columns test_list, test, inputs")


def check(sandbox: Sandbox, program: str, tests: Asserts | CheckFunction, limits: Limits) -> TestReport:
    """Run the tests in one process against the program in another. Raises VerifierError."""
    content = _judge_content(tests)
    ended, verdict = sandbox.start(program, limits, tests=content).result()
    return _report(ended, [json.loads(line) for line in verdict.splitlines()], len(content["tests"]))


def check_output(results: Sequence[ExecutionResult], tests: InputOutput) -> TestReport:
    """The verdict on the outputs of one run for each pair."""
    outcomes = tuple(map(_compare, results, (expected for _, expected in tests.pairs)))
    statuses: list[Status] = [result.status for result in results if result.status != "ok"]
    status: Status = statuses[0] if statuses else "ok"
    stderr = next((result.stderr for result in results if result.stderr), "")
    return TestReport(sum(x.outcome == "passed" for x in outcomes), len(outcomes), status, outcomes, stderr)


def _judge_content(tests: Asserts | CheckFunction) -> dict[str, Any]:
    """What the judge gets: the tests' source, and whose the names in it are."""
    if isinstance(tests, Asserts):
        setup, sources, entry_point = [tests.setup], list(tests.tests), ""
    else:
        setup, sources, entry_point = [tests.prompt, tests.source], ["check(candidate)"], tests.entry_point
    if not sources:
        raise VerifierError("there are no tests")
    try:
        trees = [ast.parse(source) for source in (*setup, *sources)]
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise VerifierError(f"the tests are not Python: {error}") from None
    modules = _modules(trees)
    names = {"modules": sorted(modules), "shadowed": sorted(_shadowed(trees, modules))}
    return {"setup": setup, "tests": sources, "entry_point": entry_point, **names}


def _modules(trees: Sequence[ast.Module]) -> set[str]:
    """Modules of the standard library whose names the tests use for nothing but their attributes."""
    nodes = [node for tree in trees for node in ast.walk(tree)]
    bases = [node.value for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
    others = {node.id for node in nodes if isinstance(node, ast.Name) and node not in bases}
    return {node.id for node in bases if isinstance(node, ast.Name)} & sys.stdlib_module_names - others


def _shadowed(trees: Sequence[ast.Module], modules: set[str]) -> set[str]:
    """Names of built-in functions that the program is to define: those under test where no other name can be.

    Everywhere else ``set``, ``abs`` and the like are Python's own, whatever the program defines.
    """
    used = {node.id for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Name)}
    if used - modules - set(dir(builtins)):
        return set()
    asserted = [line.test for tree in trees for line in tree.body if isinstance(line, ast.Assert)]
    calls = [test.left if isinstance(test, ast.Compare) else test for test in asserted]
    return {call.func.id for call in calls if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)}


def _report(ended: ExecutionResult, lines: list[Any], total: int) -> TestReport:
    """``lines``: whether the program was loaded, and an outcome for each test that came to its end."""
    loaded, outcomes = (lines[0], [TestOutcome(*line) for line in lines[1:]]) if lines else (False, [])
    status: Status = ended.status
    if status == "ok" and len(outcomes) < total:
        if not lines or loaded:
            raise VerifierError(f"the tests' own process ended early: {ended.stderr[-500:]}")
        status = "error"
    missing = total - len(outcomes)
    if status == "timeout" and missing:
        outcomes.append(TestOutcome("timeout", "it took too long"))
    outcomes += [TestOutcome("not run", "the program did not get this far")] * (total - len(outcomes))
    return TestReport(sum(x.outcome == "passed" for x in outcomes), total, status, tuple(outcomes), ended.stderr)


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
