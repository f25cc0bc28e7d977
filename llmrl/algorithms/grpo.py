"""Group-relative policy optimisation (Shao et al. 2024, arXiv 2402.03300) and the methods one choice away.

A method is a choice in each column; ``recipes/configs/methods`` holds one file a row.

============  ========  =========  =============  ===================  ===========================
method        ratio     surrogate  advantages     weights              beside
============  ========  =========  =============  ===================  ===========================
GRPO          token     clipped    standardised   sequence_mean        kl k3 in the loss
Dr. GRPO      token     clipped    centred        fixed_length_mean    no KL
DAPO          token     clipped    standardised   group_token_mean     clip_eps_high, no KL
DAPO (batch)  token     clipped    standardised   token_mean           as TRL and verl compute it
GSPO          sequence  clipped    standardised   sequence_mean        narrow clip, no KL
CISPO         token     cispo      standardised   token_mean           wide clip_eps_high, no KL
softmax       token     clipped    softmax        sequence_mean        group_temperature
RLOO          token     reinforce  leave_one_out  sequence_sum         kl k1 in the reward
REINFORCE     token     reinforce  raw            sequence_sum
ReMax         token     reinforce  raw            sequence_sum         baseline greedy
REINFORCE++   token     clipped    raw            token_mean           kl k1 in the returns,
                                                                       normalise batch
============  ========  =========  =============  ===================  ===========================

A completion cut at ``max_tokens`` and masked (``overlong: mask``) keeps its place in the group's statistics
and among the rows of a denominator; its tokens leave the token counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

import llmrl.functional as F
from llmrl.algorithms.slots import resolve
from llmrl.types import Experience, PolicyOutput

RATIOS = {"token": F.token_log_ratio, "sequence": F.sequence_log_ratio}
SURROGATES = {
    "clipped": F.clipped_surrogate,
    "dual_clipped": F.dual_clipped_surrogate,
    "unclipped": F.unclipped_surrogate,
    "cispo": F.cispo,
    "reinforce": F.reinforce,
}
WEIGHTS = {
    "sequence_mean": F.sequence_mean,
    "token_mean": F.token_mean,
    "group_token_mean": F.group_token_mean,
    "fixed_length_mean": F.fixed_length_mean,
    "sequence_sum": F.sequence_sum,
}
ADVANTAGES = {
    "standardised": F.group_standardised,
    "centred": F.group_centred,
    "leave_one_out": F.leave_one_out,
    "softmax": F.group_softmax,
    "raw": F.group_raw,
}
PROCESS = {"pooled": F.process_pooled, "per_index": F.process_per_index}
KL_LOSSES = {"k2": F.k2_loss, "k3": F.k3_loss, "k3_weighted": F.k3_weighted_loss}
KL_ESTIMATES = {"k1": F.kl_k1, "k2": F.kl_k2, "k3": F.kl_k3}


@dataclass(frozen=True)
class GRPO:
    """The choices and coefficients of one method of the GRPO family."""

    group_size: int = 8
    """Completions sampled for each prompt (G)."""
    advantages: str = "standardised"
    """Rewards of a group to advantages: standardised, centred, leave_one_out, softmax, raw."""
    baseline: Literal["none", "greedy"] = "none"
    """What each prompt's rewards are compared with beforehand: nothing, or its greedy completion's (ReMax)."""
    normalise: Literal["none", "batch"] = "none"
    """Whether advantages are whitened over all tokens of the batch afterwards."""
    ratio: str = "token"
    """Importance ratio: token, or sequence (length-normalised, GSPO)."""
    surrogate: str = "clipped"
    """Per-token term: clipped, dual_clipped, unclipped, cispo, reinforce."""
    weights: str = "sequence_mean"
    """Aggregation: sequence_mean, token_mean, group_token_mean, fixed_length_mean, sequence_sum."""
    process: str = "pooled"
    """Step rewards to advantages: pooled (all steps of the group together) or per_index."""
    clip_eps: float = 0.2
    """The ratio is clipped below at 1 - clip_eps."""
    clip_eps_high: float | None = None
    """The ratio is clipped above at 1 + clip_eps_high; unset: clip_eps."""
    clip_max: float = 3.0
    """Bound of dual_clipped on the ratio where the advantage is negative."""
    group_temperature: float = 1.0
    """Inverse temperature of the softmax advantages."""
    kl: str = "k3"
    """KL estimator: k2, k3, k3_weighted in the loss; k1, k2, k3 in the reward or the returns."""
    kl_in: Literal["loss", "reward", "returns"] = "loss"
    """Where the KL to the reference goes: the loss, each completion's reward, or each token's returns."""
    kl_coef: float = 0.04
    """Coefficient of the KL to the reference; 0 switches the reference off."""
    kl_controller: Literal["fixed", "banded", "proportional"] = "fixed"
    """How kl_coef moves: not at all, by a factor outside a band, or in proportion (Ziegler et al. 2019)."""
    kl_target: float = 0.1
    """KL in nats a token that an adaptive controller aims at."""
    kl_band: float = 1.5
    """banded: kl_coef moves where the KL is off the target by more than this factor."""
    kl_factor: float = 2.0
    """banded: the factor by which kl_coef moves."""
    kl_horizon: float = 10_000.0
    """proportional: completions over which an error of 20% moves kl_coef by 20%."""
    entropy_coef: float = 0.0
    """Weight of the entropy bonus."""
    num_iterations: int = 1
    """Optimisation epochs over each batch of completions."""
    ref_refresh_every: int = 0
    """Steps after which the reference becomes the current policy (iterative GRPO); 0: never."""
    dynamic_rounds: int = 0
    """Dynamic sampling: rounds in which groups with equal rewards are replaced by fresh prompts; 0: off."""
    overlong: Literal["keep", "mask"] = "keep"
    """Whether completions cut at max_tokens are trained on."""
    overlong_cache: int = 0
    """Soft overlong penalty over the last so many tokens before max_tokens (DAPO, eq. 13); 0: off."""

    def __post_init__(self) -> None:
        for slot, choices in (
            ("advantages", ADVANTAGES),
            ("ratio", RATIOS),
            ("surrogate", SURROGATES),
            ("weights", WEIGHTS),
            ("process", PROCESS),
        ):
            resolve(slot, getattr(self, slot), choices)
        if self.kl_in == "loss" and self.kl == "k1":
            raise ValueError("kl k1 has no expected gradient in the loss; use k2 or k3, or kl_in: reward")
        resolve("kl", self.kl, KL_LOSSES if self.kl_in == "loss" else KL_ESTIMATES)
        if self.group_size < 1 or self.num_iterations < 1:
            raise ValueError("group_size and num_iterations must be at least 1")
        if self.group_size == 1 and self.advantages != "raw":
            raise ValueError(f"group_size 1 leaves nothing to compare: {self.advantages} advantages would all be 0")

    @property
    def bounds(self) -> F.Bounds:
        """The clip range of the ratio."""
        high = self.clip_eps if self.clip_eps_high is None else self.clip_eps_high
        return F.Bounds(self.clip_eps, high, self.clip_max)

    @property
    def needs_reference(self) -> bool:
        """Whether the KL to the reference is computed."""
        return self.kl_coef > 0

    @property
    def needs_every_row(self) -> bool:
        """Whether rows whose advantages are all zero still have a gradient."""
        return self.entropy_coef != 0 or (self.needs_reference and self.kl_in == "loss")

    def group_advantages(self, rewards: Tensor, valid: Tensor) -> Tensor:
        """Outcome rewards ``[P, G]`` to advantages ``[P, G]``; invalid rows leave the statistics."""
        options = {"group_temperature": self.group_temperature} if self.advantages == "softmax" else {}
        return resolve("advantages", self.advantages, ADVANTAGES)(rewards, valid, **options)

    def step_advantages(self, step_rewards: Tensor, step_valid: Tensor) -> Tensor:
        """Step rewards ``[P, G, K]`` to normalised step rewards of the same shape."""
        return resolve("process", self.process, PROCESS)(step_rewards, step_valid)

    def token_weights(self, mask: Tensor, group_id: Tensor, counts: F.Counts) -> Tensor:
        """Each token's share ``[B, T]`` of the loss."""
        return resolve("weights", self.weights, WEIGHTS)(mask, group_id, counts)

    def kl_penalty(self, logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
        """The KL estimate ``[B, T]`` that is taken off the reward or the returns."""
        return resolve("kl", self.kl, KL_ESTIMATES)(logprobs, ref_logprobs)

    def next_kl_coef(self, kl_coef: float, kl: float, samples: int) -> float:
        """The coefficient after a step whose mean KL a token was ``kl`` over ``samples`` completions."""
        return CONTROLLERS[self.kl_controller](self, kl_coef, kl, samples)

    def loss(self, output: PolicyOutput, experience: Experience, kl_coef: float) -> tuple[Tensor, dict[str, Tensor]]:
        """This shard's part of the loss, and sums over its chosen tokens of what is logged.

        Minimises Σ weights · (surrogate + kl_coef · kl - entropy_coef · entropy).
        """
        mask, old = experience.mask, experience.old_logprobs
        old = output.logprobs.detach() if old is None else old
        log_ratio = resolve("ratio", self.ratio, RATIOS)(output.logprobs, old, mask)
        surrogate: Callable[..., Tensor] = resolve("surrogate", self.surrogate, SURROGATES)
        per_token = surrogate(output.logprobs, log_ratio, experience.advantages, self.bounds)
        if experience.ref_logprobs is not None and self.kl_in == "loss":
            divergence: Callable[..., Tensor] = resolve("kl", self.kl, KL_LOSSES)
            per_token = per_token + kl_coef * divergence(output.logprobs, experience.ref_logprobs, log_ratio)
        if self.entropy_coef:
            per_token = per_token - self.entropy_coef * output.entropy
        loss = F.masked_sum(experience.weights * per_token, mask)
        return loss, self._sums(output, log_ratio, experience)

    @torch.no_grad()
    def _sums(self, output: PolicyOutput, log_ratio: Tensor, experience: Experience) -> dict[str, Tensor]:
        low, high = F.clip_fractions(log_ratio, experience.advantages, experience.mask, self.bounds)
        per_token: dict[str, Any] = {
            "entropy": output.entropy,
            "clip_ratio/low_mean": low.float(),
            "clip_ratio/high_mean": high.float(),
            "clip_ratio/region_mean": (low | high).float(),
        }
        if experience.ref_logprobs is not None:
            per_token["kl"] = F.kl_k3(output.logprobs, experience.ref_logprobs)
        return {name: F.masked_sum(value, experience.mask) for name, value in per_token.items()}


def _banded(algorithm: GRPO, kl_coef: float, kl: float, samples: int) -> float:
    return F.banded_kl_coef(kl_coef, kl, target=algorithm.kl_target, band=algorithm.kl_band, factor=algorithm.kl_factor)


def _proportional(algorithm: GRPO, kl_coef: float, kl: float, samples: int) -> float:
    return F.proportional_kl_coef(
        kl_coef, kl, target=algorithm.kl_target, samples=samples, horizon=algorithm.kl_horizon
    )


CONTROLLERS: dict[str, Callable[[GRPO, float, float, int], float]] = {
    "fixed": lambda algorithm, kl_coef, kl, samples: kl_coef,
    "banded": _banded,
    "proportional": _proportional,
}
