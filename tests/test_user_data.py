"""The recipes on real problems and on files of a user's own, from chat template to update, with the embedded model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas
import pytest
from conftest import ROOT

DATASETS = os.environ.get("LLMRL_DATASETS", "")
needs_datasets = pytest.mark.skipif(not DATASETS, reason="LLMRL_DATASETS names no folder of real data sets")
CASES = {
    "gsm8k": ("gsm8k_qwen", "gsm8k/train.jsonl.gz", []),
    "math": ("math_qwen", "math/math_train_answers.jsonl.gz", ["--data.prompt-column", "problem"]),
    "math-500": ("math_qwen", "math/math500_test.jsonl.gz", []),
    "svamp": ("gsm8k_qwen", "svamp/svamp.jsonl.gz", []),
    "mawps": ("gsm8k_qwen", "mawps/mawps.jsonl.gz", []),
}


def train(config: str, data: str, out: Path, *more: str) -> list[dict[str, Any]]:
    """Two steps through the launcher; returns the completions."""
    settings = {
        "model.name": "data/arithmetic/model",
        "data.name": data,
        "data.max-prompt-tokens": "400",
        "sampling.max-tokens": "24",
        "train.steps": "2",
        "train.prompts-per-step": "4",
        "train.eval-problems": "8",
        "train.output-dir": str(out),
    }
    options = [part for key, value in settings.items() for part in (f"--{key}", value)]
    launch = [str(Path(sys.executable).parent / "accelerate"), "launch", "recipes/grpo_math.py"]
    command = [*launch, f"recipes/configs/{config}.yaml", *options, *more]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((out / "summary.json").read_text())["steps"] == 2
    return [json.loads(line) for line in (out / "completions.jsonl").read_text().splitlines()]


@needs_datasets
@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_real_problems(name: str, tmp_path: Path) -> None:
    config, file, more = CASES[name]
    rows = train(config, f"{DATASETS}/{file}", tmp_path / "run", *more)
    assert len(rows) == 2 * 4 * 8
    assert all(row["reward"] is not None and not row["failures"] for row in rows)
    assert all(row["answer"] and "\n" not in row["answer"].strip() for row in rows)
    assert len({row["prompt"] for row in rows}) == 8


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_a_file_of_the_users_own(kind: str, tmp_path: Path) -> None:
    frame = pandas.DataFrame(
        {"question": [f"What is {i} + {i % 9}?" for i in range(60)], "answer": [str(i + i % 9) for i in range(60)]}
    )
    file = tmp_path / f"mine.{kind}"
    if kind == "jsonl":
        frame.to_json(file, orient="records", lines=True)
    else:
        getattr(frame, f"to_{kind}")(file, index=False)
    rows = train("gsm8k_qwen", str(file), tmp_path / "run", "--data.system", "None")
    assert any(row["rewards/correct"] for row in rows), "the embedded model can add"
    assert all(str(eval(row["prompt"][8:-1])) == row["answer"] for row in rows)
