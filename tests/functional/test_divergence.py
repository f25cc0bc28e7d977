"""Divergences: exact expectations and exact expected gradients over a small vocabulary."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import llmrl.functional as F

EXACT = {"rtol": 1e-12, "atol": 1e-13}


def three_policies() -> tuple[Tensor, Tensor, Tensor]:
    """Logits of the trained policy, of the one that sampled, and of the reference."""
    logits, old, ref = torch.randn(3, 5)
    return logits.requires_grad_(), old, ref


def reverse_kl(logits: Tensor, ref: Tensor) -> float:
    """KL(π‖ρ) by its definition, in loops."""
    p, q = ([math.exp(z) / sum(map(math.exp, zs)) for z in zs] for zs in (logits.tolist(), ref.tolist()))
    return sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))


def reverse_kl_gradient(logits: Tensor, ref: Tensor) -> Tensor:
    """∂KL(π‖ρ)/∂z = π · (log π − log ρ − KL), worked out by hand."""
    p, q = logits.detach().softmax(0), ref.softmax(0)
    return p * (p.log() - q.log() - reverse_kl(logits, ref))


def forward_kl_gradient(logits: Tensor, ref: Tensor) -> Tensor:
    """∂KL(ρ‖π)/∂z = π − ρ, worked out by hand."""
    return logits.detach().softmax(0) - ref.softmax(0)


def expected_gradient(term, logits: Tensor, sampler: Tensor) -> Tensor:
    """Σ_a π_sampler(a) · ∇ term(a): what a gradient step sees on average over sampled tokens."""
    probabilities = sampler.detach().softmax(0)
    (grad,) = torch.autograd.grad((probabilities * term).sum(), logits)
    return grad


def terms(loss, logits: Tensor, old: Tensor, ref: Tensor) -> Tensor:
    logprobs = logits.log_softmax(0)
    return loss(logprobs, ref.log_softmax(0), logprobs - old.detach().log_softmax(0))


# Sampled estimates


def test_estimates_by_hand():
    # d = log ρ − log π = ln 2 and −ln 2: k3 = 2 − 1 − ln 2 and 1/2 − 1 + ln 2
    logprobs, ref = torch.tensor([0.0, 0.0]), torch.tensor([math.log(2), -math.log(2)])
    assert_close(F.kl_k1(logprobs, ref), torch.tensor([-math.log(2), math.log(2)]))
    assert_close(F.kl_k2(logprobs, ref), torch.tensor([math.log(2) ** 2 / 2] * 2))
    assert_close(F.kl_k3(logprobs, ref), torch.tensor([1 - math.log(2), math.log(2) - 0.5]))


@pytest.mark.parametrize("estimate", [F.kl_k1, F.kl_k3])
def test_k1_and_k3_are_unbiased(estimate):
    logits, _, ref = (x.detach() for x in three_policies())
    expectation = (logits.softmax(0) * estimate(logits.log_softmax(0), ref.log_softmax(0))).sum()
    assert_close(expectation.item(), reverse_kl(logits, ref), **EXACT)


def test_k2_is_biased_by_the_third_order():
    logits, direction = torch.randn(2, 5)

    def bias(step: float) -> float:
        ref = logits + step * direction
        k2 = (logits.softmax(0) * F.kl_k2(logits.log_softmax(0), ref.log_softmax(0))).sum().item()
        return abs(k2 - reverse_kl(logits, ref))

    assert 0.1 < bias(0.01) / bias(0.005) / 8 < 10
    assert bias(0.01) < 1e-5


def test_k2_and_k3_are_never_negative_and_k3_is_exact_for_tiny_differences_in_float32():
    logprobs, ref = torch.randn(2, 1000)
    assert (F.kl_k2(logprobs, ref) >= 0).all()
    assert (F.kl_k3(logprobs, ref) >= 0).all()
    # d²/2 for small d; computed as eᵈ − 1 − d in float32 this would be rounding noise of 1e-7
    tiny = F.kl_k3(torch.zeros(1, dtype=torch.float32), torch.full((1,), 2.0**-9, dtype=torch.float32))
    assert_close(tiny.double(), torch.tensor([2.0**-19]), rtol=1e-2, atol=0)


@pytest.mark.parametrize("estimate", [F.kl_k1, F.kl_k2, F.kl_k3])
def test_estimates_are_zero_at_the_reference(estimate):
    logprobs = torch.randn(5)
    assert (estimate(logprobs, logprobs) == 0).all()


# Loss terms


@pytest.mark.parametrize("loss", [F.k2_loss, F.k3_weighted_loss])
@pytest.mark.parametrize("on_policy", [True, False])
def test_weighted_losses_have_the_gradient_of_the_reverse_kl(loss, on_policy):
    logits, old, ref = three_policies()
    old = logits.detach() if on_policy else old
    got = expected_gradient(terms(loss, logits, old, ref), logits, old)
    assert_close(got, reverse_kl_gradient(logits, ref), **EXACT)


def test_weighted_k3_has_the_reverse_kl_as_its_expectation_off_policy():
    logits, old, ref = three_policies()
    value = (old.softmax(0) * terms(F.k3_weighted_loss, logits, old, ref)).sum()
    assert_close(value.item(), reverse_kl(logits, ref), **EXACT)


def test_weights_are_the_ratio_in_value():
    logprobs, ref, log_ratio = torch.randn(3, 4, 5)
    ratio = torch.tensor([[math.exp(x) for x in row] for row in log_ratio.tolist()])
    assert_close(F.k2_loss(logprobs, ref, log_ratio), ratio * (logprobs - ref) ** 2 / 2)
    assert_close(
        F.k3_weighted_loss(logprobs, ref, log_ratio),
        ratio * (torch.exp(ref - logprobs) - 1 - (ref - logprobs)),
    )


def test_unweighted_k3_has_the_gradient_of_the_forward_kl_on_policy():
    logits, _, ref = three_policies()
    got = expected_gradient(terms(F.k3_loss, logits, logits, ref), logits, logits)
    assert_close(got, forward_kl_gradient(logits, ref), **EXACT)
    assert (got - reverse_kl_gradient(logits, ref)).abs().max() > 0.01


def test_unweighted_k3_has_neither_gradient_off_policy():
    logits, old, ref = three_policies()
    got = expected_gradient(terms(F.k3_loss, logits, old, ref), logits, old)
    assert (got - forward_kl_gradient(logits, ref)).abs().max() > 0.01
    assert (got - reverse_kl_gradient(logits, ref)).abs().max() > 0.01


def test_k1_in_a_loss_has_no_expected_gradient_on_policy():
    logits, _, ref = three_policies()
    term = F.kl_k1(logits.log_softmax(0), ref.log_softmax(0))
    assert_close(expected_gradient(term, logits, logits), torch.zeros(5), rtol=0, atol=1e-14)


@pytest.mark.parametrize("loss", [F.k2_loss, F.k3_loss, F.k3_weighted_loss])
def test_nan_off_the_mask_changes_neither_value_nor_gradient(loss):
    x, mask = torch.randn(3, 4, 5), torch.rand(4, 5) < 0.6

    def run(fill: float) -> list[Tensor]:
        logprobs = torch.where(mask, x[0], fill).requires_grad_()
        ref, old = torch.where(mask, x[1:], fill)
        log_ratio = F.token_log_ratio(logprobs, old, mask)
        total = F.masked_sum(loss(F.masked(logprobs, mask), F.masked(ref, mask), log_ratio), mask)
        return [total, *torch.autograd.grad(total, logprobs)]

    assert_close(run(math.nan), run(0.0), rtol=0, atol=0)


# Exact divergences


def test_categorical_is_the_definition_for_any_leading_shape():
    p, q = torch.randn(2, 2, 3, 5)
    expected = [[reverse_kl(p[i, j], q[i, j]) for j in range(3)] for i in range(2)]
    assert_close(F.kl_categorical(p, q), torch.tensor(expected), **EXACT)
    assert_close(F.kl_categorical(p, p + 3), torch.zeros(2, 3), rtol=0, atol=1e-14)


def test_categorical_has_the_gradient_of_the_reverse_kl():
    logits, _, ref = three_policies()
    (got,) = torch.autograd.grad(F.kl_categorical(logits, ref), logits)
    assert_close(got, reverse_kl_gradient(logits, ref), **EXACT)


def test_gaussian_agrees_with_numerical_integration():
    """KL = ∫ p (log p − log q), by the midpoint rule on ±12 standard deviations."""
    mean_p, std_p, mean_q, std_q = 0.3, 0.8, -0.5, 1.4
    step = 24 * std_p / 20_000
    x = mean_p - 12 * std_p + (torch.arange(20_000) + 0.5) * step
    log_p = -(((x - mean_p) / std_p) ** 2) / 2 - math.log(std_p * math.sqrt(2 * math.pi))
    log_q = -(((x - mean_q) / std_q) ** 2) / 2 - math.log(std_q * math.sqrt(2 * math.pi))
    integral = (log_p.exp() * (log_p - log_q)).sum() * step
    arguments = [torch.tensor([v]) for v in (mean_p, math.log(std_p), mean_q, math.log(std_q))]
    assert_close(F.kl_gaussian(*arguments), integral, rtol=1e-9, atol=0)


def test_gaussian_by_hand_and_summed_over_the_last_dimension():
    # equal stds 2: (1 − 4)² / (2 · 4) = 9/8; equal means, stds 1 and 2: ln 2 + 1/8 − 1/2
    mean_p, mean_q = torch.tensor([[1.0, 5.0]]), torch.tensor([[4.0, 5.0]])
    log_std_p, log_std_q = torch.tensor([[math.log(2), 0.0]]), torch.tensor([[math.log(2), math.log(2)]])
    expected = 9 / 8 + math.log(2) - 3 / 8
    assert_close(F.kl_gaussian(mean_p, log_std_p, mean_q, log_std_q), torch.tensor([expected]))
    assert_close(F.kl_gaussian(mean_p, log_std_p, mean_p, log_std_p), torch.tensor([0.0]))


# Controllers


def test_banded_moves_by_the_factor_outside_the_band_only():
    """Band 1.5 around 0.3 is 0.2 to 0.45; factor 2."""
    for kl, expected in ((0.19, 0.05), (0.21, 0.1), (0.3, 0.1), (0.44, 0.1), (0.46, 0.2)):
        assert F.banded_kl_coef(0.1, kl, target=0.3) == pytest.approx(expected)


def test_banded_takes_band_and_factor():
    """Band 3 around 0.3 is 0.1 to 0.9; factor 5."""
    for kl, expected in ((0.09, 0.02), (0.11, 0.1), (0.89, 0.1), (0.91, 0.5)):
        assert F.banded_kl_coef(0.1, kl, target=0.3, band=3.0, factor=5.0) == pytest.approx(expected)


def test_proportional_by_hand():
    # kl 10% above the target, a tenth of the horizon seen: 1 + 0.1 · 0.1; far off: error clipped at ±0.2
    for kl, expected in (
        (5.5, 1.01),
        (4.5, 0.99),
        (5.0, 1.0),
        (50.0, 1.02),
        (0.0, 0.98),
        (6.1, 1.02),
        (3.9, 0.98),
    ):
        got = F.proportional_kl_coef(0.3, kl, target=5.0, samples=64, horizon=640)
        assert got == pytest.approx(0.3 * expected)
