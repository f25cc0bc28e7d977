"""Importance ratios and policy losses: what they reduce to, their gradients, and their values in loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import llmrl.functional as F

NAN = math.nan
BOUNDS = F.Bounds(clip_eps=0.2, clip_eps_high=0.3, clip_max=3.0)
LOSSES = [F.reinforce, F.unclipped_surrogate, F.clipped_surrogate, F.dual_clipped_surrogate, F.cispo]
MASK = torch.tensor([[1, 1, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 1, 0, 0]]).bool()


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities, old ones near enough that some ratios are inside the bounds, and advantages."""
    logprobs = -torch.rand(4, 5) - 0.1
    return logprobs, logprobs + 0.4 * torch.randn(4, 5), torch.randn(4, 5)


def slope(loss, log_ratio: float, advantage: float) -> float:
    """∂loss/∂log π at one token whose log-ratio is given."""
    logprobs = torch.tensor([[-1.0]], requires_grad=True)
    ratio = F.token_log_ratio(logprobs, torch.tensor([[-1.0 - log_ratio]]), torch.tensor([[True]]))
    (grad,) = torch.autograd.grad(loss(logprobs, ratio, torch.tensor([[advantage]]), BOUNDS).sum(), logprobs)
    return grad.item()


# Ratios


def test_token_log_ratio_is_the_difference_on_the_mask():
    logprobs, old, _ = batch()
    got = F.token_log_ratio(torch.where(MASK, logprobs, NAN), torch.where(MASK, old, NAN), MASK)
    expected = [[(logprobs[i, j] - old[i, j]).item() if MASK[i, j] else 0.0 for j in range(5)] for i in range(4)]
    assert_close(got, torch.tensor(expected))


def test_sequence_log_ratio_is_the_rows_mean_on_the_mask():
    logprobs, old, _ = batch()
    got = F.sequence_log_ratio(torch.where(MASK, logprobs, NAN), torch.where(MASK, old, NAN), MASK)
    for i in range(4):
        chosen = [(logprobs[i, j] - old[i, j]).item() for j in range(5) if MASK[i, j]]
        mean = sum(chosen) / len(chosen) if chosen else 0.0
        assert_close(got[i], torch.tensor([mean if MASK[i, j] else 0.0 for j in range(5)]))


def test_sequence_ratio_is_the_geometric_mean_of_the_token_ratios():
    """(π(y)/π_old(y))^(1/|y|), by multiplying probabilities."""
    p, old = [0.5, 0.2, 0.9], [0.4, 0.25, 0.3]
    expected = (math.prod(p) / math.prod(old)) ** (1 / 3)
    ratio = F.sequence_log_ratio(torch.tensor([p]).log(), torch.tensor([old]).log(), torch.ones(1, 3).bool()).exp()
    assert_close(ratio, torch.full((1, 3), expected))


def test_on_rows_of_one_token_the_two_ratios_agree_in_value_and_gradient():
    logprobs, old, direction = batch()
    mask = torch.eye(5).bool()[:4]
    outcomes = []
    for function in (F.token_log_ratio, F.sequence_log_ratio):
        x = logprobs.clone().requires_grad_()
        result = function(x, old, mask)
        outcomes.append([result, *torch.autograd.grad((direction * result).sum(), x)])
    assert_close(*outcomes, rtol=0, atol=0)


@pytest.mark.parametrize("ratio", [F.token_log_ratio, F.sequence_log_ratio])
def test_ratios_of_a_policy_to_itself_are_one(ratio):
    logprobs, _, _ = batch()
    assert (ratio(logprobs, logprobs, MASK) == 0).all()


@pytest.mark.parametrize("ratio", [F.token_log_ratio, F.sequence_log_ratio])
def test_ratios_do_not_see_padding_or_the_order_of_rows(ratio):
    logprobs, old, _ = batch()
    whole = ratio(logprobs, old, MASK)
    padded = [torch.cat([x, torch.full((4, 3), fill)], 1) for x, fill in ((logprobs, NAN), (old, NAN))]
    mask = torch.cat([MASK, torch.zeros(4, 3).bool()], 1)
    assert_close(ratio(*padded, mask)[:, :5], whole)
    order = torch.tensor([2, 0, 3, 1])
    assert_close(ratio(logprobs[order], old[order], MASK[order]), whole[order])


# Losses: what they reduce to


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("ratio", [F.token_log_ratio, F.sequence_log_ratio])
def test_on_policy_every_gradient_is_that_of_reinforce(loss, ratio):
    """−A on each chosen token: with the sequence ratio too, where a row has one advantage."""
    logprobs, _, _ = batch()
    logprobs.requires_grad_()
    advantages = torch.randn(4, 1).expand(4, 5)
    log_ratio = ratio(logprobs, logprobs.detach(), MASK)
    total = F.masked_sum(loss(logprobs, log_ratio, advantages, BOUNDS), MASK)
    (grad,) = torch.autograd.grad(total, logprobs)
    assert_close(grad, torch.where(MASK, -advantages, 0.0))


@pytest.mark.parametrize("loss", LOSSES[1:4])
def test_on_policy_the_surrogates_are_minus_the_advantage(loss):
    logprobs, _, advantages = batch()
    assert_close(loss(logprobs, torch.zeros(4, 5), advantages, BOUNDS), -advantages)


def test_with_bounds_that_never_bite_the_clipped_losses_are_the_unclipped():
    logprobs, old, advantages = batch()
    wide = F.Bounds(clip_eps=1.0, clip_eps_high=1e9, clip_max=1e9)
    log_ratio = F.token_log_ratio(logprobs, old, MASK)
    expected = F.unclipped_surrogate(logprobs, log_ratio, advantages, wide)
    assert_close(F.clipped_surrogate(logprobs, log_ratio, advantages, wide), expected)
    assert_close(F.dual_clipped_surrogate(logprobs, log_ratio, advantages, wide), expected)


def test_dual_clip_is_clip_where_the_advantage_is_not_negative():
    logprobs, _, advantages = batch()
    log_ratio, advantages = 3 * torch.randn(4, 5), advantages.abs()
    advantages[0] = 0.0
    got = F.dual_clipped_surrogate(logprobs, log_ratio, advantages, BOUNDS)
    assert_close(got, F.clipped_surrogate(logprobs, log_ratio, advantages, BOUNDS), rtol=0, atol=0)


def test_reinforce_reads_neither_ratio_nor_bounds():
    logprobs, _, advantages = batch()
    got = F.reinforce(logprobs, torch.full((4, 5), NAN), advantages, F.Bounds(NAN, NAN, NAN))
    assert_close(got, -advantages * logprobs)


def test_surrogates_do_not_read_the_log_probabilities():
    logprobs, old, advantages = batch()
    log_ratio = F.token_log_ratio(logprobs, old, MASK)
    for loss in LOSSES[1:4]:
        got = loss(torch.full((4, 5), NAN), log_ratio, advantages, BOUNDS)
        assert_close(got, loss(logprobs, log_ratio, advantages, BOUNDS))


# Losses: where the gradient is

INSIDE, FAR_ABOVE, FAR_BELOW = 0.1, math.log(2.0), math.log(0.5)


@pytest.mark.parametrize(
    ("log_ratio", "advantage", "expected"),
    [
        (FAR_ABOVE, 1.5, 0.0),  # already much likelier, and good: no more
        (FAR_ABOVE, -1.5, 1.5 * 2.0),  # much likelier, and bad: back
        (FAR_BELOW, -1.5, 0.0),  # already much rarer, and bad: no more
        (FAR_BELOW, 1.5, -1.5 * 0.5),  # much rarer, and good: back
        (INSIDE, 1.5, -1.5 * math.exp(0.1)),
        (INSIDE, -1.5, 1.5 * math.exp(0.1)),
        (math.log(1.25), 1.5, -1.5 * 1.25),  # between 1 + clip_eps and 1 + clip_eps_high
        (math.log(1.35), 1.5, 0.0),
        (math.log(0.85), -1.5, 1.5 * 0.85),
        (math.log(0.75), -1.5, 0.0),  # between 1 − clip_eps_high and 1 − clip_eps
    ],
)
@pytest.mark.parametrize("loss", [F.clipped_surrogate, F.dual_clipped_surrogate])
def test_the_gradient_is_zero_outside_the_trust_region_on_the_far_side_only(loss, log_ratio, advantage, expected):
    assert slope(loss, log_ratio, advantage) == pytest.approx(expected, abs=1e-12)


def test_the_dual_clip_takes_the_gradient_away_where_a_bad_token_became_far_likelier():
    beyond = math.log(3.5)  # clip_max is 3
    assert slope(F.clipped_surrogate, beyond, -1.0) == pytest.approx(3.5)
    assert slope(F.dual_clipped_surrogate, beyond, -1.0) == 0
    assert slope(F.dual_clipped_surrogate, math.log(2.9), -1.0) == pytest.approx(2.9)


@pytest.mark.parametrize(
    ("log_ratio", "weight"),
    [(FAR_ABOVE, 1.3), (FAR_BELOW, 0.8), (INSIDE, math.exp(0.1)), (math.log(1.25), 1.25)],
)
@pytest.mark.parametrize("advantage", [1.5, -1.5])
def test_cispo_keeps_a_gradient_everywhere_and_only_clips_its_weight(log_ratio, weight, advantage):
    assert slope(F.cispo, log_ratio, advantage) == pytest.approx(-weight * advantage)


# Losses: values


@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_values_in_loops(scale):
    logprobs, log_ratio, advantages = -torch.rand(4, 5), scale * torch.randn(4, 5), torch.randn(4, 5)

    def by_loops(formula) -> Tensor:
        arguments = torch.stack([logprobs, log_ratio.exp(), advantages], -1).view(20, 3).tolist()
        return torch.tensor([formula(*one) for one in arguments]).view(4, 5)

    def clip(r: float) -> float:
        return 0.8 if r < 0.8 else 1.3 if r > 1.3 else r

    formulas = {
        F.reinforce: lambda lp, r, a: -a * lp,
        F.unclipped_surrogate: lambda lp, r, a: -r * a,
        F.clipped_surrogate: lambda lp, r, a: -min(r * a, clip(r) * a),
        F.dual_clipped_surrogate: lambda lp, r, a: (
            -(min(r * a, clip(r) * a) if a >= 0 else max(min(r * a, clip(r) * a), 3 * a))
        ),
        F.cispo: lambda lp, r, a: -clip(r) * a * lp,
    }
    for loss, formula in formulas.items():
        assert_close(loss(logprobs, log_ratio, advantages, BOUNDS), by_loops(formula))


def test_values_by_hand():
    # r = 2, A = 1: min(2, 1.3). r = 2, A = −1: min(−2, −1.3). r = 4, A = −1: max(−4, −3).
    # r = 1/2, A = −1: min(−0.5, −0.8)
    log_ratio = torch.tensor([[2.0, 2.0, 4.0, 0.5]]).log()
    advantages, logprobs = torch.tensor([[1.0, -1.0, -1.0, -1.0]]), torch.full((1, 4), -2.0)
    clipped = F.clipped_surrogate(logprobs, log_ratio, advantages, BOUNDS)
    assert_close(clipped, torch.tensor([[-1.3, 2.0, 4.0, 0.8]]))
    dual = F.dual_clipped_surrogate(logprobs, log_ratio, advantages, BOUNDS)
    assert_close(dual, torch.tensor([[-1.3, 2.0, 3.0, 0.8]]))
    assert_close(F.cispo(logprobs, log_ratio, advantages, BOUNDS), torch.tensor([[2.6, -2.6, -2.6, -1.6]]))


@pytest.mark.parametrize("loss", LOSSES)
def test_nan_off_the_mask_changes_neither_value_nor_gradient(loss):
    tensors = batch()

    def run(fill: float) -> list[Tensor]:
        logprobs, old, advantages = (torch.where(MASK, x, fill) for x in tensors)
        logprobs.requires_grad_()
        log_ratio = F.token_log_ratio(logprobs, old, MASK)
        per_token = loss(F.masked(logprobs, MASK), log_ratio, F.masked(advantages, MASK), BOUNDS)
        total = F.masked_sum(per_token, MASK)
        return [total, *torch.autograd.grad(total, logprobs)]

    assert_close(run(NAN), run(0.0), rtol=0, atol=0)


@pytest.mark.parametrize("ratio", [F.token_log_ratio, F.sequence_log_ratio])
def test_nan_off_the_mask_changes_no_gradient_of_a_ratio(ratio):
    tensors, direction = batch(), torch.randn(4, 5)

    def run(fill: float) -> Tensor:
        logprobs, old, _ = (torch.where(MASK, x, fill) for x in tensors)
        logprobs.requires_grad_()
        (grad,) = torch.autograd.grad((direction * ratio(logprobs, old, MASK).exp()).sum(), logprobs)
        return grad

    assert_close(run(NAN), run(0.0), rtol=0, atol=0)


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_are_elementwise(loss):
    """A NaN that nobody masked is seen, and stays where it is."""
    logprobs, log_ratio, advantages = torch.randn(3, 4, 5)
    expected = loss(logprobs, log_ratio, advantages, BOUNDS)
    advantages[1, 2] = NAN
    got = loss(logprobs, log_ratio, advantages, BOUNDS)
    assert got[1, 2].isnan()
    got[1, 2] = expected[1, 2]
    assert_close(got, expected, rtol=0, atol=0)


# Clip fractions


def test_clip_fractions_by_hand():
    ratio = torch.tensor([[0.5, 0.5, 2.0, 2.0, 1.0, 0.75, 1.25, 2.0, 0.5, 2.0]])
    advantages = torch.tensor([[-1.0, 1.0, 1.0, -1.0, 1.0, -1.0, 1.0, 0.0, -1.0, 1.0]])
    mask = torch.tensor([[True] * 8 + [False] * 2])
    low, high = F.clip_fractions(ratio.log(), advantages, mask, BOUNDS)
    assert low.dtype == high.dtype == torch.bool
    assert low.tolist() == [[True, False, False, False, False, True, False, False, False, False]]
    assert high.tolist() == [[False, False, True, False, False, False, False, False, False, False]]


def test_clip_fractions_are_where_the_clipped_surrogate_has_no_gradient():
    log_ratio, advantages = 0.5 * torch.randn(2, 40, 5)
    mask = torch.rand(40, 5) < 0.7
    log_ratio.requires_grad_()
    loss = F.masked_sum(F.clipped_surrogate(log_ratio, log_ratio, advantages, BOUNDS), mask)
    (grad,) = torch.autograd.grad(loss, log_ratio)
    low, high = F.clip_fractions(log_ratio, advantages, mask, BOUNDS)
    assert ((low | high) == ((grad == 0) & mask)).all()
    assert not (low & high).any()
    assert low.any()
    assert high.any()


def test_clip_fractions_read_nothing_off_the_mask():
    log_ratio, advantages = torch.randn(2, 4, 5)
    clean = F.clip_fractions(log_ratio, advantages, MASK, BOUNDS)
    spoilt = F.clip_fractions(torch.where(MASK, log_ratio, NAN), torch.where(MASK, advantages, NAN), MASK, BOUNDS)
    assert_close(spoilt, clean)
    assert not (clean[0] | clean[1])[~MASK].any()
