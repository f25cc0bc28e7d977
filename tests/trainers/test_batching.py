"""Process rewards, KL in the reward and in the returns, dynamic sampling: from groups to advantages."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from helpers import make_group

from llmrl.algorithms.grpo import GRPO
from llmrl.trainers import batching
from llmrl.trainers.language import has_spread
from llmrl.types import Group, StepReward


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def advantages(groups: list[Group], algorithm: GRPO, penalty: torch.Tensor | None = None) -> torch.Tensor:
    inputs = batching.token_inputs(groups, torch.device("cpu"))
    mask = batching.chosen_mask(groups, algorithm, inputs)
    return batching.token_advantages(groups, algorithm, mask, inputs, penalty)


def with_steps(*steps: list[tuple[int, float]]) -> Group:
    """Two-token prompt, completions of five tokens, a process reward's sum as each reward."""
    rewards = [sum(value for _, value in row) for row in steps]
    group = make_group([2, 3], [[4] * 5 for _ in steps], rewards)
    return replace(group, steps=tuple(tuple(StepReward(*step) for step in row) for row in steps))


def test_pooled_process_rewards_are_standardised_over_all_steps_of_the_group() -> None:
    """Shao et al. 2024, 4.1.3: a token's advantage is the sum over the steps that end at or after it."""
    group = with_steps([(1, 1.0), (4, 0.0)], [(4, 1.0)], [(2, 0.0), (4, 1.0)])
    pooled = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0])
    good, bad = ((value - pooled.mean()) / (pooled.std() + 1e-4) for value in (1.0, 0.0))
    outcome = torch.zeros(3, 1)  # each reward is the sum of its steps: nothing is left for the outcome
    expected = outcome + torch.stack(
        [
            torch.stack([good + bad, good + bad, bad, bad, bad]),
            torch.stack([good] * 5),
            torch.stack([bad + good, bad + good, bad + good, good, good]),
        ]
    )
    torch.testing.assert_close(advantages([group], GRPO(kl_coef=0))[:, 2:], expected, rtol=1e-6, atol=1e-6)


def test_process_rewards_per_step_index_count_a_finished_trajectory_as_zero() -> None:
    group = with_steps([(1, 1.0), (4, 1.0)], [(4, 0.0)])
    first = torch.tensor([1.0, 0.0])
    second = torch.tensor([1.0, 0.0])  # the second completion has ended
    good, bad = ((value - first.mean()) / (first.std() + 1e-4) for value in (1.0, 0.0))
    late = (1.0 - second.mean()) / (second.std() + 1e-4)
    expected = torch.stack([torch.stack([good + late, good + late, late, late, late]), torch.stack([bad] * 5)])
    found = advantages([group], GRPO(kl_coef=0, process="per_index"))[:, 2:]
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_outcome_and_process_advantages_are_added() -> None:
    group = with_steps([(4, 1.0)], [(4, 0.0)])
    outcome = replace(group, rewards=(1.0, 3.0))  # outcomes 0 and 3 beside the steps' 1 and 0
    unit = 0.5 / (0.5**0.5 + 1e-4)  # the deviation over the unbiased spread of 1 and 0
    process = torch.tensor([[unit], [-unit]])
    found = advantages([outcome], GRPO(kl_coef=0, advantages="centred"))[:, 2:]
    torch.testing.assert_close(found, (torch.tensor([[-1.5], [1.5]]) + process).expand(2, 5), rtol=1e-6, atol=1e-6)


def test_remax_compares_with_the_greedy_completion() -> None:
    group = replace(make_group([2], [[4], [5]], [1.0, 0.25]), baseline=0.5)
    found = advantages([group], GRPO(advantages="raw", baseline="greedy", surrogate="reinforce", kl_coef=0))
    torch.testing.assert_close(found[:, 1], torch.tensor([0.5, -0.25]))


def test_kl_in_the_reward_is_taken_off_before_the_group_is_compared() -> None:
    group = make_group([2, 3], [[4, 5], [6, 7, 8]], [1.0, 0.0])
    penalty = torch.tensor([[9.0, 9.0, 0.1, 0.2, 9.0], [9.0, 9.0, 0.3, 0.3, 0.3]])  # 9 lies outside the mask
    algorithm = GRPO(advantages="leave_one_out", kl="k1", kl_in="reward", kl_coef=1.0)
    a, b = 1.0 - 0.3, 0.0 - 0.9
    found = advantages([group], algorithm, penalty)
    torch.testing.assert_close(found[0, 2:4], torch.tensor([a - b, a - b]), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found[1, 2:], torch.tensor([b - a] * 3), rtol=1e-6, atol=1e-6)


def test_kl_in_the_returns_is_summed_from_each_token_on_and_the_batch_is_whitened() -> None:
    """REINFORCE++ (Hu 2025): reward minus the KL still to come, normalised over all tokens."""
    group = make_group([2, 3], [[4, 5], [6, 7, 8]], [1.0, 0.0])
    penalty = torch.tensor([[9.0, 9.0, 0.1, 0.2, 9.0], [9.0, 9.0, 0.3, 0.4, 0.5]])
    algorithm = GRPO(advantages="raw", kl="k1", kl_in="returns", kl_coef=1.0)
    returns = torch.tensor([1 - 0.3, 1 - 0.2, -1.2, -0.9, -0.5])
    plain = advantages([group], algorithm, penalty)
    torch.testing.assert_close(torch.cat([plain[0, 2:4], plain[1, 2:]]), returns, rtol=1e-6, atol=1e-6)
    white = advantages([group], replace(algorithm, normalise="batch"), penalty)
    found = torch.cat([white[0, 2:4], white[1, 2:]])
    torch.testing.assert_close(found.mean(), torch.tensor(0.0), rtol=0, atol=1e-9)
    torch.testing.assert_close(found * returns.std(correction=0), returns - returns.mean(), rtol=1e-6, atol=1e-6)
    order = returns.argsort()
    assert torch.equal(found.argsort(), order)


def test_a_group_without_spread_is_recognised() -> None:
    nan = float("nan")
    for rewards, expected in (([1, 1], False), ([1, 0], True), ([nan, 1], False), ([nan, nan], False)):
        assert has_spread(make_group([2], [[3], [4]], rewards)) is expected


def test_rows_are_right_padded_and_know_their_prefix() -> None:
    groups = [make_group([2, 3], [[4], [5, 6]], [0, 1]), make_group([7], [[8, 9], [10]], [0, 1])]
    inputs = batching.token_inputs(groups, torch.device("cpu"))
    assert inputs.tokens.tolist() == [[2, 3, 4, 0], [2, 3, 5, 6], [7, 8, 9, 0], [7, 10, 0, 0]]
    assert inputs.attention_mask.sum(1).tolist() == [3, 4, 3, 2]
    assert inputs.prefix_lengths.tolist() == [2, 2, 1, 1]
    assert inputs.prefix_id.tolist() == [0, 0, 1, 1]
