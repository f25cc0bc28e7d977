"""The six sections of a language recipe's configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from llmrl.algorithms.grpo import GRPO
from llmrl.policies.loading import ModelConfig
from llmrl.prompts import DataConfig
from llmrl.trainers.optim import OptimConfig
from llmrl.types import SamplingSpec


@dataclass(frozen=True)
class RewardsConfig:
    """What completions are worth."""

    functions: Mapping[str, float] = field(default_factory=lambda: {"rewards/math_answer.py:correct": 1.0})
    """Reward functions, `path/to/file.py:name` or `package.module:name`, each with its weight."""
    accuracy: str | None = None
    """Name of the reward whose mean is reported as accuracy; unset: the first one."""
    timeout_s: float = 30.0
    """Longest time a call of a reward function may take before it is killed."""
    max_failure_share: float = 0.05
    """Share of failed rewards in a step past which the run stops."""
    workers: int = 1
    """Worker processes that run the reward functions, on each rank."""
    worker_memory_mb: float = 2048.0
    """A worker that has grown beyond this is replaced before its next call."""

    def __post_init__(self) -> None:
        if not self.functions:
            raise ValueError("functions names no reward")
        if self.timeout_s <= 0 or self.worker_memory_mb <= 0 or self.workers < 1:
            raise ValueError("timeout_s and worker_memory_mb must be above 0, workers at least 1")
        if not 0 <= self.max_failure_share <= 1:
            raise ValueError("max_failure_share must be between 0 and 1")


@dataclass(frozen=True)
class SamplingConfig:
    """How completions are drawn."""

    max_tokens: int = 256
    """Longest completion in tokens."""
    temperature: float = 1.0
    """Sampling temperature; the trainer's log-probs are of the same distribution."""
    top_p: float = 1.0
    """Only 1: the trainer scores the whole distribution, so sampling a part of it would bias every ratio."""
    max_rows: int = 512
    """Completions generated at once by the embedded sampler."""

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise ValueError("temperature must be above 0 to train: greedy completions have no spread to learn from")
        if self.top_p != 1:
            raise ValueError(
                f"top_p must be 1 to train, not {self.top_p:g}: the trainer cannot score a truncated distribution"
            )
        if self.max_tokens < 1 or self.max_rows < 1:
            raise ValueError("max_tokens and max_rows must be at least 1")

    @property
    def spec(self) -> SamplingSpec:
        """The distribution that training samples from."""
        return SamplingSpec(max_tokens=self.max_tokens, temperature=self.temperature)

    @property
    def greedy(self) -> SamplingSpec:
        """The most likely completion, for evaluation."""
        return SamplingSpec(max_tokens=self.max_tokens, temperature=0.0)


@dataclass(frozen=True)
class TrainConfig(OptimConfig):
    """How long, how much at once, and what is kept."""

    output_dir: str | None = None
    """The run's folder; unset: runs/<recipe>-<time>."""
    steps: int = 100
    """Training steps: one batch of prompts sampled, scored and trained on each."""
    prompts_per_step: int = 8
    """Prompts of a step over all ranks; each is answered group_size times."""
    minibatches: int = 1
    """Optimizer steps that a step's prompts are divided into."""
    micro_batch_tokens: int = 16384
    """Padded tokens of one forward and backward pass; changes memory and speed, never the gradient."""
    eval_every: int = 50
    """Steps between evaluations on the held-out problems; 0: only before and after."""
    eval_problems: int = 500
    """Held-out problems of an evaluation."""
    save_every: int = 50
    """Steps between checkpoints; 0: only at the end."""
    keep_last: int = 2
    """Checkpoints that are kept."""
    resume: Literal["no", "auto"] = "no"
    """auto continues the run in output_dir from its newest checkpoint, or starts it."""
    completions: Literal["jsonl", "parquet", "none"] = "jsonl"
    """Every completion in completions.jsonl; with parquet, turned into completions.parquet at the end."""
    trackers: tuple[str, ...] = ("tensorboard",)
    """Where metrics go beside the run's own files: tensorboard, wandb, trackio and accelerate's other trackers."""
    show_every: int = 20
    """Steps between completions shown on the terminal; 0: none."""
    seed: int = 0
    """Seed of everything that is random."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or self.prompts_per_step < 1 or self.keep_last < 1 or self.eval_problems < 1:
            raise ValueError("steps, prompts_per_step, keep_last and eval_problems must be at least 1")
        if self.seed < 0:
            raise ValueError("seed must be at least 0")
        if self.minibatches < 1 or self.micro_batch_tokens < 1:
            raise ValueError("minibatches and micro_batch_tokens must be at least 1")
        if self.prompts_per_step % self.minibatches:
            raise ValueError(
                f"prompts_per_step {self.prompts_per_step} is not a multiple of minibatches {self.minibatches}"
            )
        if self.resume == "auto" and self.output_dir is None:
            raise ValueError("resume auto needs output_dir: the folder of the run to continue")


@dataclass(frozen=True)
class LanguageConfig:
    """A language recipe."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    rewards: RewardsConfig = field(default_factory=RewardsConfig)
    algorithm: GRPO = field(default_factory=GRPO)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
