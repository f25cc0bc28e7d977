"""Kullback-Leibler divergences: sampled, as loss terms, exact, and the controllers of their coefficient.

In nats. π is the policy that is trained, π_old the one that sampled the tokens, ρ the reference; the
reverse KL is KL(π‖ρ) = E_π[log π − log ρ]. Everything is elementwise: clean padded inputs with ``masked``
first.

A sampled KL in a reward and a sampled KL in a loss are different things. As an estimate of the value, k1
and k3 are unbiased on-policy. As a loss, what matters is the expected gradient of the term, which each loss
below states: the k1 term's is zero on-policy, so k1 belongs in the reward and has no loss here.
"""

from __future__ import annotations

import torch
from torch import Tensor


def kl_k1(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Unbiased estimate of KL(π‖ρ) from a ~ π, of either sign: k1 = log π(a) − log ρ(a); any shape.

    Schulman 2020, "Approximating KL divergence", http://joschu.net/blog/kl-approx.html.
    """
    return logprobs - ref_logprobs


def kl_k2(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Biased estimate of KL(π‖ρ) from a ~ π, never negative: k2 = (log π(a) − log ρ(a))² / 2; any shape.

    Schulman 2020. The bias is of third order in the distance.
    """
    return (logprobs - ref_logprobs).square() / 2


def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Unbiased estimate of KL(π‖ρ) from a ~ π, never negative: k3 = eᵈ − 1 − d, d = log ρ(a) − log π(a).

    Schulman 2020; Shao et al. 2024, arXiv:2402.03300, eq. 4. Any shape.
    """
    log_ref_ratio = ref_logprobs - logprobs
    return torch.expm1(log_ref_ratio) - log_ref_ratio


def k3_loss(logprobs: Tensor, ref_logprobs: Tensor, log_ratio: Tensor) -> Tensor:
    """GRPO's KL term as published: k3, whatever the ratio; all [B, T].

    Shao et al. 2024, arXiv:2402.03300, eq. 3 and 4. On-policy its expected gradient is that of the
    *forward* KL, KL(ρ‖π) = E_ρ[log ρ − log π], not of the reverse one; off-policy it is that of neither.
    ``log_ratio`` is unused.
    """
    return kl_k3(logprobs, ref_logprobs)


def k3_weighted_loss(logprobs: Tensor, ref_logprobs: Tensor, log_ratio: Tensor) -> Tensor:
    """k3 with the importance ratio in front: (π/π_old) · k3, gradient through both; all [B, T].

    Its expectation under π_old is KL(π‖ρ) of the current policy, so its expected gradient is the gradient
    of the reverse KL, on- and off-policy. ``log_ratio`` is the token ratio log π − log π_old.
    """
    return log_ratio.exp() * kl_k3(logprobs, ref_logprobs)


def k2_loss(logprobs: Tensor, ref_logprobs: Tensor, log_ratio: Tensor) -> Tensor:
    """k2 with the detached importance ratio in front: sg(π/π_old) · k2; all [B, T].

    Its gradient is (π/π_old) · (log π − log ρ) · ∇log π, whose expectation under π_old is the gradient of the
    reverse KL KL(π‖ρ), on- and off-policy. ``log_ratio`` is the token ratio log π − log π_old.
    """
    return log_ratio.exp().detach() * kl_k2(logprobs, ref_logprobs)


def kl_categorical(logits_p: Tensor, logits_q: Tensor) -> Tensor:
    """Exact KL(p‖q) = Σ p · (log p − log q) of softmax distributions; [..., V] and [..., V] to [...]."""
    logp, logq = logits_p.log_softmax(-1), logits_q.log_softmax(-1)
    return (logp.exp() * (logp - logq)).sum(-1)


def kl_gaussian(mean_p: Tensor, log_std_p: Tensor, mean_q: Tensor, log_std_q: Tensor) -> Tensor:
    """Exact KL(p‖q) of diagonal Gaussians, summed over the last dimension; all [..., D] to [...].

    Σ log(σ_q/σ_p) + (σ_p² + (μ_p − μ_q)²) / (2σ_q²) − 1/2.
    """
    variance_ratio = (2 * (log_std_p - log_std_q)).exp()
    distance = ((mean_p - mean_q) / log_std_q.exp()).square()
    return (log_std_q - log_std_p + (variance_ratio + distance - 1) / 2).sum(-1)


def banded_kl_coef(kl_coef: float, kl: float, *, target: float, band: float = 1.5, factor: float = 2.0) -> float:
    """The next coefficient: divided by ``factor`` if kl < target/band, times it if kl > target·band.

    Schulman et al. 2017, arXiv:1707.06347, section 4, with band 1.5 and factor 2.
    """
    if kl < target / band:
        return kl_coef / factor
    return kl_coef * factor if kl > target * band else kl_coef


def proportional_kl_coef(kl_coef: float, kl: float, *, target: float, samples: float, horizon: float) -> float:
    """The next coefficient: kl_coef · (1 + e · samples/horizon), e = clip((kl − target) / target, −0.2, 0.2).

    Ziegler et al. 2019, arXiv:1909.08593, section 2.2, where samples/horizon is the constant K_β = 0.1.
    ``samples`` are the completions seen since the last call, so the speed does not depend on the batch
    size.
    """
    error = min(max((kl - target) / target, -0.2), 0.2)
    return kl_coef * (1 + error * samples / horizon)
