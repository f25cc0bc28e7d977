"""The published solutions of HumanEval and MBPP pass; what is no solution does not."""

from __future__ import annotations

import gzip
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from llmrl.verifiers.code import (
    Asserts,
    CheckFunction,
    Limits,
    TestReport,
    run_tests,
)

DATASETS = os.environ.get("LLMRL_DATASETS")


def rows(name: str) -> list[dict[str, Any]]:
    if DATASETS is None:
        pytest.skip("LLMRL_DATASETS does not say where the data sets are")
    with gzip.open(Path(DATASETS) / f"{name}.jsonl.gz", "rt") as file:
        return [json.loads(line) for line in file]


def humaneval() -> list[tuple[str, CheckFunction]]:
    return [
        (row["prompt"] + row["canonical_solution"], CheckFunction(row["test"], row["entry_point"], row["prompt"]))
        for row in rows("humaneval/humaneval")
    ]


def mbpp(name: str) -> list[tuple[str, Asserts]]:
    return [
        (
            row["code"],
            Asserts(row["test_list"], "\n".join([*row.get("test_imports", []), row.get("test_setup_code", "")])),
        )
        for row in rows(name)
    ]


def failing(cases: list[tuple[str, Any]]) -> list[TestReport]:
    with ThreadPoolExecutor(4) as threads:
        reports = threads.map(lambda case: run_tests(*case, limits=Limits(wall_s=60, cpu_s=60)), cases)
        return [report for report in reports if not report.all_passed]


def test_humaneval_s_solutions_pass_and_its_stubs_do_not() -> None:
    cases = humaneval()
    assert failing(cases[::4]) == []
    stubs = [(tests.prompt + "    return None\n", tests) for _, tests in cases[::4]]
    assert len(failing(stubs)) == len(stubs)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mbpp/mbpp_sanitized", "mbpp/mbpp"])
def test_mbpp_s_solutions_pass(name: str) -> None:
    assert failing(mbpp(name)) == []


@pytest.mark.slow
def test_all_of_humaneval_s_solutions_pass() -> None:
    assert failing(humaneval()) == []


@pytest.mark.slow
def test_solutions_of_other_problems_do_not_pass() -> None:
    cases = mbpp("mbpp/mbpp_sanitized")
    swapped = [(cases[i - 1][0], tests) for i, (_, tests) in enumerate(cases)]
    assert len(failing(swapped)) == len(swapped)
