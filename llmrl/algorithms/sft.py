"""Supervised fine-tuning: the negative log-likelihood of the completion's tokens, and of no others."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

import llmrl.functional as F
from llmrl.types import Experience, PolicyOutput


@dataclass(frozen=True)
class SFT:
    """Maximum likelihood on the completions of a data set, averaged over tokens."""

    def loss(self, output: PolicyOutput, experience: Experience) -> tuple[Tensor, dict[str, Tensor]]:
        """This shard's part of -Σ weights · log π(token), and the sums that are logged."""
        nll = -output.logprobs
        loss = F.masked_sum(experience.weights * nll, experience.mask)
        sums = {"nll": nll, "entropy": output.entropy}
        return loss, {name: F.masked_sum(value.detach(), experience.mask) for name, value in sums.items()}
