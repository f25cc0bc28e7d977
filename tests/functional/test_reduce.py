"""Masked reductions, whitening, and aggregation as weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import llmrl.functional as F

NAN = math.nan
AGGREGATIONS = [F.sequence_mean, F.token_mean, F.group_token_mean, F.fixed_length_mean, F.sequence_sum]

# Three groups: sizes 2, 3 and 1; row 3 has an empty mask, and so has all of group 5.
MASK = torch.tensor(
    [
        [1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0],
        [0, 1, 0, 1, 0],
        [0, 0, 0, 0, 0],
        [1, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]
).bool()
GROUP = torch.tensor([7, 7, 3, 3, 3, 5])
COUNTS = F.Counts(rows=6.0, tokens=9.0, groups=3.0, max_tokens=8)


def with_nan(x: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, x, NAN)


def gradient(function, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (result,) = torch.autograd.grad(function(x).sum(), x)
    return result


# Masked sums and means


def test_masked_keeps_the_mask_and_zeroes_the_rest():
    x = torch.randn(6, 5)
    expected = [[x[i, j].item() if MASK[i, j] else 0.0 for j in range(5)] for i in range(6)]
    assert_close(F.masked(with_nan(x, MASK), MASK), torch.tensor(expected), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_masked_reductions_keep_the_dtype(dtype):
    x = torch.ones(6, 5, dtype=dtype)
    assert F.masked(x, MASK).dtype == F.masked_sum(x, MASK).dtype == F.masked_mean(x, MASK).dtype == dtype


def test_masked_sum_and_mean_by_hand():
    x = torch.tensor([[1.0, 2.0, NAN], [NAN, NAN, NAN], [5.0, NAN, 9.0]])
    mask = ~x.isnan()
    assert_close(F.masked_sum(x, mask), torch.tensor(17.0))
    assert_close(F.masked_sum(x, mask, 1), torch.tensor([3.0, 0.0, 14.0]))
    assert_close(F.masked_sum(x, mask, 0), torch.tensor([6.0, 2.0, 9.0]))
    assert_close(F.masked_mean(x, mask), torch.tensor(17.0 / 4))
    assert_close(F.masked_mean(x, mask, 1), torch.tensor([1.5, 0.0, 7.0]))


def test_masked_mean_of_nothing_is_zero_with_zero_gradient():
    x, nothing = torch.full((2, 3), NAN), torch.zeros(2, 3, dtype=torch.bool)
    assert F.masked_mean(x, nothing) == 0
    assert_close(gradient(lambda x: F.masked_mean(x, nothing), x), torch.zeros(2, 3))


def test_a_mask_that_broadcasts_counts_every_element():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    rows = torch.tensor([[True], [False], [True]])
    assert F.masked_mean(x, rows) == (1 + 2 + 5 + 6) / 4
    assert F.moments(x, rows).count == 4


@pytest.mark.parametrize("function", [F.masked_sum, F.masked_mean])
def test_nan_off_the_mask_changes_no_gradient(function):
    x = torch.randn(6, 5)
    clean = gradient(lambda x: function(x.square(), MASK, 1), torch.where(MASK, x, 0))
    assert_close(gradient(lambda x: function(F.masked(x, MASK).square(), MASK, 1), with_nan(x, MASK)), clean)


def test_masking_what_goes_in_saves_the_gradient_and_masking_what_comes_out_does_not():
    x = torch.tensor([0.5, NAN])
    mask = torch.tensor([True, False])
    assert_close(gradient(lambda x: F.masked_sum(F.masked(x, mask).exp(), mask), x), torch.tensor([math.exp(0.5), 0]))
    assert gradient(lambda x: F.masked_sum(x.exp(), mask), x)[1].isnan()


# Moments and whitening


def test_moments_add_up_over_shards():
    x = with_nan(torch.randn(6, 5), MASK)
    whole = F.moments(x, MASK)
    shards = [F.moments(x[i : i + 2], MASK[i : i + 2]) for i in (0, 2, 4)]
    assert_close(F.Moments(*(sum(parts) for parts in zip(*shards, strict=True))), whole)


def test_moments_by_hand():
    x = torch.tensor([1.0, 2.0, NAN, -4.0])
    count, total, total_of_squares = F.moments(x, ~x.isnan())
    assert (count, total, total_of_squares) == (3, -1, 21)


def test_moments_accumulate_in_float64():
    x = torch.tensor([4096.0, 1.0, 1 / 4096], dtype=torch.float32)  # squares 2²⁴, 1 and 2⁻²⁴: 49 bits
    result = F.moments(x, torch.ones(3, dtype=torch.bool))
    assert all(field.dtype == torch.float64 for field in result)
    assert result.total_of_squares == 2.0**24 + 1 + 2.0**-24


def test_whitened_has_mean_0_and_biased_variance_1():
    x = with_nan(3 + 2 * torch.randn(6, 5), MASK)
    white = F.whiten(x, MASK, F.moments(x, MASK), eps=0.0)
    chosen = white[MASK]
    assert_close(chosen.mean(), torch.tensor(0.0), rtol=0, atol=1e-12)
    assert_close(chosen.var(unbiased=False), torch.tensor(1.0), rtol=1e-12, atol=0)
    assert (white[~MASK] == 0).all()


def test_whiten_is_affine_invariant_and_the_shards_make_the_whole():
    x = torch.randn(6, 5)
    whole = F.whiten(x, MASK, F.moments(x, MASK), eps=0.0)
    assert_close(F.whiten(x / 50 - 3, MASK, F.moments(x / 50 - 3, MASK), eps=0.0), whole)
    parts = [F.whiten(x[i : i + 3], MASK[i : i + 3], F.moments(x, MASK), eps=0.0) for i in (0, 3)]
    assert_close(torch.cat(parts), whole)


def test_whiten_by_hand():
    # mean 2, biased variance ((−1)² + 1²) / 2 = 1
    x = torch.tensor([1.0, 3.0, 100.0])
    mask = torch.tensor([True, True, False])
    white = F.whiten(x, mask, F.moments(x, mask), eps=1.0)
    assert_close(white, torch.tensor([-0.5, 0.5, 0.0]))
    assert_close(F.whiten(x, mask, F.moments(x, mask)), torch.tensor([-1.0, 1.0, 0.0]) / (1 + 1e-8), rtol=1e-14, atol=0)


def test_whiten_keeps_float32():
    x = torch.randn(6, 5, dtype=torch.float32)
    assert F.whiten(x, MASK, F.moments(x, MASK)).dtype == torch.float32


def test_whiten_of_equal_values_is_zero_even_where_rounding_makes_the_variance_negative():
    x = torch.full((6,), 0.7)
    moments = F.moments(x, torch.ones(6, dtype=torch.bool))
    assert moments.total_of_squares / 6 - (moments.total / 6) ** 2 < 0  # what this test is about
    assert F.whiten(x, torch.ones(6, dtype=torch.bool), moments).abs().max() < 1e-7


def test_whiten_of_nothing_is_zero_with_zero_gradient():
    x, nothing = torch.full((2, 3), NAN), torch.zeros(2, 3, dtype=torch.bool)
    moments = F.moments(x, nothing)
    assert_close(F.whiten(x, nothing, moments), torch.zeros(2, 3))
    assert_close(gradient(lambda x: F.whiten(x, nothing, moments), x), torch.zeros(2, 3))


def test_nan_off_the_mask_changes_no_gradient_of_whiten():
    x, direction = torch.randn(6, 5), torch.randn(6, 5)

    def whitened(x: Tensor) -> Tensor:
        return direction * F.whiten(x, MASK, F.moments(x, MASK))

    clean = gradient(whitened, torch.where(MASK, x, 0))
    assert_close(gradient(whitened, with_nan(x, MASK)), clean)
    assert clean.abs().max() > 0.1


# Aggregation as weights


def test_weights_by_hand():
    # tokens per row 2, 4, 2, 0, 1, 0; per group: id 7 has 6, id 3 has 3, id 5 has 0
    rows = {
        F.sequence_mean: [1 / 12, 1 / 24, 1 / 12, 0, 1 / 6, 0],
        F.token_mean: [1 / 9, 1 / 9, 1 / 9, 0, 1 / 9, 0],
        F.group_token_mean: [1 / 18, 1 / 18, 1 / 9, 0, 1 / 9, 0],
        F.fixed_length_mean: [1 / 48, 1 / 48, 1 / 48, 0, 1 / 48, 0],
        F.sequence_sum: [1 / 6, 1 / 6, 1 / 6, 0, 1 / 6, 0],
    }
    for aggregation, by_row in rows.items():
        expected = torch.where(MASK, torch.tensor(by_row)[:, None], 0.0)
        assert_close(aggregation(MASK, GROUP, COUNTS), expected, rtol=1e-14, atol=0)


def test_weights_as_means_of_a_loss():
    """What each aggregation is for, in words, on a random loss, with no row empty."""
    lengths, max_tokens = [2, 4, 1, 3], 5
    mask = torch.arange(5) < torch.tensor(lengths)[:, None]
    group = torch.tensor([0, 0, 1, 1])
    counts = F.Counts(rows=4, tokens=10, groups=2, max_tokens=max_tokens)
    loss = torch.randn(4, 5)
    rows = [loss[i, :n].tolist() for i, n in enumerate(lengths)]
    pooled = [rows[0] + rows[1], rows[2] + rows[3]]
    expected = {
        F.sequence_mean: sum(sum(r) / len(r) for r in rows) / 4,
        F.token_mean: sum(sum(r) for r in rows) / 10,
        F.group_token_mean: sum(sum(g) / len(g) for g in pooled) / 2,
        F.fixed_length_mean: sum(sum(r) / max_tokens for r in rows) / 4,
        F.sequence_sum: sum(sum(r) for r in rows) / 4,
    }
    for aggregation, value in expected.items():
        assert_close(F.masked_sum(aggregation(mask, group, counts) * loss, mask), torch.tensor(value))


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_shards_make_the_whole(aggregation):
    """Any cut between groups; and for weights that look at one row only, any order and any cut at all."""
    whole = aggregation(MASK, GROUP, COUNTS)
    between_groups = [slice(0, 2), slice(2, 5), slice(5, 6)]
    assert_close(torch.cat([aggregation(MASK[s], GROUP[s], COUNTS) for s in between_groups]), whole)
    order = torch.tensor([4, 1, 5, 0, 3, 2])
    assert_close(aggregation(MASK[order], GROUP[order], COUNTS), whole[order])
    if aggregation is not F.group_token_mean:
        assert_close(torch.cat([aggregation(MASK[i : i + 1], GROUP[i : i + 1], COUNTS) for i in range(6)]), whole)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_padding_changes_nothing(aggregation):
    padded = torch.cat([MASK, torch.zeros(6, 3, dtype=torch.bool)], 1)
    assert_close(aggregation(padded, GROUP, COUNTS)[:, :5], aggregation(MASK, GROUP, COUNTS), rtol=0, atol=0)


@pytest.mark.parametrize("aggregation", [F.sequence_mean, F.token_mean, F.group_token_mean])
def test_weights_of_a_mean_sum_to_one_without_empty_rows(aggregation):
    mask = MASK[[0, 1, 2, 4]]
    counts = F.Counts(rows=4, tokens=9, groups=2, max_tokens=8)
    assert_close(aggregation(mask, GROUP[[0, 1, 2, 4]], counts).sum(), torch.tensor(1.0))


def test_an_empty_row_counts_among_the_rows():
    weights = F.sequence_mean(MASK, GROUP, COUNTS)
    assert_close(weights.sum(), torch.tensor(4 / 6))


def test_with_equal_lengths_sequence_token_and_group_mean_agree():
    mask = torch.arange(7) < torch.full((6, 1), 4)
    group = torch.tensor([0, 0, 0, 1, 1, 1])
    counts = F.Counts(rows=6, tokens=24, groups=2, max_tokens=4)
    first, *others = [a(mask, group, counts) for a in AGGREGATIONS[:4]]
    for other in others:
        assert_close(other, first)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_a_step_without_any_token_has_weights_zero(aggregation):
    nothing = torch.zeros(3, 4, dtype=torch.bool)
    counts = F.Counts(rows=3, tokens=0, groups=1, max_tokens=4)
    assert_close(aggregation(nothing, torch.zeros(3, dtype=torch.long), counts), torch.zeros(3, 4))


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize(
    ("default", "expected"),
    [
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
        (torch.bfloat16, torch.float32),
    ],
)
def test_weights_are_float32_or_the_default_if_wider(aggregation, default, expected):
    torch.set_default_dtype(default)
    assert aggregation(MASK, GROUP, COUNTS).dtype == expected
