"""The recipe as a user starts it: real processes, a real model, the files it leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from safetensors.torch import load_file

STEPS = 6
TIMES = ("step_time", "time/", "tokens_per_second", "wall_s")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name, first in (("train", 0), ("heldout", 100)):
        rows = [
            {"id": f"{name}-{i}", "prompt": f"{i}+{i % 7}=", "answer": str(i + i % 7)} for i in range(first, first + 24)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "reward.py").write_text(
        "from llmrl.rewards import per_sample\n\n\n"
        "@per_sample\ndef digits(completion):\n"
        "    return sum(c.isdigit() for c in completion) / 12\n"
    )
    return folder


def command(model_dir: Path, data: Path, out: Path, *more: str) -> list[str]:
    settings = {
        "model.name": model_dir,
        "model.lora-rank": 4,
        "data.name": data / "train.jsonl",
        "data.heldout": data / "heldout.jsonl",
        "algorithm.group-size": 4,
        "sampling.max-tokens": 12,
        "train.output-dir": out,
        "train.steps": STEPS,
        "train.prompts-per-step": 4,
        "train.learning-rate": 0.01,
        "train.eval-every": 3,
        "train.eval-problems": 8,
        "train.save-every": 2,
    }
    config = out.parent / f"{out.name}.yaml"
    config.write_text(json.dumps({"rewards": {"functions": {f"{data / 'reward.py'}:digits": 1.0}}}))
    flags = [str(part) for name, value in settings.items() for part in (f"--{name}", value)]
    return [str(ROOT / "recipes" / "grpo_math.py"), str(config), *flags, *more]


def run(arguments: list[str], *launcher: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    start = [sys.executable, *launcher, *arguments]
    done = subprocess.run(start, cwd=ROOT, env=environment, text=True, capture_output=True, timeout=120)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def rows(out: Path, name: str = "metrics") -> list[dict[str, Any]]:
    lines = (out / f"{name}.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if not k.startswith(TIMES)} for line in lines]


def assert_same_run(one: Path, other: Path) -> None:
    """Equal bit for bit: metrics but for times, completions, and the final weights."""
    assert rows(one) == rows(other)
    assert rows(one, "completions") == rows(other, "completions")
    a, b = (load_file(folder / "final" / "adapter_model.safetensors") for folder in (one, other))
    assert a.keys() == b.keys()
    assert all(bool((a[name] == b[name]).all()) for name in a)


@pytest.fixture(scope="module")
def whole(model_dir: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    run(command(model_dir, data, out))
    return out


def test_what_a_run_leaves(whole: Path) -> None:
    summary = json.loads((whole / "summary.json").read_text())
    assert {"accuracy_before", "accuracy_after", "greedy_before", "greedy_after", "wall_s", "seed"} <= set(summary)
    assert summary["steps"] == STEPS
    assert summary["versions"]["torch"]
    metrics = rows(whole)
    assert [row["step"] for row in metrics] == list(range(1, STEPS + 1))
    assert metrics[0]["kl"] == 0
    assert metrics[-1]["kl"] > 0
    assert metrics[-1]["rewards/digits/mean"] > metrics[0]["rewards/digits/mean"]
    completions = rows(whole, "completions")
    assert len(completions) == STEPS * 16
    assert sum(row["tokens"] for row in completions) == sum(row["completions/total_tokens"] for row in metrics)
    assert (whole / "final" / "adapter_model.safetensors").exists()
    assert (whole / "best" / "adapter_model.safetensors").exists()
    assert sorted(p.name for p in (whole / "checkpoints").iterdir()) == ["step-000004", "step-000006"]


@pytest.mark.slow
def test_a_finished_run_says_so_and_a_started_one_is_not_overwritten(whole: Path, model_dir: Path, data: Path) -> None:
    again = run(command(model_dir, data, whole, "--train.resume", "auto"))
    assert "already finished" in again.stdout
    refused = run(command(model_dir, data, whole), check=False)
    assert refused.returncode == 2
    assert "already holds a run" in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr


def test_a_run_is_reproducible(whole: Path, model_dir: Path, data: Path, tmp_path: Path) -> None:
    run(command(model_dir, data, tmp_path / "again"))
    assert_same_run(whole, tmp_path / "again")


def test_ctrl_c_saves_and_says_how_to_go_on(whole: Path, model_dir: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "stopped"
    arguments = command(model_dir, data, out, "--train.resume", "auto")
    with start(arguments) as process:
        wait_for_step(out, 1)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--train.resume auto" in output
    run(arguments)
    assert_same_run(whole, out)


@pytest.mark.slow
def test_resuming_with_other_settings_is_refused(whole: Path, model_dir: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "other"
    arguments = command(model_dir, data, out, "--train.resume", "auto")
    with start(arguments) as process:
        wait_for_step(out, 1)
        process.kill()
    refused = run([*arguments, "--algorithm.clip-eps", "0.1"], check=False)
    assert refused.returncode == 2
    assert "algorithm.clip_eps" in refused.stderr.splitlines()[-1]


def kill_and_resume(arguments: list[str], out: Path, ready: Any) -> None:
    """kill -9 once ``ready`` says so, then resume to the end."""
    with start(arguments) as process:
        while process.poll() is None and not ready():
            time.sleep(0.002)
        process.kill()
    run(arguments)


def test_kill_9_and_resume_is_the_uninterrupted_run(whole: Path, model_dir: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    arguments = command(model_dir, data, out, "--train.resume", "auto")
    kill_and_resume(arguments, out, lambda: (out / "metrics.jsonl").exists() and len(rows(out)) >= 3)
    assert_same_run(whole, out)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_kill_9_at_many_moments(model_dir: Path, data: Path, tmp_path: Path, seed: int) -> None:
    """Before the first step, in the middle of a checkpoint's writing, between two, and twice in one run."""
    options = ("--train.seed", str(seed), "--train.resume", "auto")
    run(command(model_dir, data, tmp_path / "whole", *options))

    def written(out: Path) -> int:
        file = out / "metrics.jsonl"
        return file.read_text().count("\n") if file.exists() else 0

    moments = {
        "start": lambda out: (out / "config.yaml").exists(),
        "checkpoint": lambda out: written(out) >= 2 and any(out.glob("checkpoints/.partial-*")),
        "between": lambda out: written(out) >= 3,
        "best": lambda out: (out / ".partial-best").exists(),
        "late": lambda out: written(out) >= 5,
    }
    for name, ready in moments.items():
        out = tmp_path / name
        arguments = command(model_dir, data, out, *options)
        kill_and_resume(arguments, out, lambda ready=ready, out=out: ready(out))
        assert_same_run(tmp_path / "whole", out)
    twice = tmp_path / "twice"
    arguments = command(model_dir, data, twice, *options)
    with start(arguments) as process:
        while process.poll() is None and written(twice) < 2:
            time.sleep(0.002)
        process.kill()
    kill_and_resume(arguments, twice, lambda: written(twice) >= 5)
    assert_same_run(tmp_path / "whole", twice)


def start(arguments: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def wait_for_step(out: Path, step: int) -> None:
    deadline = time.monotonic() + 60
    while not (out / "metrics.jsonl").exists() or len(rows(out)) < step:
        assert time.monotonic() < deadline
        time.sleep(0.01)
