"""From rewards to advantages: along time, within a group, and for rewards of single reasoning steps.

There is no ``done``: a terminal step has discount 0, any other boundary has trace 0, and what lies behind
either is never read, NaN included.

Group functions take ``(rewards [P, G], valid [P, G] bool)`` and give [P, G]; any leading shape will do. An
invalid row (its reward failed or does not apply) leaves the statistics and gets 0, whatever its reward says.
Groups with fewer than two valid rows, or whose valid rewards are all equal, get exactly 0 from every function
but ``group_raw``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from llmrl.functional.reduce import masked


def discounted_returns(rewards: Tensor, discounts: Tensor) -> Tensor:
    """Reward to go: G_t = r_t + γ_t · G_{t+1}, with G_T = 0; all [B, T]."""
    return _accumulate(rewards, discounts)


def gae(rewards: Tensor, discounts: Tensor, traces: Tensor, values: Tensor, next_values: Tensor) -> Tensor:
    """Generalised advantage estimation: δ_t = r_t + γ_t·V(s_{t+1}) − V(s_t), A_t = δ_t + γ_t·λ_t·A_{t+1}.

    Schulman et al. 2016, arXiv:1506.02438, eq. 16, with γ and λ per step; all [B, T]. ``next_values[t]`` is
    the value of the true successor, which at a time limit is not ``values[t + 1]``. The returns are A +
    values.
    """
    errors = rewards + _times(discounts, next_values) - values
    return _accumulate(errors, discounts * traces)


def group_raw(rewards: Tensor, valid: Tensor) -> Tensor:
    """The rewards as they are, without a baseline: plain REINFORCE."""
    return masked(rewards, valid)


def group_centred(rewards: Tensor, valid: Tensor) -> Tensor:
    """A_i = r_i − mean(r).

    Dr. GRPO (Liu et al. 2025, arXiv:2503.20783, section 3.2).
    """
    # Relative to one of the group's own rewards, so that equal rewards give exactly 0 and no rounding error.
    anchor = rewards.gather(-1, valid.int().argmax(-1, keepdim=True))
    relative = masked(rewards - anchor, valid)
    mean = relative.sum(-1, keepdim=True) / valid.sum(-1, keepdim=True)
    return masked(relative - mean, valid)


def group_standardised(rewards: Tensor, valid: Tensor, *, eps: float = 1e-4) -> Tensor:
    """A_i = (r_i − mean(r)) / (std(r) + eps), the std unbiased (ddof 1).

    GRPO (Shao et al. 2024, arXiv:2402.03300, section 4.1.2); the paper names neither ddof nor eps.
    """
    centred = group_centred(rewards, valid)
    freedom = (valid.sum(-1, keepdim=True) - 1).clamp(min=1)
    std = (centred.square().sum(-1, keepdim=True) / freedom).sqrt()
    return centred / (std + eps)


def leave_one_out(rewards: Tensor, valid: Tensor) -> Tensor:
    """A_i = r_i − mean of the other rewards = G/(G−1) · (r_i − mean(r)), G counting valid rows.

    RLOO (Kool et al. 2019; Ahmadian et al. 2024, arXiv:2402.14740).
    """
    size = valid.sum(-1, keepdim=True)
    return group_centred(rewards, valid) * size / (size - 1).clamp(min=1)


def group_softmax(rewards: Tensor, valid: Tensor, *, group_temperature: float = 1.0) -> Tensor:
    """A_i = softmax(r · group_temperature)_i − 1/G, over the valid rows, whose number is G.

    The temperature multiplies: 0 gives no preference, a large one all weight to the best.
    """
    scores = (rewards * group_temperature).masked_fill(~valid, -torch.inf)
    return group_centred(scores.softmax(-1), valid)


def process_pooled(step_rewards: Tensor, step_valid: Tensor, *, eps: float = 1e-4) -> Tensor:
    """Step rewards standardised over all steps of all the group's completions together; all [P, G, K].

    Shao et al. 2024, arXiv:2402.03300, section 4.1.3: r̃ = (r − mean(R)) / std(R), unbiased here. A token's
    advantage is the sum of the r̃ of the steps that end at or after it (``steps_to_tokens``).
    """
    pooled = group_standardised(step_rewards.flatten(1), step_valid.flatten(1), eps=eps)
    return pooled.view_as(step_rewards)


def process_per_index(step_rewards: Tensor, step_valid: Tensor, *, eps: float = 1e-4) -> Tensor:
    """Step rewards standardised over the group at each step index on its own; all [P, G, K].

    A completion that has no k-th step counts as reward 0 among the k-th steps and gets 0 there. One without
    any step at all leaves the statistics.
    """
    present = step_valid.any(-1, keepdim=True).expand_as(step_valid)
    rewards = masked(step_rewards, step_valid)
    standardised = group_standardised(rewards.transpose(1, 2), present.transpose(1, 2), eps=eps)
    return masked(standardised.transpose(1, 2), step_valid)


def steps_to_tokens(step_values: Tensor, step_ends: Tensor, step_valid: Tensor, length: int) -> Tensor:
    """Each token gets the sum of the values of the steps that end at or after it; [B, K] to [B, length].

    A_t = Σ_k value_k · [end_k ≥ t] (Shao et al. 2024, arXiv:2402.03300, section 4.1.3). ``step_ends`` index
    tokens; a valid one outside 0 … length − 1 raises.
    """
    at_ends = step_values.new_zeros(len(step_values), length)
    at_ends = at_ends.scatter_add(1, masked(step_ends, step_valid), masked(step_values, step_valid))
    return at_ends.flip(1).cumsum(1).flip(1)


def overlong_penalty(lengths: Tensor, *, max_tokens: int, cache: int) -> Tensor:
    """A reward in [−1, 0] that falls linearly over the last ``cache`` tokens before ``max_tokens``.

    clip((max_tokens − cache − length) / cache, −1, 0): DAPO (Yu et al. 2025, arXiv:2503.14476, eq. 13).
    """
    return ((max_tokens - cache - lengths) / cache).clamp(-1, 0)


def _accumulate(x: Tensor, decays: Tensor) -> Tensor:
    """y_t = x_t + decay_t · y_{t+1}, with y_T = 0; all [B, T]."""
    total, columns = torch.zeros_like(x[:, :1]), []
    for column, decay in zip(reversed(x.split(1, 1)), reversed(decays.split(1, 1)), strict=True):
        total = column + _times(decay, total)
        columns.append(total)
    return torch.cat(columns[::-1], 1)


def _times(decay: Tensor, x: Tensor) -> Tensor:
    """decay · x, where a decay of 0 cuts off even a NaN."""
    return masked(decay * x, decay != 0)
