"""Losses of a value function."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import llmrl.functional as F

NAN = math.nan


def gradient(function, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (result,) = torch.autograd.grad(function(x).sum(), x)
    return result


def test_squared_error_has_the_error_as_its_slope():
    values, returns = torch.randn(3, 4), torch.randn(3, 4)
    assert_close(gradient(lambda v: F.squared_error(v, returns), values), values - returns)
    assert_close(F.squared_error(torch.tensor([3.0, -1.0]), torch.tensor([1.0, 1.0])), torch.tensor([2.0, 2.0]))


def test_clipped_value_loss_is_the_squared_error_inside_the_clip():
    old, returns = torch.randn(50), torch.randn(50)
    values = old + 0.2 * (2 * torch.rand(50) - 1)
    loss = F.clipped_value_loss(values, old, returns, value_clip=0.2)
    assert_close(loss, (values - returns) ** 2 / 2)
    assert_close(gradient(lambda v: F.clipped_value_loss(v, old, returns, value_clip=0.2), values), values - returns)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_clipped_value_loss_has_no_gradient_once_moved_enough_towards_the_return(side):
    old, values = torch.zeros(1), side * torch.tensor([0.5])
    towards, away = side * torch.tensor([2.0]), side * torch.tensor([-2.0])

    def loss(returns: Tensor):
        return lambda v: F.clipped_value_loss(v, old, returns, value_clip=0.2)

    assert gradient(loss(towards), values) == 0
    assert_close(gradient(loss(away), values), values - away)


def test_clipped_value_loss_by_hand():
    # old 1, clip 0.5: V = 3 counts as 1.5. R = 4: max((3 − 4)², (1.5 − 4)²) / 2 = 3.125
    # R = 0: max(9, 2.25) / 2 = 4.5. V = 0 counts as 0.5; R = −1: max(1, 2.25) / 2 = 1.125
    values, returns = torch.tensor([3.0, 3.0, 0.0]), torch.tensor([4.0, 0.0, -1.0])
    loss = F.clipped_value_loss(values, torch.ones(3), returns, value_clip=0.5)
    assert_close(loss, torch.tensor([3.125, 4.5, 1.125]))


def test_clipped_value_loss_is_never_less_than_the_squared_error():
    values, old, returns = torch.randn(3, 200)
    loss = F.clipped_value_loss(values, old, returns, value_clip=0.3)
    assert (loss >= (values - returns) ** 2 / 2).all()


def test_huber_by_hand():
    # |e| ≤ 1: e²/2; beyond: 1 · (|e| − 1/2). With delta 2 and e = −3: 2 · (3 − 1) = 4
    assert_close(F.huber(torch.tensor([0.5, -0.5, 3.0, -3.0])), torch.tensor([0.125, 0.125, 2.5, 2.5]))
    assert_close(F.huber(torch.tensor([-3.0, 1.0]), delta=2.0), torch.tensor([4.0, 0.5]))


def test_huber_has_the_clipped_error_as_its_slope():
    error = torch.tensor([-5.0, -0.7, -0.1, 0.0, 0.3, 0.7, 5.0])
    expected = [max(-0.7, min(0.7, e)) for e in error.tolist()]
    assert_close(gradient(lambda e: F.huber(e, delta=0.7), error), torch.tensor(expected))


def test_explained_variance_is_1_for_perfect_values_and_0_for_a_constant():
    returns, mask = torch.randn(5, 6), torch.rand(5, 6) < 0.6
    assert_close(F.explained_variance(returns, returns, mask), torch.tensor(1.0))
    assert_close(F.explained_variance(returns + 3, returns, mask), torch.tensor(1.0))
    assert_close(F.explained_variance(torch.full((5, 6), 7.0), returns, mask), torch.tensor(0.0), rtol=0, atol=1e-12)
    assert_close(F.explained_variance(-returns, returns, mask), torch.tensor(-3.0))


def test_explained_variance_by_hand():
    # returns 0, 2, 4: variance 8/3. Residuals 0, 1, 2: variance 2/3. 1 − 1/4
    returns, values = torch.tensor([0.0, 2.0, 4.0, NAN]), torch.tensor([0.0, 1.0, 2.0, 9.0])
    assert_close(F.explained_variance(values, returns, ~returns.isnan()), torch.tensor(0.75))


def test_nan_off_the_mask_changes_neither_value_nor_gradient():
    values, returns, mask = torch.randn(4, 5), torch.randn(4, 5), torch.rand(4, 5) < 0.6
    old = torch.randn(4, 5)

    def run(fill: float) -> list[Tensor]:
        v = torch.where(mask, values, fill).requires_grad_()
        clean_v, clean_r, clean_old = (F.masked(torch.where(mask, x, fill), mask) for x in (v, returns, old))
        results = [
            F.masked_sum(F.squared_error(clean_v, clean_r), mask),
            F.masked_sum(F.clipped_value_loss(clean_v, clean_old, clean_r, value_clip=0.2), mask),
            F.masked_sum(F.huber(clean_v - clean_r), mask),
            F.explained_variance(v, torch.where(mask, returns, fill), mask),
        ]
        return [*results, *(torch.autograd.grad(result, v, retain_graph=True)[0] for result in results)]

    assert_close(run(NAN), run(0.0), rtol=0, atol=0)


def test_explained_variance_reads_nothing_off_the_mask():
    values, returns = torch.tensor([1.0, 2.0, NAN]).requires_grad_(), torch.tensor([1.0, 4.0, NAN])
    result = F.explained_variance(values, returns, torch.tensor([True, True, False]))
    # residuals 0 and 2, variance 1; returns 1 and 4, variance 9/4. d/dv₁ of 1 − (r₁ − r₂)² / 9 with r = R − V
    assert_close(result, torch.tensor(1 - 1 / 2.25))
    (got,) = torch.autograd.grad(result, values)
    assert_close(got, torch.tensor([-4 / 9, 4 / 9, 0.0]))
