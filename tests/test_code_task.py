"""The embedded code task is what it says it is, and its recipe runs."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import ROOT

from llmrl.verifiers.code import Asserts, extract_code, run_tests

FOLDER = ROOT / "data" / "code"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(side: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / f"{side}.jsonl").read_text().splitlines()]


def passes(completion: str, row: dict[str, Any]) -> bool:
    return run_tests(extract_code(completion) or "", Asserts(row["test_list"])).all_passed


def test_the_sides_are_disjoint_and_the_corpus_has_nothing_held_out() -> None:
    prepare, heldout = load(FOLDER / "prepare.py"), {row["prompt"] for row in rows("heldout")}
    assert not heldout & {row["prompt"] for row in rows("train")}
    assert not heldout & {row["prompt"] for row in prepare.corpus(1, 5000)}
    assert prepare.rows("heldout", 0, 500) == rows("heldout")


def test_the_answers_pass_their_tests_and_hasty_ones_mostly_do_not() -> None:
    prepare = load(FOLDER / "prepare.py")
    assert all(passes(row["answer"], row) for row in rows("heldout")[:40])
    rng = random.Random(0)
    problems = [prepare.draw(rng) for _ in range(40)]
    hasty = [passes(problem.program(careful=False), {"test_list": problem.tests}) for problem in problems]
    assert sum(hasty) < 4


def test_the_embedded_model_is_small() -> None:
    assert sum(path.stat().st_size for path in (FOLDER / "model").iterdir()) < 4 * 2**20


@pytest.mark.skipif("LLMRL_DATASETS" not in os.environ, reason="LLMRL_DATASETS does not say where the data sets are")
def test_mbpp_becomes_prompts_and_tests() -> None:
    prepare = load(ROOT / "data" / "mbpp" / "prepare.py")
    source = Path(os.environ["LLMRL_DATASETS"]) / "mbpp" / "mbpp.jsonl.gz"
    sides = prepare.split(prepare.load_rows(str(source)))
    assert {side: len(found) for side, found in sides.items()} == {"train": 474, "heldout": 500}
    row = sides["heldout"][0]
    assert row["test_list"][0] in row["prompt"]
    assert passes(f"```python\n{row['answer']}\n```", row)


@pytest.mark.slow
def test_the_recipe_learns(tmp_path: Path) -> None:
    out = tmp_path / "run"
    settings = {"train.steps": 12, "train.eval-every": 12, "train.eval-problems": 60, "train.output-dir": out}
    flags = [str(part) for name, value in settings.items() for part in (f"--{name}", value)]
    command = [sys.executable, str(ROOT / "recipes" / "grpo_code.py"), *flags]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "isolation level" in done.stdout
    summary = json.loads((out / "summary.json").read_text())
    assert summary["accuracy_after"] > summary["accuracy_before"]
