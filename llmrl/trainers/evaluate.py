"""One evaluator for before, during and after training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmrl import distributed
from llmrl.errors import UserError
from llmrl.samplers.base import Sampler
from llmrl.types import Group, Prompt, SamplingSpec

Score = Callable[[Sequence[Group]], list[Group]]


@dataclass(frozen=True)
class Evaluator:
    """The mean of one reward over held-out problems, one completion each.

    Its random numbers are its own and the same at every call, so that evaluating never changes training and two
    evaluations differ only by the policy.
    """

    sampler: Sampler
    prompts: Sequence[Prompt]
    score: Score
    reward: str
    seed: str

    def __call__(self, spec: SamplingSpec) -> float:
        """The mean over the problems that the reward gave a value for; UserError if it gave none.

        A failed reward is left out, not counted as wrong; the scorer stops the run when there are many.
        """
        groups = self.score(self.sampler.sample(distributed.share(self.prompts), 1, spec, f"{self.seed}/eval"))
        parts = [group.parts[self.reward][0] for group in groups]
        values = [value for value in parts if value is not None]
        total, count = distributed.all_sum([math.fsum(values), len(values)])
        if not count:
            raise UserError(f"reward {self.reward!r} gave no held-out completion a value: there is nothing to average")
        return total / count
