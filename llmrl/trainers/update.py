"""The update that every trainer shares: epochs x minibatches x micro-batches, then clip and step.

A micro-batch is a token budget. The weights of the loss are fixed for a whole optimizer step before it is cut
up, so that gradients do not depend on the cut nor on the number of ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from llmrl import distributed
from llmrl.types import Batch, Experience, PolicyOutput, TokenInputs

Loss = Callable[[PolicyOutput, Experience], tuple[Tensor, dict[str, Tensor]]]


class Stepper(Protocol):
    """What an update needs of the machinery around the policy."""

    def forward(self, inputs: TokenInputs) -> PolicyOutput:
        """The policy's output, with gradient."""
        ...

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add this micro-batch's gradient; ``last`` closes the optimizer step's accumulation."""
        ...

    def step(self) -> float:
        """Clip, step, clear; returns the gradient's norm before clipping."""
        ...


@dataclass
class UpdateMetrics:
    """Sums over chosen tokens of this rank, and one entry an optimizer step."""

    sums: dict[str, float] = field(default_factory=dict)
    tokens: float = 0.0
    losses: list[float] = field(default_factory=list)
    grad_norms: list[float] = field(default_factory=list)

    def add(self, sums: dict[str, Tensor], tokens: float) -> None:
        """Count one micro-batch."""
        self.tokens += tokens
        for name, value in sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value)

    def result(self) -> dict[str, float]:
        """Means over all ranks' chosen tokens, the mean loss and gradient norm of the optimizer steps."""
        names = sorted(set(distributed.gather(list(self.sums))))
        totals = distributed.all_sum([*(self.sums.get(n, 0.0) for n in names), self.tokens, *self.losses])
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
    *,
    micro_batch_tokens: int,
    num_iterations: int = 1,
    ref_logprobs: Callable[[TokenInputs], Tensor] | None = None,
) -> UpdateMetrics:
    """Train on each minibatch in turn, ``num_iterations`` times over, one optimizer step a minibatch.

    The first pass over a micro-batch keeps what later ones need: the reference's log-probs, and the policy's own
    where the batch has no ``old_logprobs`` (it is then on-policy).
    """
    metrics = UpdateMetrics()
    plan = [micro_batches(batch, micro_batch_tokens) for batch in minibatches]
    for iteration in range(num_iterations):
        for micros in plan:
            step_loss = 0.0
            for i, micro in enumerate(micros):
                if iteration == 0 and ref_logprobs is not None:
                    micro = _with(micro, ref_logprobs=ref_logprobs(micro.inputs))
                output = stepper.forward(micro.inputs)
                if iteration == 0 and micro.experience.old_logprobs is None:
                    micro = _with(micro, old_logprobs=output.logprobs.detach())
                micros[i] = micro
                value, sums = loss(output, micro.experience)
                stepper.backward(value, last=i == len(micros) - 1)
                step_loss += float(value.detach())
                metrics.add(sums, float(micro.experience.mask.sum()))
            metrics.losses.append(step_loss)
            metrics.grad_norms.append(stepper.step())
    return metrics


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
