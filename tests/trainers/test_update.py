"""Gradients do not depend on how a step is cut up; what the loss is given is what was sampled."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
import torch
from helpers import make_group, make_policy, random_group
from torch import Tensor

from llmrl.algorithms.grpo import GRPO
from llmrl.policies.causal_lm import CausalPolicy
from llmrl.policies.reference import make_reference
from llmrl.trainers import batching
from llmrl.trainers.update import UpdateMetrics, cut_rows, update
from llmrl.types import Batch, Experience, Group, PolicyOutput, TokenInputs


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class PlainStepper:
    """Bare torch: keeps the gradient of each optimizer step, and steps by plain gradient descent."""

    def __init__(self, policy: CausalPolicy, rate: float = 0.0) -> None:
        self.policy, self.rate = policy, rate
        self.gradients: list[Tensor] = []
        self.rows = 0

    def accumulate(self, *, last: bool) -> AbstractContextManager[None]:
        return nullcontext()

    def forward(self, inputs: TokenInputs) -> PolicyOutput:
        self.rows += len(inputs.tokens)
        return self.policy(inputs)

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def step(self) -> float:
        parameters = list(self.policy.trainable().values())
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        self.gradients.append(torch.cat([g.flatten() for g in gradients]))
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= self.rate * gradient
        self.policy.zero_grad()
        return float(self.gradients[-1].norm())


def make_batch(groups: list[Group], algorithm: GRPO, *, minibatches: int = 1, max_tokens: int = 9) -> list[Batch]:
    inputs = batching.token_inputs(groups, torch.device("cpu"))
    mask = batching.chosen_mask(groups, algorithm, inputs)
    advantages = batching.token_advantages(groups, algorithm, mask, inputs, None)
    behaviour = batching.spread(groups, [c.logprobs for g in groups for c in g.completions], inputs)
    experience = Experience(mask, advantages, torch.zeros_like(advantages), behaviour_logprobs=behaviour)
    return batching.minibatches(
        Batch(inputs, experience), batching.group_ids(groups), algorithm, minibatches, max_tokens
    )


def run(
    folder: Path, batches: list[Batch], algorithm: GRPO, *, tokens: int = 10_000, rate: float = 0.0
) -> PlainStepper:
    policy = make_policy(folder).double()
    stepper = PlainStepper(policy, rate)
    update(
        batches,
        lambda output, experience: algorithm.loss(output, experience, algorithm.kl_coef),
        stepper,
        UpdateMetrics(),
        micro_batch_tokens=tokens,
        num_iterations=algorithm.num_iterations,
        ref_logprobs=make_reference(policy, policy).logprobs if algorithm.needs_reference else None,
    )
    return stepper


def groups(count: int = 4) -> list[Group]:
    generator = torch.Generator().manual_seed(3)
    return [random_group(generator) for _ in range(count)]


ROWS = [
    GRPO(kl_coef=0.1),
    GRPO(advantages="centred", weights="fixed_length_mean", kl_coef=0),
    GRPO(weights="group_token_mean", clip_eps_high=0.28, kl_coef=0),
    GRPO(weights="token_mean", kl_coef=0),
    GRPO(ratio="sequence", kl_coef=0),
    GRPO(surrogate="cispo", weights="token_mean", kl_coef=0),
    GRPO(
        surrogate="reinforce",
        advantages="leave_one_out",
        weights="sequence_sum",
        kl_coef=0,
        entropy_coef=0.01,
    ),
]


@pytest.mark.parametrize("algorithm", ROWS, ids=lambda a: f"{a.surrogate}-{a.ratio}-{a.weights}")
@pytest.mark.parametrize("tokens", [1, 30, 55])
def test_micro_batches_do_not_change_the_gradient(model_dir: Path, algorithm: GRPO, tokens: int) -> None:
    batches = make_batch(groups(), algorithm)
    whole = run(model_dir, batches, algorithm).gradients[0]
    pieces = run(model_dir, batches, algorithm, tokens=tokens).gradients[0]
    torch.testing.assert_close(pieces, whole, rtol=1e-10, atol=1e-12)
    assert whole.norm() > 0


@pytest.mark.parametrize("algorithm", ROWS, ids=lambda a: f"{a.surrogate}-{a.ratio}-{a.weights}")
def test_padding_does_not_change_the_gradient(model_dir: Path, algorithm: GRPO) -> None:
    """Rows beside much longer ones, and the same rows without them: gradients add up."""
    some = groups(2)
    long = make_group([2, 3, 4], [[5] * 40, [6] * 39, [7] * 38, [8] * 37], [0.0, 0.0, 0.0, 0.0])
    alone = make_batch(some, algorithm)[0]
    beside = make_batch([*some, long], algorithm)[0]
    rows = torch.arange(len(alone))
    kept = beside.rows(rows)
    weights = alone.experience.weights
    padded = torch.zeros_like(kept.experience.weights)
    padded[:, : weights.shape[1]] = weights
    kept = Batch(kept.inputs, Experience(kept.experience.mask, kept.experience.advantages, padded))
    expected = run(model_dir, [alone], algorithm).gradients[0]
    torch.testing.assert_close(run(model_dir, [kept], algorithm).gradients[0], expected, rtol=1e-10, atol=1e-12)


def test_idle_rows_cost_no_forward_and_change_no_gradient(model_dir: Path) -> None:
    algorithm = GRPO(kl_coef=0)
    some = [*groups(2), make_group([2, 3], [[4, 5], [6], [7, 8], [9]], [1.0, 1.0, 1.0, 1.0])]
    batches = make_batch(some, algorithm)
    kept, idle = batching.drop_idle(batches)
    every, busy = run(model_dir, batches, algorithm), run(model_dir, kept, algorithm)
    torch.testing.assert_close(busy.gradients[0], every.gradients[0], rtol=1e-12, atol=1e-12)
    assert every.rows == 12
    assert busy.rows == 12 - len(idle[0])
    assert len(idle[0]) >= 4


def test_a_step_without_any_busy_row_has_zero_gradient(model_dir: Path) -> None:
    algorithm = GRPO(kl_coef=0)
    flat = make_group([2, 3], [[4, 5], [6], [7, 8], [9]], [0.0] * 4)
    kept, idle = batching.drop_idle(make_batch([flat], algorithm))
    stepper = run(model_dir, kept, algorithm)
    assert stepper.rows == 1
    assert len(idle[0]) == 3
    assert not stepper.gradients[0].any()


def test_old_logprobs_are_those_of_the_first_pass(model_dir: Path) -> None:
    """Two iterations over one batch: the second gradient is that of the surrogate at the moved policy."""
    algorithm = GRPO(kl_coef=0, num_iterations=2)
    batches = make_batch(groups(), algorithm)
    stepper = run(model_dir, batches, algorithm, rate=0.5)
    policy = make_policy(model_dir).double()
    with torch.no_grad():
        old = policy(batches[0].inputs).logprobs
        start = 0
        for parameter in policy.trainable().values():
            size = parameter.numel()
            parameter -= 0.5 * stepper.gradients[0][start : start + size].view_as(parameter)
            start += size
    experience = batches[0].experience
    output = policy(batches[0].inputs)
    ratio = (output.logprobs - old).exp()
    surrogate = torch.minimum(ratio * experience.advantages, ratio.clamp(0.8, 1.2) * experience.advantages)
    (-(surrogate * experience.weights)).sum().backward()
    expected = torch.cat([p.grad.flatten() for p in policy.trainable().values() if p.grad is not None])
    torch.testing.assert_close(stepper.gradients[1], expected, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(stepper.gradients[0], stepper.gradients[1])


def test_minibatches_hold_whole_groups_and_their_own_denominators() -> None:
    algorithm = GRPO(weights="token_mean", kl_coef=0)
    batches = make_batch(groups(4), algorithm, minibatches=2)
    assert [len(batch) for batch in batches] == [8, 8]
    for batch in batches:
        assert float(batch.experience.weights.sum()) == pytest.approx(1.0)


def test_cut_rows_keeps_order_and_budget() -> None:
    lengths = [3, 9, 2, 2, 2, 20, 1]
    runs = cut_rows(lengths, 10)
    assert [row for run in runs for row in run] == list(range(7))
    assert all(len(run) == 1 or len(run) * max(lengths[i] for i in run) <= 10 for run in runs)
    assert cut_rows(lengths, 1000) == [list(range(7))]


def test_masked_overlong_completions_keep_their_place(model_dir: Path) -> None:
    group = make_group([2], [[3, 4], [5, 6, 7], [8], [9, 9, 9]], [1.0, 0.0, 1.0, 0.0], cut=[1, 3])
    kept = make_batch([group], GRPO(kl_coef=0))[0].experience
    masked = make_batch([group], GRPO(kl_coef=0, overlong="mask"))[0].experience
    assert masked.mask.sum(1).tolist() == [2, 0, 1, 0]
    torch.testing.assert_close(masked.advantages[0], kept.advantages[0])  # still in the group's statistics
    torch.testing.assert_close(masked.weights[0], kept.weights[0])  # still among the rows
    by_token = make_batch([group], GRPO(kl_coef=0, overlong="mask", weights="token_mean"))[0].experience
    assert float(by_token.weights[0, 1]) == pytest.approx(1 / 3)  # out of the token count


def test_failed_rewards_leave_the_statistics() -> None:
    group = make_group([2], [[3], [4], [5], [6]], [1.0, float("nan"), 0.0, 0.0])
    advantages = make_batch([group], GRPO(advantages="centred", kl_coef=0))[0].experience.advantages
    torch.testing.assert_close(advantages[:, 1], torch.tensor([2 / 3, 0.0, -1 / 3, -1 / 3]))


def test_soft_overlong_penalty_is_a_part_of_the_reward() -> None:
    group = make_group([2], [[3] * 4, [3] * 8, [3] * 10, [3]], [1.0, 1.0, 1.0, 1.0])
    penalised = batching.penalise_overlong([group], GRPO(overlong_cache=4), max_tokens=10)[0]
    assert penalised.parts["overlong"] == pytest.approx((0.0, -0.5, -1.0, 0.0))
    assert penalised.rewards == pytest.approx((1.0, 0.5, 0.0, 1.0))
