"""One process and two: the same gradients on the same completions, the same run end to end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from test_recipe import command, data, rows  # noqa: F401

SCRIPT = Path(__file__).with_name("gradients_of_a_rank.py")
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
"""accelerate's own launcher starts a single process on a CPU, however many are asked for."""


def launch(processes: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    start = [*LAUNCH, str(processes), *arguments]
    done = subprocess.run(start, cwd=ROOT, env=environment, text=True, capture_output=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_gradients_of_two_ranks_with_unequal_token_counts_are_those_of_one(model_dir: Path, tmp_path: Path) -> None:
    for name, processes, tokens in (("one", 1, 10_000), ("two", 2, 40)):
        launch(processes, str(SCRIPT), str(model_dir), str(tmp_path / f"{name}.pt"), str(tokens))
    one, two = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("one", "two"))
    assert [found.pop("processes") for found in (one, two)] == [1, 2]
    for method in one:
        torch.testing.assert_close(two[method]["gradients"], one[method]["gradients"], rtol=1e-9, atol=1e-12)
        assert one[method]["gradients"].norm() > 0
        for name, value in one[method]["metrics"].items():
            assert two[method]["metrics"][name] == pytest.approx(value, rel=1e-6, abs=1e-12), (method, name)


@pytest.mark.slow
def test_a_run_of_two_processes_is_the_run_of_one(model_dir: Path, data: Path, tmp_path: Path) -> None:  # noqa: F811
    """The same completions, and metrics equal but for the order of sums."""
    for processes in (1, 2):
        launch(processes, *command(model_dir, data, tmp_path / str(processes)))
    assert json.loads((tmp_path / "2" / "summary.json").read_text())["processes"] == 2
    one, two = rows(tmp_path / "1"), rows(tmp_path / "2")
    first = [
        sorted(
            (r["prompt_id"], r["sample"], r["completion"])
            for r in rows(tmp_path / str(n), "completions")
            if r["step"] == 1
        )
        for n in (1, 2)
    ]
    assert first[0] == first[1]
    for a, b in zip(one, two, strict=True):
        for name in ("reward", "num_tokens", "completions/mean_length", "kl", "loss", "grad_norm"):
            assert b[name] == pytest.approx(a[name], rel=2e-3, abs=1e-5), (a["step"], name)
