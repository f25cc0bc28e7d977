"""What the evaluator averages, and what it refuses to."""

from dataclasses import replace

import pytest
from helpers import make_group, make_prompts

from llmrl.errors import UserError
from llmrl.trainers.evaluate import Evaluator
from llmrl.types import Group, Prompt, SamplingSpec


class Recorded:
    """A sampler of recorded completions."""

    def sample(self, prompts: list[Prompt], n: int, spec: SamplingSpec, seed: str) -> list[Group]:
        return [replace(make_group([2], [[3]], [0.0]), prompt=prompt) for prompt in prompts]

    def sync(self) -> None:
        """Nothing to do."""


def evaluator(values: list[float | None]) -> Evaluator:
    def score(groups: list[Group]) -> list[Group]:
        return [replace(g, parts={"correct": (v,)}) for g, v in zip(groups, values, strict=True)]

    return Evaluator(Recorded(), make_prompts(*"abcd"), score, "correct", "0")  # type: ignore[arg-type]


def test_a_failed_reward_is_left_out_and_not_counted_as_wrong() -> None:
    assert evaluator([1.0, 0.0, None, 1.0])(SamplingSpec(1)) == pytest.approx(2 / 3)


def test_no_value_at_all_is_an_error() -> None:
    with pytest.raises(UserError, match="nothing to average"):
        evaluator([None] * 4)(SamplingSpec(1))
