"""Advantages along time, within a group and over reasoning steps."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

import llmrl.functional as F

NAN = math.nan
EXACT = {"rtol": 1e-11, "atol": 1e-12}
GROUP_FORMS = [F.group_raw, F.group_centred, F.group_standardised, F.leave_one_out, F.group_softmax]
BASELINED = GROUP_FORMS[1:]


def strips(rows: int = 3, length: int = 7) -> dict[str, Tensor]:
    """Random strips with an episode that ends inside, a time limit inside, and none."""
    discounts, traces = torch.full((rows, length), 0.9), torch.full((rows, length), 0.8)
    discounts[0, 3] = traces[0, 3] = 0.0  # terminated
    traces[1:2, 2] = 0.0  # cut off, with a value beyond
    rewards, values, next_values = torch.randn(3, rows, length)
    return {
        "rewards": rewards,
        "discounts": discounts,
        "traces": traces,
        "values": values,
        "next_values": next_values,
    }


def finished(length: int = 6) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One episode of undiscounted text: rewards, discounts, values and the true successors' values."""
    rewards, values = torch.randn(2, 1, length)
    discounts = torch.ones(1, length)
    discounts[:, -1] = 0.0
    return rewards, discounts, values, torch.cat([values[:, 1:], torch.zeros(1, 1)], 1)


# Along time


def test_gae_in_loops():
    s = strips()
    got = F.gae(**s)
    for i in range(3):
        r, d, k, v, n = (s[name][i].tolist() for name in s)
        for t in range(7):
            expected, weight = 0.0, 1.0
            for u in range(t, 7):
                expected += weight * (r[u] + d[u] * n[u] - v[u])
                weight *= d[u] * k[u]
            assert got[i, t].item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_returns_in_loops():
    s = strips()
    got = F.discounted_returns(s["rewards"], s["discounts"])
    for i in range(3):
        for t in range(7):
            expected, weight = 0.0, 1.0
            for u in range(t, 7):
                expected += weight * s["rewards"][i, u].item()
                weight *= s["discounts"][i, u].item()
            assert got[i, t].item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_by_hand():
    # γ = 1/2: returns 4, 2 + 4/2, 1 + 4/2. δ: 4 − 1, 2 + 1/2 − 2, 1 + 2/2 − 3.
    # λ = 1/2: 3, 0.5 + 3/4, −1 + 1.25/4
    rewards, discounts = torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[0.5, 0.5, 0.0]])
    values, next_values = torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[2.0, 1.0, 99.0]])
    assert_close(F.discounted_returns(rewards, discounts), torch.tensor([[3.0, 4.0, 4.0]]))
    got = F.gae(rewards, discounts, torch.full((1, 3), 0.5), values, next_values)
    assert_close(got, torch.tensor([[-0.6875, 1.25, 3.0]]))


def test_gae_with_full_traces_is_return_minus_value():
    rewards, discounts, values, next_values = finished()
    to_go = [sum(rewards[0, t:].tolist()) for t in range(6)]
    got = F.gae(rewards, discounts, torch.ones(1, 6), values, next_values)
    assert_close(got, torch.tensor([to_go]) - values, **EXACT)


def test_gae_without_traces_is_the_td_error():
    s = strips()
    s["traces"] = torch.zeros(3, 7)
    expected = s["rewards"] + s["discounts"] * s["next_values"] - s["values"]
    assert_close(F.gae(**s), expected, **EXACT)


def test_gae_of_the_true_values_is_zero():
    """Rewards that are what the values say, V(s) = r + γ V(s'), leave nothing to learn."""
    s = strips()
    s["rewards"] = s["values"] - s["discounts"] * s["next_values"]
    assert_close(F.gae(**s), torch.zeros(3, 7), rtol=0, atol=1e-12)


def test_two_concatenated_episodes_equal_each_alone():
    first, second = strips(1), strips(1)  # row 0 of strips is cut inside as well
    for s, last in ((first, {"discounts": 0.0}), (second, {})):
        for name, value in last.items():
            s[name][:, -1] = value
    together = {name: torch.cat([first[name], second[name]], 1) for name in first}
    assert_close(F.gae(**together), torch.cat([F.gae(**first), F.gae(**second)], 1), **EXACT)
    alone = [F.discounted_returns(s["rewards"], s["discounts"]) for s in (first, second)]
    got = F.discounted_returns(together["rewards"], together["discounts"])
    assert_close(got, torch.cat(alone, 1), **EXACT)


def test_a_time_limit_cuts_the_trace_and_keeps_the_value_beyond():
    first, second = strips(1), strips(1)
    first["traces"][:, -1] = 0.0
    together = {name: torch.cat([first[name], second[name]], 1) for name in first}
    assert_close(F.gae(**together)[:, :7], F.gae(**first), **EXACT)
    first["next_values"][:, -1] += 1.0
    shifted = {name: torch.cat([first[name], second[name]], 1) for name in first}
    assert_close((F.gae(**shifted) - F.gae(**together))[0, 6], torch.tensor(0.9), **EXACT)


def test_nothing_behind_a_boundary_is_read_not_even_nan():
    rewards, discounts, values, next_values = finished()
    direction = torch.randn(1, 6)

    def run(fill: float) -> list[Tensor]:
        pad = torch.full((1, 3), fill)
        r, v = (torch.cat([x, pad], 1).requires_grad_() for x in (rewards, values))
        d, k = (torch.cat([x, torch.ones(1, 3)], 1) for x in (discounts, torch.full((1, 6), 0.7)))
        n = torch.cat([next_values[:, :-1], torch.full((1, 1), fill), pad], 1)
        advantages = F.gae(r, d, k, v, n)[:, :6]
        returns = F.discounted_returns(r, d)[:, :6]
        grads = torch.autograd.grad((direction * (advantages + 2 * returns)).sum(), (r, v))
        return [advantages, returns, *grads]

    assert_close(run(NAN), run(0.0), rtol=0, atol=0)


def test_no_steps():
    empty = torch.empty(3, 0)
    assert F.gae(empty, empty, empty, empty, empty).shape == (3, 0)
    assert F.discounted_returns(empty, empty).shape == (3, 0)


# Within a group


def test_group_forms_by_hand():
    # valid rewards 1, 2, 6: mean 3, centred −2, −1, 3, unbiased variance 14/2 = 7;
    # others' means 4, 3.5, 1.5; softmax at temperature ln 2: 2, 4, 64 over 70
    rewards = torch.tensor([[1.0, NAN, 2.0, 6.0]])
    valid = ~rewards.isnan()
    assert_close(F.group_raw(rewards, valid), torch.tensor([[1.0, 0.0, 2.0, 6.0]]))
    assert_close(F.group_centred(rewards, valid), torch.tensor([[-2.0, 0.0, -1.0, 3.0]]), **EXACT)
    std = math.sqrt(7)
    standardised = torch.tensor([[-2.0, 0.0, -1.0, 3.0]])
    assert_close(F.group_standardised(rewards, valid), standardised / (std + 1e-4), **EXACT)
    assert_close(F.group_standardised(rewards, valid, eps=1.0), standardised / (std + 1.0), **EXACT)
    assert_close(F.leave_one_out(rewards, valid), torch.tensor([[-3.0, 0.0, -1.5, 4.5]]), **EXACT)
    softmax = torch.tensor([[2 / 70 - 1 / 3, 0.0, 4 / 70 - 1 / 3, 64 / 70 - 1 / 3]])
    assert_close(F.group_softmax(rewards, valid, group_temperature=math.log(2)), softmax, **EXACT)
    total = sum(math.exp(r) for r in (1, 2, 6))
    plain = [math.exp(r) / total - 1 / 3 for r in (1, 2, 6)]
    assert_close(F.group_softmax(rewards, valid)[valid], torch.tensor(plain), **EXACT)


@settings(deadline=None, derandomize=True, max_examples=40, database=None)
@given(st.lists(st.one_of(st.none(), st.floats(-5, 5)), min_size=1, max_size=6))
def test_group_forms_in_loops(rewards):
    """None is an invalid row."""
    seen = [r for r in rewards if r is not None]
    n, mean = len(seen), sum(seen) / max(len(seen), 1)
    std = math.sqrt(sum((r - mean) ** 2 for r in seen) / (n - 1)) if n > 1 else 0.0
    total = sum(math.exp(2 * r) for r in seen)
    formulas = {
        F.group_raw: lambda r: r,
        F.group_centred: lambda r: r - mean,
        F.group_standardised: lambda r: (r - mean) / (std + 1e-4),
        F.leave_one_out: lambda r: r - (sum(seen) - r) / (n - 1) if n > 1 else 0.0,
        F.group_softmax: lambda r: math.exp(2 * r) / total - 1 / n,
    }
    x = torch.tensor([[NAN if r is None else r for r in rewards]], dtype=torch.float64)
    for form, formula in formulas.items():
        options = {"group_temperature": 2.0} if form is F.group_softmax else {}
        expected = torch.tensor([[0.0 if r is None else formula(r) for r in rewards]], dtype=torch.float64)
        assert_close(form(x, ~x.isnan(), **options), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("form", BASELINED)
def test_advantages_of_a_group_sum_to_zero_and_keep_its_order(form):
    rewards, valid = torch.randn(5, 8), torch.rand(5, 8) < 0.8
    advantages = form(rewards, valid)
    assert_close(advantages.sum(1), torch.zeros(5), rtol=0, atol=1e-13)
    for i in range(5):
        chosen = valid[i]
        assert advantages[i][chosen].argsort().tolist() == rewards[i][chosen].argsort().tolist()


@pytest.mark.parametrize("form", GROUP_FORMS)
def test_permuting_a_group_or_the_groups_permutes_the_advantages(form):
    rewards, valid = torch.randn(4, 6), torch.rand(4, 6) < 0.7
    inside, across = torch.randperm(6), torch.randperm(4)
    whole = form(rewards, valid)
    assert_close(form(rewards[:, inside], valid[:, inside]), whole[:, inside], **EXACT)
    assert_close(form(rewards[across], valid[across]), whole[across], rtol=0, atol=0)


@pytest.mark.parametrize("form", GROUP_FORMS)
def test_groups_may_have_any_leading_shape(form):
    rewards, valid = torch.randn(2, 3, 4), torch.rand(2, 3, 4) < 0.7
    expected = torch.stack([form(rewards[i], valid[i]) for i in range(2)])
    assert_close(form(rewards, valid), expected, rtol=0, atol=0)
    assert_close(form(rewards[0, 0], valid[0, 0]), expected[0, 0], rtol=0, atol=0)


@pytest.mark.parametrize("form", BASELINED)
def test_a_shift_of_all_rewards_changes_nothing(form):
    rewards, valid = torch.randn(4, 6), torch.ones(4, 6).bool()
    assert_close(form(rewards + 100, valid), form(rewards, valid))


def test_standardised_advantages_do_not_know_the_scale():
    rewards, valid = torch.randn(4, 6), torch.ones(4, 6).bool()
    got = F.group_standardised(7 * rewards, valid, eps=0.0)
    assert_close(got, F.group_standardised(rewards, valid, eps=0.0))
    assert_close(got.std(1), torch.ones(4))


@pytest.mark.parametrize("form", BASELINED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_rewards_give_exactly_zero(form, dtype):
    rewards = torch.tensor([[0.1] * 7, [0.7] * 7, [1 / 3] * 7], dtype=dtype)
    assert (form(rewards, torch.ones(3, 7).bool()) == 0).all()


@pytest.mark.parametrize("form", GROUP_FORMS)
@pytest.mark.parametrize("default", [torch.float32, torch.float64])
def test_group_forms_keep_the_precision_of_the_rewards(form, default):
    rewards, valid = torch.randn(2, 3), torch.ones(2, 3).bool()
    expected = form(rewards, valid)
    torch.set_default_dtype(default)
    assert_close(form(rewards, valid), expected, rtol=0, atol=0)
    assert form(rewards.float(), valid).dtype == torch.float32


@pytest.mark.parametrize("form", BASELINED)
def test_fewer_than_two_valid_rows_give_exactly_zero(form):
    rewards = torch.tensor([[5.0, NAN, NAN], [NAN, NAN, NAN], [NAN, NAN, -2.0]])
    assert (form(rewards, ~rewards.isnan()) == 0).all()


@pytest.mark.parametrize("form", GROUP_FORMS)
def test_an_invalid_row_is_as_if_it_were_not_there(form):
    rewards, valid = torch.randn(3, 6), torch.tensor([True, False, True, True, False, True]).expand(3, 6)
    kept = valid[0]
    expected = form(rewards[:, kept], torch.ones(3, 4).bool())
    for fill in (NAN, math.inf, 1e6):
        got = form(torch.where(valid, rewards, fill), valid)
        assert_close(got[:, kept], expected, **EXACT)
        assert (got[:, ~kept] == 0).all()


@pytest.mark.parametrize("form", GROUP_FORMS)
def test_nan_in_an_invalid_row_changes_no_gradient(form):
    rewards, valid, direction = torch.randn(3, 6), torch.rand(3, 6) < 0.7, torch.randn(3, 6)

    def run(fill: float) -> Tensor:
        x = torch.where(valid, rewards, fill).requires_grad_()
        (grad,) = torch.autograd.grad((direction * form(x, valid)).sum(), x)
        return grad

    assert_close(run(NAN), run(0.0), rtol=0, atol=0)


def test_leave_one_out_of_two_is_the_difference():
    rewards = torch.randn(5, 2)
    difference = rewards[:, :1] - rewards[:, 1:]
    got = F.leave_one_out(rewards, torch.ones(5, 2).bool())
    assert_close(got, torch.cat([difference, -difference], 1), **EXACT)


def test_leave_one_out_is_the_centred_form_times_g_over_g_minus_1():
    rewards, valid = torch.randn(4, 5), torch.ones(4, 5).bool()
    centred = rewards - rewards.mean(1, keepdim=True)
    assert_close(F.leave_one_out(rewards, valid), 5 / 4 * centred, **EXACT)


def test_softmax_goes_from_indifference_to_winner_takes_all():
    rewards, valid = torch.tensor([[0.0, 1.0, 0.5]]), torch.ones(1, 3).bool()
    assert (F.group_softmax(rewards, valid, group_temperature=0.0) == 0).all()
    got = F.group_softmax(rewards, valid, group_temperature=1000.0)
    assert_close(got, torch.tensor([[-1 / 3, 2 / 3, -1 / 3]]), rtol=0, atol=1e-12)


# Over reasoning steps


def step_rewards() -> tuple[Tensor, Tensor]:
    """Two groups of three completions with 3, 1, 2 and 2, 0, 3 steps; NaN where there is no step."""
    valid = torch.tensor([[3, 1, 2], [2, 0, 3]])[..., None] > torch.arange(3)
    return torch.where(valid, torch.randn(2, 3, 3), NAN), valid


def test_process_pooled_in_loops():
    rewards, valid = step_rewards()
    got = F.process_pooled(rewards, valid)
    for p in range(2):
        pool = [rewards[p, g, k].item() for g in range(3) for k in range(3) if valid[p, g, k]]
        mean = sum(pool) / len(pool)
        std = math.sqrt(sum((r - mean) ** 2 for r in pool) / (len(pool) - 1))
        expected = torch.where(valid[p], (rewards[p] - mean) / (std + 1e-4), 0.0)
        assert_close(got[p], expected, **EXACT)


def test_process_per_index_in_loops():
    rewards, valid = step_rewards()
    got = F.process_per_index(rewards, valid)
    for p in range(2):
        present = [g for g in range(3) if valid[p, g, 0]]
        for k in range(3):
            pool = [rewards[p, g, k].item() if valid[p, g, k] else 0.0 for g in present]
            mean = sum(pool) / len(pool)
            std = math.sqrt(sum((r - mean) ** 2 for r in pool) / (len(pool) - 1))
            expected = torch.where(valid[p, :, k], (rewards[p, :, k] - mean) / (std + 1e-4), 0.0)
            assert_close(got[p, :, k], expected, **EXACT)


def test_process_by_hand():
    # steps 1, 3 and 2: pooled mean 2, unbiased variance 1. Per index, eps 0: step 0 has 1 and 2, mean 1.5,
    # std √½; step 1 has 3 and a finished completion's 0, mean 1.5, std 3/√2
    rewards, valid = torch.tensor([[[1.0, 3.0], [2.0, NAN]]]), torch.tensor([[[True, True], [True, False]]])
    assert_close(F.process_pooled(rewards, valid, eps=0.0), torch.tensor([[[-1.0, 1.0], [0.0, 0.0]]]))
    half = math.sqrt(0.5)
    got = F.process_per_index(rewards, valid, eps=0.0)
    assert_close(got, torch.tensor([[[-half, half], [half, 0.0]]]))


@pytest.mark.parametrize("form", [F.process_pooled, F.process_per_index])
def test_with_one_step_each_process_rewards_are_outcome_rewards(form):
    rewards = torch.randn(3, 5)
    expected = (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)
    assert_close(form(rewards[..., None], torch.ones(3, 5, 1).bool())[..., 0], expected, **EXACT)


@pytest.mark.parametrize("form", [F.process_pooled, F.process_per_index])
def test_a_completion_without_any_step_leaves_the_statistics(form):
    rewards, valid = step_rewards()
    kept = [0, 2]
    got = form(rewards[1:], valid[1:])
    assert_close(got[:, kept], form(rewards[1:, kept], valid[1:, kept]), **EXACT)
    assert (got[:, 1] == 0).all()


def test_equal_step_rewards_give_exactly_zero_at_every_index():
    rewards = torch.tensor([0.1, 0.7, 1 / 3]).expand(2, 7, 3)
    assert (F.process_per_index(rewards, torch.ones(2, 7, 3).bool()) == 0).all()


def test_steps_to_tokens_by_hand_and_in_loops():
    # steps end at tokens 1 and 3 with values 10 and 1; ends of missing steps are garbage
    values, ends = torch.tensor([[10.0, 1.0], [5.0, NAN]]), torch.tensor([[1, 3], [0, -7]])
    valid = torch.tensor([[True, True], [True, False]])
    got = F.steps_to_tokens(values, ends, valid, 5)
    assert_close(got, torch.tensor([[11.0, 11.0, 1.0, 1.0, 0.0], [5.0, 0.0, 0.0, 0.0, 0.0]]))
    values, ends, valid = torch.randn(6, 4), torch.randint(9, (6, 4)), torch.rand(6, 4) < 0.7
    expected = [
        [sum(values[b, k].item() for k in range(4) if valid[b, k] and ends[b, k] >= t) for t in range(9)]
        for b in range(6)
    ]
    got = F.steps_to_tokens(torch.where(valid, values, NAN), torch.where(valid, ends, 999), valid, 9)
    assert_close(got, torch.tensor(expected), **EXACT)


def test_one_step_at_the_end_is_an_outcome_reward():
    got = F.steps_to_tokens(torch.tensor([[2.5]]), torch.tensor([[3]]), torch.tensor([[True]]), 6)
    assert_close(got, torch.tensor([[2.5, 2.5, 2.5, 2.5, 0.0, 0.0]]))


def test_a_valid_step_that_ends_outside_the_tokens_raises():
    with pytest.raises(RuntimeError, match="out of bounds"):
        F.steps_to_tokens(torch.ones(1, 1), torch.tensor([[4]]), torch.tensor([[True]]), 4)


@pytest.mark.parametrize("form", [F.process_pooled, F.process_per_index])
def test_nan_in_a_missing_step_changes_no_gradient(form):
    rewards, valid = step_rewards()
    direction = torch.randn(2, 3, 3)

    def run(fill: float) -> Tensor:
        x = torch.where(valid, rewards, fill).requires_grad_()
        tokens = F.steps_to_tokens(
            (direction * form(x, valid)).flatten(0, 1), torch.arange(3).expand(6, 3), valid.flatten(0, 1), 3
        )
        (grad,) = torch.autograd.grad(tokens.sum(), x)
        return grad

    assert_close(run(NAN), run(0.0), rtol=0, atol=0)


# Length


def test_overlong_penalty_by_hand():
    # max 100, cache 20: free up to 80, then linear to −1 at 100
    lengths = torch.tensor([[1, 80, 81], [90, 100, 130]])
    got = F.overlong_penalty(lengths, max_tokens=100, cache=20)
    assert_close(got, torch.tensor([[0.0, 0.0, -0.05], [-0.5, -1.0, -1.0]]))
