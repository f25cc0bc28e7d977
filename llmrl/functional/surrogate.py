"""Importance ratios and policy losses per token.

A ratio is a function ``(logprobs, old_logprobs, mask) -> log_ratio``, a loss a function ``(logprobs,
log_ratio, advantages, bounds) -> loss``, all [B, T], so that a configuration can hold any of them in one
slot. Losses are to be minimised. They are elementwise: log-ratios come clean from the ratio functions,
clean padded log-probabilities and advantages with ``masked``. Each loss says which of the bounds it uses.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from llmrl.functional.reduce import masked, masked_mean


class Bounds(NamedTuple):
    """Where a policy loss clips."""

    clip_eps: float
    """The ratio is clipped below at 1 - clip_eps."""
    clip_eps_high: float
    """The ratio is clipped above at 1 + clip_eps_high."""
    clip_max: float
    """For negative advantages the dual clip bounds the objective below at clip_max · A; greater than 1."""


def token_log_ratio(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    """log π(a_t) − log π_old(a_t) of each token, 0 off the mask; all [B, T]."""
    return masked(logprobs - old_logprobs, mask)


def sequence_log_ratio(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    """The row's mean token log-ratio, on each of its chosen tokens, 0 off the mask; all [B, T].

    log s = (1/|y|) Σ_t (log π(a_t) − log π_old(a_t)): GSPO (Zheng et al. 2025, arXiv:2507.18071, eq. 7).
    """
    mean = masked_mean(logprobs - old_logprobs, mask, 1)
    return masked(mean[:, None], mask)


def reinforce(logprobs: Tensor, log_ratio: Tensor, advantages: Tensor, bounds: Bounds) -> Tensor:
    """−A · log π(a); all [B, T].

    Williams 1992. Uses neither the ratio nor the bounds.
    """
    return -advantages * logprobs


def unclipped_surrogate(logprobs: Tensor, log_ratio: Tensor, advantages: Tensor, bounds: Bounds) -> Tensor:
    """−r · A with r = exp(log_ratio); all [B, T].

    Conservative policy iteration, PPO's eq. 6 (Schulman et al. 2017, arXiv:1707.06347). Uses no bounds.
    """
    return -log_ratio.exp() * advantages


def clipped_surrogate(logprobs: Tensor, log_ratio: Tensor, advantages: Tensor, bounds: Bounds) -> Tensor:
    """−min(r·A, clip(r, 1 − clip_eps, 1 + clip_eps_high)·A) with r = exp(log_ratio); all [B, T].

    PPO (Schulman et al. 2017, arXiv:1707.06347, eq. 7), its two bounds apart as in DAPO (arXiv:2503.14476,
    eq. 8); with the sequence ratio, GSPO (arXiv:2507.18071, eq. 5). Uses ``clip_eps`` and
    ``clip_eps_high``.
    """
    ratio = log_ratio.exp()
    return -torch.minimum(ratio * advantages, _clip(ratio, bounds) * advantages)


def dual_clipped_surrogate(logprobs: Tensor, log_ratio: Tensor, advantages: Tensor, bounds: Bounds) -> Tensor:
    """The clipped surrogate whose objective is no less than clip_max · A where A < 0; all [B, T].

    −max(min(r·A, clip(r)·A), clip_max·A): Ye et al. 2020, arXiv:1912.09729, eq. 5. Bounds the loss of a bad
    token that has become much more likely, which the clipped surrogate does not. Uses all bounds.
    """
    loss = clipped_surrogate(logprobs, log_ratio, advantages, bounds)
    return torch.where(advantages < 0, torch.minimum(loss, -bounds.clip_max * advantages), loss)


def cispo(logprobs: Tensor, log_ratio: Tensor, advantages: Tensor, bounds: Bounds) -> Tensor:
    """−sg(clip(r, 1 − clip_eps, 1 + clip_eps_high)) · A · log π(a) with r = exp(log_ratio); all [B, T].

    CISPO (MiniMax 2025, arXiv:2506.13585, eq. 4 and 5): the weight is clipped and every token keeps a
    gradient. Uses ``clip_eps`` and ``clip_eps_high``; the paper leaves the lower side open, which is
    clip_eps = 1.
    """
    return -_clip(log_ratio.exp(), bounds).detach() * advantages * logprobs


def clip_fractions(log_ratio: Tensor, advantages: Tensor, mask: Tensor, bounds: Bounds) -> tuple[Tensor, Tensor]:
    """Where the clip takes the gradient away: (r < 1 − clip_eps and A < 0, r > 1 + clip_eps_high and A > 0).

    All [B, T], both outputs bool and False off the mask; their means over the mask are the fractions.
    """
    ratio = log_ratio.exp()
    low = (ratio < 1 - bounds.clip_eps) & (advantages < 0) & mask
    high = (ratio > 1 + bounds.clip_eps_high) & (advantages > 0) & mask
    return low, high


def _clip(ratio: Tensor, bounds: Bounds) -> Tensor:
    return ratio.clamp(1 - bounds.clip_eps, 1 + bounds.clip_eps_high)
