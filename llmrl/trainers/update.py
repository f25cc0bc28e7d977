"""The update that every trainer shares: epochs x minibatches x micro-batches, then clip and step.

A micro-batch is a token budget. The weights of the loss are fixed for a whole optimizer step before it is cut
up, so that gradients do not depend on the cut nor on the number of ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from llmrl import distributed
from llmrl.functional import masked_sum
from llmrl.types import Batch, Experience, PolicyOutput, TokenInputs

Loss = Callable[[PolicyOutput, Experience], tuple[Tensor, dict[str, Tensor]]]


class Stepper(Protocol):
    """What an update needs of the machinery around the policy."""

    def accumulate(self, *, last: bool) -> AbstractContextManager[Any]:
        """Around one micro-batch's forward and backward pass; ``last`` closes the optimizer step."""
        ...

    def forward(self, inputs: TokenInputs) -> PolicyOutput:
        """The policy's output, with gradient."""
        ...

    def backward(self, loss: Tensor) -> None:
        """Add this micro-batch's gradient."""
        ...

    def step(self) -> float:
        """Clip, step, clear; returns the gradient's norm before clipping."""
        ...


@dataclass
class UpdateMetrics:
    """Sums over chosen tokens of this rank, and one entry an optimizer step."""

    sums: dict[str, Tensor | float] = field(default_factory=dict)
    tokens: Tensor | float = 0.0
    losses: list[Tensor] = field(default_factory=list)
    grad_norms: list[float] = field(default_factory=list)

    def add(self, sums: Mapping[str, Tensor], tokens: Tensor) -> None:
        """Count one micro-batch: sums over its chosen tokens, and how many those are."""
        self.tokens = self.tokens + tokens.detach()
        for name, value in sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.detach()

    def note(self, name: str, values: Tensor, mask: Tensor, times: int) -> None:
        """Log the mean of ``[B, T]`` values whose tokens the update will count, ``times`` over."""
        self.sums[name] = self.sums.get(name, 0.0) + times * masked_sum(values, mask)

    def count_idle(self, idle: Sequence[Batch], times: int) -> None:
        """Count rows that the update leaves out: their entropy is -log π(token) on average, at no cost."""
        for batch in idle:
            experience = batch.experience
            if experience.behaviour_logprobs is not None:
                surprise = masked_sum(-experience.behaviour_logprobs, experience.mask)
                self.add({"entropy": times * surprise}, times * experience.mask.sum())

    def result(self) -> dict[str, float]:
        """Means over all ranks' chosen tokens, the mean loss and gradient norm of the optimizer steps."""
        names = sorted(set(distributed.gather(list(self.sums))))
        local = [*(self.sums.get(n, 0.0) for n in names), self.tokens, *self.losses]
        totals = distributed.all_sum([float(value) for value in local])
        tokens = max(totals[len(names)], 1.0)
        losses = totals[len(names) + 1 :]
        return {
            "loss": sum(losses) / len(losses),
            "grad_norm": sum(self.grad_norms) / len(self.grad_norms),
            **{name: total / tokens for name, total in zip(names, totals[: len(names)], strict=True)},
        }


def update(
    minibatches: Sequence[Batch],
    loss: Loss,
    stepper: Stepper,
    metrics: UpdateMetrics,
    *,
    micro_batch_tokens: int,
    num_iterations: int = 1,
    ref_logprobs: Callable[[TokenInputs], Tensor] | None = None,
) -> None:
    """Train on each minibatch in turn, ``num_iterations`` times over, one optimizer step a minibatch.

    The first pass over a micro-batch keeps what later ones need: the reference's log-probs, and the policy's own
    where the batch has no ``old_logprobs`` (it is then on-policy).
    """
    plan = [micro_batches(batch, micro_batch_tokens) for batch in minibatches]
    for iteration in range(num_iterations):
        for micros in plan:
            losses = []
            for i, micro in enumerate(micros):
                if iteration == 0 and ref_logprobs is not None:
                    micro = _with(micro, ref_logprobs=ref_logprobs(micro.inputs))
                with stepper.accumulate(last=i == len(micros) - 1):
                    output = stepper.forward(micro.inputs)
                    if iteration == 0 and micro.experience.old_logprobs is None:
                        micro = _with(micro, old_logprobs=output.logprobs.detach())
                    value, sums = loss(output, micro.experience)
                    stepper.backward(value)
                micros[i] = micro
                losses.append(value.detach())
                metrics.add(sums, micro.experience.mask.sum())
            metrics.losses.append(torch.stack(losses).sum())
            metrics.grad_norms.append(stepper.step())


def in_micro_batches(score: Callable[[TokenInputs], Tensor], inputs: TokenInputs, tokens: int) -> Tensor:
    """``score`` of all rows, ``[B, T]``, computed within the token budget; the same number of calls on every rank."""
    runs = cut_rows(inputs.attention_mask.sum(1).tolist(), tokens)
    parts = [score(inputs.rows(run)) for run in runs]
    for _ in range(int(distributed.all_max([len(runs)])[0]) - len(runs)):
        score(inputs.rows(runs[-1][-1:]))
    return torch.cat(parts)


def micro_batches(batch: Batch, tokens: int) -> list[Batch]:
    """Consecutive rows cut so that none but a single row exceeds the budget once padded.

    Every rank gets the same number, as collective operations in the forward and backward pass demand; a rank
    with fewer repeats its last row with zero weight.
    """
    cuts = [batch.rows(rows) for rows in cut_rows(batch.inputs.attention_mask.sum(1).tolist(), tokens)]
    wanted = int(distributed.all_max([max(len(cuts), 1)])[0])
    return cuts + [_weightless(batch)] * (wanted - len(cuts))


def cut_rows(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Runs of consecutive rows whose count times longest length stays within the budget."""
    runs: list[list[int]] = []
    longest = 0
    for row, length in enumerate(lengths):
        longest = max(longest, length)
        if runs and (len(runs[-1]) + 1) * longest <= tokens:
            runs[-1].append(row)
        else:
            runs.append([row])
            longest = length
    return runs


def _weightless(batch: Batch) -> Batch:
    """One row that takes part in the collectives and in nothing else."""
    row = batch.rows([len(batch) - 1])
    blank = torch.zeros_like
    return _with(row, mask=blank(row.experience.mask), weights=blank(row.experience.weights))


def _with(batch: Batch, **changes: Tensor) -> Batch:
    return replace(batch, experience=replace(batch.experience, **changes))
