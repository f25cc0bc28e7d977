"""Supervised fine-tuning on prompt and completion pairs, with the update that reinforcement learning uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

import llmrl.functional as F
from llmrl import checkpoint, distributed
from llmrl.algorithms.sft import SFT
from llmrl.policies.causal_lm import CausalPolicy
from llmrl.policies.loading import ModelConfig, load_tokenizer
from llmrl.prompts import DataConfig, PromptStream, fit_prompts, load_problems, make_encoder
from llmrl.trainers import batching, state
from llmrl.trainers.config import TrainConfig
from llmrl.trainers.loop import Loop
from llmrl.trainers.run import Clock, RunFolder, default_output_dir, say
from llmrl.trainers.stepper import AccelerateStepper, make_accelerator
from llmrl.trainers.trackers import check_trackers
from llmrl.trainers.update import UpdateMetrics, in_micro_batches, update
from llmrl.types import Batch, Completion, Experience, Group, Prompt

Encode = Callable[[Prompt], list[int]]


@dataclass(frozen=True)
class SupervisedConfig:
    """A supervised recipe; ``data.answer_column`` names the column of the completion."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=lambda: DataConfig(answer_column="completion"))
    train: TrainConfig = field(default_factory=TrainConfig)


class SupervisedTrainer:
    """One step of maximum likelihood on completions; ``prompts_per_step`` counts rows."""

    def __init__(
        self,
        policy: CausalPolicy,
        stepper: AccelerateStepper,
        encode: Encode,
        rows: Sequence[Prompt],
        heldout: Sequence[Prompt],
        train: TrainConfig,
    ) -> None:
        self.policy, self.stepper, self.encode, self.config = policy, stepper, encode, train
        self.algorithm = SFT()
        self.stream = PromptStream(rows, train.seed)
        self.heldout = heldout[: train.eval_problems]
        self.num_tokens = 0

    def train_step(self, step: int) -> dict[str, float]:
        """One optimizer step on the next rows."""
        clock, totals = Clock(), UpdateMetrics()
        with clock("update"):
            rows = distributed.share(self.stream.take(self.config.prompts_per_step))
            batch = self.batch(rows)
            update(
                [batch],
                self.algorithm.loss,
                self.stepper,
                totals,
                micro_batch_tokens=self.config.micro_batch_tokens,
            )
            metrics = totals.result()
        tokens = distributed.all_sum([float(batch.inputs.attention_mask.sum())])[0]
        self.num_tokens += int(tokens)
        metrics |= {
            "learning_rate": self.stepper.learning_rate,
            "epoch": self.stream.epoch,
            "num_tokens": self.num_tokens,
            **clock.result(),
        }
        return metrics | {"tokens_per_second": tokens / metrics["step_time"]}

    def batch(self, rows: Sequence[Prompt]) -> Batch:
        """Right-padded rows whose weights make the loss a mean over all completion tokens of the step."""
        groups = sorted(map(self._group, rows), key=_length)  # rows of one length share a micro-batch
        inputs = batching.token_inputs(groups, self.policy.device)
        mask = batching.spread(groups, [group.completions[0].mask for group in groups], inputs).bool()
        tokens = distributed.all_sum([float(mask.sum())])[0]
        counts = F.Counts(rows=len(rows), tokens=tokens, groups=len(rows), max_tokens=mask.shape[1])
        weights = F.token_mean(mask, inputs.prefix_id, counts)
        return Batch(inputs, Experience(mask=mask, advantages=torch.zeros_like(weights), weights=weights))

    @torch.no_grad()
    def evaluate(self, *, full: bool) -> dict[str, float]:
        """Mean negative log-likelihood a token of the held-out completions, in nats."""
        rows = distributed.share(self.heldout)
        if not self.heldout:
            return {}
        batch = self.batch(rows)
        logprobs = in_micro_batches(
            lambda part: self.stepper.forward(part).logprobs, batch.inputs, self.config.micro_batch_tokens
        )
        local = F.masked_sum(batch.experience.weights * -logprobs, batch.experience.mask)
        return {"nll": distributed.all_sum([float(local)])[0]}

    def save(self, folder: Path) -> None:
        """Weights, optimizer, schedule, cursor and every rank's generators."""
        own = {"cursor": self.stream.cursor, "num_tokens": self.num_tokens}
        state.save(folder, self.policy, self.stepper, own, {})

    def load(self, folder: Path) -> None:
        """Restore what ``save`` wrote."""
        own, _ = state.load(folder, self.policy, self.stepper)
        self.stream.cursor, self.num_tokens = own["cursor"], own["num_tokens"]

    def save_model(self, folder: Path) -> None:
        """The adapter or the model, with its tokenizer."""
        self.policy.save(folder)

    def _group(self, row: Prompt) -> Group:
        tokenizer = self.policy.tokenizer
        tokens = [*tokenizer.encode(row.answer, add_special_tokens=False), tokenizer.eos_token_id]
        size = len(tokens)
        completion = Completion(tokens, [0.0] * size, [True] * size, str(row.answer), "stop", [0] * size)
        return Group(row, self.encode(row), (completion,))


def _length(group: Group) -> int:
    return len(group.prompt_tokens) + len(group.completions[0].tokens)


def run_supervised(config: SupervisedConfig, recipe: str) -> dict[str, Any]:
    """Fine-tune as configured, or say that it is done; returns the summary."""
    accelerator = make_accelerator()
    run = RunFolder(Path(config.train.output_dir or default_output_dir(recipe)))
    run.check(asdict(config), resume=config.train.resume == "auto")
    if run.finished:
        say(f"{run.path} is already finished; its result is in {run.path / 'final'}")
        return checkpoint.read_json(run.summary)
    check_trackers(config.train.trackers)
    rows, heldout, unanswered = load_problems(config.data)
    encode = make_encoder(load_tokenizer(config.model.name), config.data)
    rows, dropped = fit_prompts(rows, encode, config.data)
    heldout, _ = fit_prompts(heldout, encode, config.data)
    for count, why in ((unanswered, "without a completion"), (dropped, "with too long a prompt")):
        if count:
            say(f"left out {count} rows {why}")
    policy = CausalPolicy.from_pretrained(config.model, seed=config.train.seed).to(accelerator.device)
    stepper = AccelerateStepper(accelerator, policy, config.train, config.train.steps)
    trainer = SupervisedTrainer(policy, stepper, encode, rows, heldout, config.train)
    return Loop(trainer, run, config.train, asdict(config))()
