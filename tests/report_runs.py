"""Run folders as the trainer leaves them, written by what the trainer writes them with."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from llmrl.algorithms.grpo import GRPO
from llmrl.config import to_dict
from llmrl.metrics import JsonLines, completion_rows
from llmrl.trainers.config import LanguageConfig, TrainConfig
from llmrl.types import Completion, Group, Prompt, RewardFailure

GROUP = 4


def make_run(folder: Path, *, steps: int = 12, seed: int = 0, kl_coef: float = 0.0, planned: int | None = None) -> Path:
    """A run of ``steps`` steps with one group of four completions each, the last of every tenth step's failed.

    With more steps ``planned`` it is still under way.
    """
    folder.mkdir(parents=True)
    train = TrainConfig(steps=planned or steps, seed=seed, output_dir=str(folder), eval_every=5)
    config = LanguageConfig(train=train, algorithm=replace(GRPO(), kl_coef=kl_coef))
    (folder / "config.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(to_dict(config)))))
    JsonLines(folder / "metrics.jsonl").write([metrics(step, seed) for step in range(1, steps + 1)])
    completions = JsonLines(folder / "completions.jsonl")
    for step in range(1, steps + 1):
        completions.write(completion_rows([group(step)], step, [0.25 * (step + i) for i in range(GROUP)]))
    if steps == train.steps:
        finish(folder, seed, steps)
    return folder


def metrics(step: int, seed: int) -> dict[str, Any]:
    """A step's line; ``reward`` is the seed plus the step over 100, ``loss`` has one peak at step 7."""
    line = {
        "step": step,
        "loss": 9.0 if step == 7 else 0.5,
        "reward": seed + step / 100,
        "kl": math.sin(step) ** 2,
        "learning_rate": 1e-3,
        "num_tokens": 100 * step,
        "step_time": 2.0,
    }
    return line | ({"eval_accuracy": step / 100} if step % 5 == 0 else {})


def group(step: int) -> Group:
    """Four answers to one question; the rewards are 0, 1/3, 2/3 and 1, or failed."""
    rewards = [i / (GROUP - 1) for i in range(GROUP)]
    failures: tuple[RewardFailure, ...] = ()
    if step % 10 == 0:
        rewards[-1] = math.nan
        failures = (RewardFailure("correct", f"p{step}", GROUP - 1, "TimeLimit: after 1 s", ""),)
    return Group(
        prompt=Prompt(id=f"p{step}", content=f"What is {step} + 1?", answer=str(step + 1)),
        prompt_tokens=[1, 2],
        completions=tuple(completion(f"answer {i} at step {step}") for i in range(GROUP)),
        rewards=tuple(rewards),
        parts={"correct": tuple(rewards), "short": (0.5,) * GROUP},
        failures=failures,
    )


def completion(text: str) -> Completion:
    size = len(text.split())
    return Completion([1] * size, [-1.0] * size, [True] * size, text, "stop", [0] * size)


def finish(folder: Path, seed: int, steps: int) -> None:
    summary = {"seed": seed, "steps": steps, "accuracy_before": 0.25, "accuracy_after": 0.75 + seed / 100}
    summary |= {"greedy_before": 0.5, "greedy_after": 0.875, "wall_s": 2.5 * steps, "versions": {"torch": "2.13"}}
    (folder / "summary.json").write_text(json.dumps(summary))
