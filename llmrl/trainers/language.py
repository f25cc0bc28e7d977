"""Reinforcement learning of a language model: sample, score, assemble, update, sync."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import llmrl.functional as F
from llmrl import distributed
from llmrl.algorithms.grpo import GRPO
from llmrl.errors import UserError
from llmrl.metrics import (
    JsonLines,
    completion_metrics,
    completion_rows,
    first_batch_warnings,
    token_count,
)
from llmrl.policies.causal_lm import CausalPolicy
from llmrl.policies.reference import make_reference
from llmrl.prompts import PromptStream
from llmrl.samplers.base import Sampler
from llmrl.scoring import Scorer, reward_metrics
from llmrl.trainers import batching, state
from llmrl.trainers.config import SamplingConfig, TrainConfig
from llmrl.trainers.evaluate import Evaluator
from llmrl.trainers.run import Clock, say, show
from llmrl.trainers.stepper import AccelerateStepper
from llmrl.trainers.update import UpdateMetrics, in_micro_batches, update
from llmrl.types import Batch, Completion, Experience, Group, Prompt, SamplingSpec, TokenInputs


class LanguageTrainer:
    """One training step, and what must be saved of it; ``Loop`` repeats it."""

    def __init__(
        self,
        *,
        policy: CausalPolicy,
        sampler: Sampler,
        scorer: Scorer,
        stepper: AccelerateStepper,
        prompts: Sequence[Prompt],
        heldout: Sequence[Prompt],
        algorithm: GRPO,
        sampling: SamplingConfig,
        train: TrainConfig,
        accuracy: str,
        completions: JsonLines,
    ) -> None:
        self.policy, self.sampler, self.scorer, self.stepper = policy, sampler, scorer, stepper
        self.algorithm, self.sampling, self.config = algorithm, sampling, train
        self.accuracy = accuracy
        self.completions = completions
        self.stream = PromptStream(prompts, train.seed)
        self.evaluator = Evaluator(sampler, heldout[: train.eval_problems], scorer, accuracy, f"{train.seed}")
        self.reference = make_reference(policy, stepper.forward) if algorithm.needs_reference else None
        self.kl_coef = algorithm.kl_coef
        self.num_tokens = 0

    def train_step(self, step: int) -> dict[str, float]:
        """One batch of prompts: sampled, scored, trained on."""
        clock = Clock()
        groups, dropped = self.collect(step, clock)
        with clock("update"):
            minibatches, totals, advantages = self.assemble(groups)
            update(
                minibatches,
                lambda output, experience: self.algorithm.loss(output, experience, self.kl_coef),
                self.stepper,
                totals,
                micro_batch_tokens=self.config.micro_batch_tokens,
                num_iterations=self.algorithm.num_iterations,
                ref_logprobs=self.reference.logprobs if self.reference and self._kl_in_loss else None,
            )
            updated = totals.result()
        with clock("sync"):
            self.policy.version += 1
            self.sampler.sync()
        metrics = {**updated, **self._record(step, groups, dropped, advantages), **clock.result()}
        metrics["tokens_per_second"] = metrics["completions/total_tokens"] / metrics["step_time"]
        self._adapt(step, metrics)
        return metrics

    def collect(self, step: int, clock: Clock) -> tuple[list[Group], list[Group]]:
        """This rank's scored groups, and those that dynamic sampling replaced for want of spread."""
        dropped: list[Group] = []
        mine = distributed.share(self.stream.take(self.config.prompts_per_step))
        groups = self._sample(mine, step, clock)
        for _ in range(self.algorithm.dynamic_rounds):
            flat = [i for i, group in enumerate(groups) if not has_spread(group)]
            missing = distributed.gather([len(flat)])
            if not sum(missing):
                break
            fresh, start = self.stream.take(sum(missing)), sum(missing[: distributed.rank()])
            dropped += [groups[i] for i in flat]
            replacements = self._sample(fresh[start : start + len(flat)], step, clock) if flat else []
            for i, group in zip(flat, replacements, strict=True):
                groups[i] = group
        return groups, dropped

    def assemble(self, groups: Sequence[Group]) -> tuple[list[Batch], UpdateMetrics, Tensor]:
        """The minibatches, what is known before the update, and the advantages ``[B, T]``."""
        inputs = batching.token_inputs(groups, self.policy.device)
        mask = batching.chosen_mask(groups, self.algorithm, inputs)
        behaviour = batching.spread(groups, [c.logprobs for g in groups for c in g.completions], inputs)
        totals, penalty = UpdateMetrics(), None
        if self.reference is not None and not self._kl_in_loss:
            ref = in_micro_batches(self.reference.logprobs, inputs, self.config.micro_batch_tokens)
            penalty = self.kl_coef * self.algorithm.kl_penalty(behaviour, ref)
            totals.note("kl", F.kl_k3(behaviour, ref), mask, self.algorithm.num_iterations)
        advantages = batching.token_advantages(groups, self.algorithm, mask, inputs, penalty)
        experience = Experience(
            mask=mask,
            advantages=advantages,
            weights=torch.zeros_like(advantages),
            old_logprobs=self._old_logprobs(inputs) if self.config.minibatches > 1 else None,
            behaviour_logprobs=behaviour,
        )
        group_id = batching.group_ids(groups).to(mask.device)
        minibatches = batching.minibatches(
            Batch(inputs, experience),
            group_id,
            self.algorithm,
            self.config.minibatches,
            self.sampling.max_tokens,
        )
        if not self.algorithm.needs_every_row:
            minibatches, idle = batching.drop_idle(minibatches)
            totals.count_idle(idle, self.algorithm.num_iterations)
        return minibatches, totals, advantages

    def evaluate(self, *, full: bool) -> dict[str, float]:
        """Held-out accuracy at the training temperature, and greedy where ``full``."""
        if not self.evaluator.prompts:
            return {}
        measured = {"accuracy": self.evaluator(self.sampling.spec)}
        return measured | ({"greedy": self.evaluator(self.sampling.greedy)} if full else {})

    def save(self, folder: Path) -> None:
        """Weights, optimizer, schedule, reference, cursor, coefficients, and every rank's generators."""
        own = {"cursor": self.stream.cursor, "kl_coef": self.kl_coef, "num_tokens": self.num_tokens}
        reference = self.reference.state_dict() if self.reference else {}
        state.save(folder, self.policy, self.stepper, own, reference)

    def load(self, folder: Path) -> None:
        """Restore what ``save`` wrote."""
        own, reference = state.load(folder, self.policy, self.stepper)
        self.stream.cursor, self.kl_coef, self.num_tokens = own["cursor"], own["kl_coef"], own["num_tokens"]
        self.policy.version = own["version"]
        if self.reference:
            self.reference.load_state_dict(reference)

    def save_model(self, folder: Path) -> None:
        """The adapter or the model, with its tokenizer."""
        self.policy.save(folder)

    @property
    def _kl_in_loss(self) -> bool:
        return self.algorithm.kl_in == "loss"

    def _sample(self, prompts: Sequence[Prompt], step: int, clock: Clock) -> list[Group]:
        seed = f"{self.config.seed}/train/{step}"
        groups = self._scored(prompts, self.algorithm.group_size, self.sampling.spec, seed, clock)
        if self.algorithm.baseline == "none":
            return groups
        greedy = self._scored(prompts, 1, self.sampling.greedy, seed, clock)
        return [replace(group, baseline=one.rewards[0]) for group, one in zip(groups, greedy, strict=True)]

    def _scored(self, prompts: Sequence[Prompt], n: int, spec: SamplingSpec, seed: str, clock: Clock) -> list[Group]:
        scoring = self.scorer.start()
        with clock("sample"):
            for groups in self.sampler.stream(prompts, n, spec, seed):
                scoring.add(groups)
        with clock("score"):
            return batching.penalise_overlong(scoring.result(), self.algorithm, self.sampling.max_tokens)

    @torch.no_grad()
    def _old_logprobs(self, inputs: TokenInputs) -> Tensor:
        def score(part: TokenInputs) -> Tensor:
            return self.stepper.forward(part).logprobs

        return in_micro_batches(score, inputs, self.config.micro_batch_tokens)

    def _record(
        self, step: int, groups: Sequence[Group], dropped: Sequence[Group], advantages: Tensor
    ) -> dict[str, float]:
        """Write the completions and measure them, over all ranks."""
        everyone, left_out = distributed.gather(groups), distributed.gather(dropped)
        per_row = distributed.gather(batching.row_means(advantages, groups))
        self.num_tokens += token_count([*everyone, *left_out])
        if distributed.is_main():
            if self.config.completions != "none":
                self.completions.write(completion_rows(everyone, step, per_row))
                self.completions.write(completion_rows(left_out, step, None))
            if self.config.show_every and step % self.config.show_every == 0:
                show(everyone)
        rewards = reward_metrics(everyone)
        metrics = {
            **rewards,
            **completion_metrics(everyone),
            "accuracy": rewards[f"rewards/{self.accuracy}/mean"],
            "learning_rate": self.stepper.learning_rate,
            "kl_coef": self.kl_coef,
            "epoch": self.stream.epoch,
            "num_tokens": self.num_tokens,
            "dynamic/dropped_groups": len(left_out),
        }
        if step == 1:
            for warning in first_batch_warnings(metrics):
                say(f"warning: {warning}")
        return metrics

    def _adapt(self, step: int, metrics: Mapping[str, float]) -> None:
        """Move the KL coefficient and the reference where the algorithm says so."""
        if self.reference is None:
            return
        samples = self.config.prompts_per_step * self.algorithm.group_size
        self.kl_coef = self.algorithm.next_kl_coef(self.kl_coef, metrics["kl"], samples)
        if self.algorithm.ref_refresh_every and step % self.algorithm.ref_refresh_every == 0:
            self.reference.refresh()


def has_spread(group: Group) -> bool:
    """Whether the valid rewards of a group differ, so that it can teach something."""
    return len({reward for reward in group.rewards if reward == reward}) > 1


def token_ends(tokenizer: Any, completion: Completion) -> list[int]:
    """For each token of a completion, the character of its text where the token ends."""
    prefixes = [completion.tokens[: i + 1] for i in range(len(completion.tokens))]
    return [len(text) for text in tokenizer.batch_decode(prefixes, skip_special_tokens=True)]


def check_division(train: TrainConfig) -> None:
    """Raise UserError where the prompts of a step cannot be dealt out evenly."""
    parts = train.minibatches * distributed.world_size()
    if train.prompts_per_step % parts:
        raise UserError(
            f"train.prompts_per_step={train.prompts_per_step} must be a multiple of train.minibatches x processes = "
            f"{train.minibatches} x {distributed.world_size()} = {parts}"
        )
