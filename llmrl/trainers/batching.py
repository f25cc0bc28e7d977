"""Groups of completions to the tensors that an update consumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

import llmrl.functional as F
from llmrl import distributed
from llmrl.algorithms.grpo import GRPO
from llmrl.types import Batch, Completion, Group, TokenInputs


def token_inputs(groups: Sequence[Group], device: torch.device) -> TokenInputs:
    """One right-padded row ``prompt + completion`` for each completion, group after group."""
    rows = [group.prompt_tokens + c.tokens for group in groups for c in group.completions]
    prefixes = [len(group.prompt_tokens) for group in groups for _ in group.completions]
    lengths = torch.tensor([len(row) for row in rows])
    tokens = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    return TokenInputs(
        tokens=tokens.to(device),
        attention_mask=(torch.arange(tokens.shape[1]) < lengths[:, None]).to(device),
        prefix_lengths=torch.tensor(prefixes, device=device),
        prefix_id=group_ids(groups).to(device),
    )


def group_ids(groups: Sequence[Group]) -> Tensor:
    """[B] the number of each row's group."""
    return torch.tensor([i for i, group in enumerate(groups) for _ in group.completions])


def spread(groups: Sequence[Group], values: Sequence[Sequence[float | bool]], like: TokenInputs) -> Tensor:
    """Per-token values of each completion, in row order, at their columns of ``[B, T]``; 0 elsewhere."""
    dtype = torch.bool if values and values[0] and isinstance(values[0][0], bool) else torch.float32
    placed = torch.zeros(like.tokens.shape, dtype=dtype)
    prefixes = [len(group.prompt_tokens) for group in groups for _ in group.completions]
    for row, (start, row_values) in enumerate(zip(prefixes, values, strict=True)):
        placed[row, start : start + len(row_values)] = torch.tensor(row_values, dtype=dtype)
    return placed.to(like.tokens.device)


def chosen_mask(groups: Sequence[Group], algorithm: GRPO, like: TokenInputs) -> Tensor:
    """[B, T] True on the tokens that are trained on."""

    def mask(completion: Completion) -> list[bool]:
        hidden = algorithm.overlong == "mask" and completion.finish_reason == "length"
        return [False] * len(completion.mask) if hidden else completion.mask

    return spread(groups, [mask(c) for g in groups for c in g.completions], like).bool()


def penalise_overlong(groups: Sequence[Group], algorithm: GRPO, max_tokens: int) -> list[Group]:
    """The groups with the soft overlong penalty in their rewards, and as a part named ``overlong``."""
    if not algorithm.overlong_cache:
        return list(groups)
    penalised = []
    for group in groups:
        lengths = torch.tensor([len(c.tokens) for c in group.completions])
        penalty = F.overlong_penalty(lengths, max_tokens=max_tokens, cache=algorithm.overlong_cache).tolist()
        rewards = tuple(r + p for r, p in zip(group.rewards, penalty, strict=True))
        penalised.append(replace(group, rewards=rewards, parts={**group.parts, "overlong": tuple(penalty)}))
    return penalised


def token_advantages(
    groups: Sequence[Group], algorithm: GRPO, mask: Tensor, like: TokenInputs, penalty: Tensor | None
) -> Tensor:
    """[B, T] advantages; ``penalty`` is kl_coef times the KL estimate where it belongs to the reward or returns.

    With step rewards, the rest of each reward is the outcome; both kinds of advantage are added.
    """
    size = len(groups[0].completions)
    rewards = torch.tensor([group.rewards for group in groups], device=mask.device)
    baselines = torch.tensor([group.baseline for group in groups], device=mask.device)
    outcome = rewards - baselines[:, None] - _step_sums(groups).to(mask.device)
    if penalty is not None and algorithm.kl_in == "reward":
        outcome = outcome - F.masked_sum(penalty, mask, dim=1).view(-1, size)
    advantages = algorithm.group_advantages(outcome, ~outcome.isnan()).view(-1, 1) * mask
    if any(group.steps for group in groups):
        advantages = advantages + _process_advantages(groups, algorithm, like).to(mask.device) * mask
    if penalty is not None and algorithm.kl_in == "returns":
        ones = torch.ones_like(penalty)
        advantages = advantages - F.discounted_returns(penalty * mask, ones) * mask
    if algorithm.normalise == "batch":
        advantages = F.whiten(advantages, mask, _global_moments(advantages, mask))
    return advantages.to(torch.get_default_dtype())


def minibatches(batch: Batch, group_id: Tensor, algorithm: GRPO, count: int, max_tokens: int) -> list[Batch]:
    """``count`` minibatches of whole groups, weighted by totals over all ranks."""
    parts = []
    for chunk in group_id.unique().chunk(count):
        rows = torch.isin(group_id, chunk).nonzero()[:, 0]
        part, ids = batch.rows(rows), group_id[rows]
        counts = _global_counts(part.experience.mask, len(chunk), max_tokens)
        weights = algorithm.token_weights(part.experience.mask, ids, counts)
        parts.append(replace(part, experience=replace(part.experience, weights=weights)))
    return parts


def drop_idle(minibatches: Sequence[Batch]) -> tuple[list[Batch], list[Batch]]:
    """The minibatches without the rows whose advantages are all zero, and those rows.

    Weights stay as they are, so that idle rows keep their place in every denominator. An update needs a row: a
    minibatch that is all idle keeps its first.
    """
    kept, idle = [], []
    for batch in minibatches:
        busy = ((batch.experience.advantages != 0) & batch.experience.mask).any(1)
        busy[0] |= not bool(busy.any())
        kept.append(batch.rows(busy.nonzero()[:, 0]))
        idle.append(batch.rows((~busy).nonzero()[:, 0]))
    return kept, idle


def row_means(values: Tensor, groups: Sequence[Group]) -> list[float]:
    """The mean of ``[B, T]`` values over each completion's tokens."""
    starts = [(len(g.prompt_tokens), len(c.tokens)) for g in groups for c in g.completions]
    return [float(row[s : s + n].mean()) if n else 0.0 for row, (s, n) in zip(values.cpu(), starts, strict=True)]


def _global_counts(mask: Tensor, groups: int, max_tokens: int) -> F.Counts:
    rows, tokens, total_groups = distributed.all_sum([len(mask), float(mask.sum()), groups])
    return F.Counts(rows=rows, tokens=tokens, groups=total_groups, max_tokens=max_tokens)


def _global_moments(values: Tensor, mask: Tensor) -> F.Moments:
    local = F.moments(values, mask)
    return F.Moments(*torch.tensor(distributed.all_sum([float(x) for x in local]), dtype=torch.float64))


def _step_sums(groups: Sequence[Group]) -> Tensor:
    """[P, G] sum of each completion's step rewards; 0 without any."""
    sums = [[sum(step.value for step in steps) for steps in g.steps] or [0.0] * len(g.completions) for g in groups]
    return torch.tensor(sums)


def _process_advantages(groups: Sequence[Group], algorithm: GRPO, like: TokenInputs) -> Tensor:
    """[B, T] each token's sum of the normalised rewards of the steps that end at or after it."""
    size = len(groups[0].completions)
    per_row = [steps for group in groups for steps in group.steps or ((),) * size]
    starts = like.prefix_lengths.tolist()
    longest = max(1, *(len(steps) for steps in per_row))
    values, ends = torch.zeros(len(per_row), longest), torch.zeros(len(per_row), longest, dtype=torch.long)
    valid = torch.zeros(len(per_row), longest, dtype=torch.bool)
    for row, steps in enumerate(per_row):
        for k, step in enumerate(steps):
            values[row, k], ends[row, k], valid[row, k] = step.value, starts[row] + step.end, True
    shape = (len(groups), size, longest)
    normalised = algorithm.step_advantages(values.view(shape), valid.view(shape)).view(-1, longest)
    return F.steps_to_tokens(normalised, ends, valid, like.tokens.shape[1])
