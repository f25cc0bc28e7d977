"""Masked sums, means and moments, and aggregation written as weights.

A mask is True where the policy chose the token. Whatever is off the mask, NaN included, changes neither the
value nor the gradient of anything here.

**Aggregation as weights.** Every aggregation is a function ``(mask [B, T], group_id [B], counts) -> [B,
T]``, and the loss of any shard is ``masked_sum(weights * per_token, mask)``. ``Counts`` holds the totals of
the whole optimizer step over all ranks, so the shards' losses and gradients add up to those of the whole.
Weights are float32 (float64 where that is torch's default) and 0 off the mask. A row whose mask is empty
has weight 0 everywhere and still counts in ``rows``, and its group in ``groups``: leaving a row out of the
loss never makes the other rows heavier, except where the denominator is tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


def masked(x: Tensor, mask: Tensor) -> Tensor:
    """x where the mask is True and 0 elsewhere, in value and in gradient; any shape.

    Elementwise formulas take no mask. Clean what goes into them with this, not what comes out: the derivative
    of ``exp`` at NaN is NaN, and 0 times it is NaN.
    """
    return torch.where(mask, x, 0)


def masked_sum(x: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Sum of x over the mask: Σ mask·x, over all elements or along ``dim``."""
    return masked(x, mask).sum(dim)


def masked_mean(x: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Mean over the mask: Σ mask·x / Σ mask, over all elements or along ``dim``; 0 where none is chosen."""
    return masked_sum(x, mask, dim) / mask.expand_as(x).sum(dim).clamp(min=1)


class Moments(NamedTuple):
    """Count, Σx and Σx² as float64 scalars: the whole's are the shards' added up, field by field."""

    count: Tensor  # pyright: ignore[reportIncompatibleMethodOverride]
    total: Tensor
    total_of_squares: Tensor


def moments(x: Tensor, mask: Tensor) -> Moments:
    """The moments of x [...] over the mask [...]."""
    chosen = masked(x, mask).double()
    return Moments(mask.expand_as(x).sum(dtype=torch.float64), chosen.sum(), chosen.square().sum())


def whiten(x: Tensor, mask: Tensor, moments: Moments, *, eps: float = 1e-8) -> Tensor:
    """Zero mean and unit spread over what ``moments`` saw: (x − μ) / (σ + eps), 0 off the mask; [...].

    σ² = Σx²/n − μ² is the biased variance (ddof 0): the moments are the whole population of the optimizer
    step.
    """
    mean = moments.total / moments.count
    variance = (moments.total_of_squares / moments.count - mean.square()).clamp(min=0)
    return masked((masked(x, mask) - mean) / (variance.sqrt() + eps), mask)


class Counts(NamedTuple):
    """What one optimizer step holds in total, over all ranks and micro-batches: denominators of weights."""

    rows: float
    """Completions, those with an empty mask included."""
    tokens: float
    """True elements of the mask."""
    groups: float
    """Prompts, those whose rows all have an empty mask included."""
    max_tokens: int
    """The longest completion that the sampler was allowed to write, in tokens; a setting, never measured."""


def sequence_mean(mask: Tensor, group_id: Tensor, counts: Counts) -> Tensor:
    """Every row weighs the same, its tokens share it: 1 / (rows · row's tokens); [B, T].

    GRPO (Shao et al. 2024, arXiv:2402.03300, eq. 3) and GSPO (arXiv:2507.18071, eq. 5). A token of a short
    row weighs more than one of a long row. Uses ``counts.rows``.
    """
    chosen = _as_weight(mask)
    return chosen / (counts.rows * chosen.sum(1, keepdim=True).clamp(min=1))


def token_mean(mask: Tensor, group_id: Tensor, counts: Counts) -> Tensor:
    """Every token weighs the same: 1 / tokens; [B, T].

    PPO, and DAPO as its public implementations do it. Rows with an empty mask do not count. Uses
    ``counts.tokens``.
    """
    return _as_weight(mask) / max(counts.tokens, 1)


def group_token_mean(mask: Tensor, group_id: Tensor, counts: Counts) -> Tensor:
    """Every group weighs the same, its tokens share it: 1 / (groups · group's tokens); [B, T].

    DAPO as published (Yu et al. 2025, arXiv:2503.14476, eq. 8, whose expectation runs over prompts). Rows of
    one group must be in one call, or the group's tokens are not all seen. Uses ``counts.groups``.
    """
    chosen = _as_weight(mask)
    ids, group = group_id.unique(return_inverse=True)
    tokens = chosen.new_zeros(len(ids)).index_add(0, group, chosen.sum(1))
    return chosen / (counts.groups * tokens[group, None].clamp(min=1))


def fixed_length_mean(mask: Tensor, group_id: Tensor, counts: Counts) -> Tensor:
    """Every token weighs the same, whatever was sampled: 1 / (rows · max_tokens); [B, T].

    Dr. GRPO (Liu et al. 2025, arXiv:2503.20783, section 3.2). Uses ``counts.rows`` and ``counts.max_tokens``.
    """
    return _as_weight(mask) / (counts.rows * counts.max_tokens)


def sequence_sum(mask: Tensor, group_id: Tensor, counts: Counts) -> Tensor:
    """A row's loss is the sum over its tokens, averaged over rows: 1 / rows; [B, T].

    The likelihood-ratio gradient of a whole sequence: REINFORCE, RLOO (Ahmadian et al. 2024,
    arXiv:2402.14740) and ReMax (Li et al. 2023, arXiv:2310.10505). Uses ``counts.rows``.
    """
    return _as_weight(mask) / counts.rows


def _as_weight(mask: Tensor) -> Tensor:
    """1 on the mask, 0 off it, in a dtype precise enough for weights."""
    return mask.to(torch.promote_types(torch.float32, torch.get_default_dtype()))
