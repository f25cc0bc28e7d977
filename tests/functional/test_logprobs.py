"""Token log-probabilities and entropy: the plain form against loops, the fast forms against the plain one."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.testing import assert_close

import llmrl.functional as F
from llmrl.functional import logprobs as module

EXACT = {"rtol": 1e-10, "atol": 1e-12}


def by_loops(logits: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Straight from the definition of the softmax, one row at a time."""
    logprobs, entropies = [], []
    for row, token in zip(logits.tolist(), tokens.tolist(), strict=True):
        total = sum(math.exp(z) for z in row)
        p = [math.exp(z) / total for z in row]
        logprobs.append(math.log(p[token]))
        entropies.append(-sum(q * math.log(q) for q in p))
    return torch.tensor(logprobs), torch.tensor(entropies)


def closed_form_gradient(logits: Tensor, tokens: Tensor, to_logprobs: Tensor, to_entropy: Tensor) -> Tensor:
    """∂ log p(a)/∂z = 1[a] − p and ∂H/∂z = −p · (log p + H), one row at a time."""
    rows = []
    for row, token, u, w in zip(logits.tolist(), tokens.tolist(), to_logprobs, to_entropy, strict=True):
        total = sum(math.exp(z) for z in row)
        p = [math.exp(z) / total for z in row]
        h = -sum(q * math.log(q) for q in p)
        rows.append([u * ((i == token) - q) - w * q * (math.log(q) + h) for i, q in enumerate(p)])
    return torch.tensor(rows)


def plain(logits: Tensor, tokens: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    return F.token_logprobs(logits / temperature, tokens), F.entropy(logits / temperature)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows of seven logits at a time, instead of all of them."""
    monkeypatch.setattr(module, "_CACHED_ELEMENTS", 21)


def rows(count: int = 10, size: int = 7) -> tuple[Tensor, Tensor]:
    return 3 * torch.randn(count, size), torch.randint(size, (count,))


# The plain forms


def test_plain_forms_are_the_definition():
    logits, tokens = rows()
    logprobs, entropies = by_loops(logits, tokens)
    assert_close(F.token_logprobs(logits, tokens), logprobs, **EXACT)
    assert_close(F.entropy(logits), entropies, **EXACT)


def test_plain_forms_take_any_leading_shape():
    logits, tokens = rows(6)
    logprobs, entropies = by_loops(logits, tokens)
    assert_close(F.token_logprobs(logits.view(2, 3, 7), tokens.view(2, 3)), logprobs.view(2, 3), **EXACT)
    assert_close(F.entropy(logits.view(2, 3, 7)), entropies.view(2, 3), **EXACT)
    assert_close(F.token_logprobs(logits[0], tokens[0]), logprobs[0], **EXACT)


def test_by_hand():
    # p = 1/4, 3/4: H = ln 4 − (3/4) ln 3
    logits, token = torch.tensor([[0.0, math.log(3)]]), torch.tensor([0])
    for logprobs, entropies in (plain(logits, token), F.logprobs_and_entropy(logits, token)):
        assert_close(logprobs, torch.tensor([-math.log(4)]), **EXACT)
        assert_close(entropies, torch.tensor([math.log(4) - 0.75 * math.log(3)]), **EXACT)


def test_uniform_logits_have_the_entropy_of_the_vocabulary_and_a_shift_changes_nothing():
    logits, tokens = rows()
    logprobs, entropies = F.logprobs_and_entropy(torch.full((1, 7), 5.0), torch.tensor([3]))
    assert_close((logprobs, entropies), (torch.tensor([-math.log(7)]), torch.tensor([math.log(7)])), **EXACT)
    assert_close(F.logprobs_and_entropy(logits + 100, tokens), F.logprobs_and_entropy(logits, tokens), **EXACT)


# logprobs_and_entropy


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.usefixtures("small_blocks")
def test_fast_form_equals_the_loops_in_value(temperature):
    logits, tokens = rows()
    got = F.logprobs_and_entropy(logits, tokens, temperature=temperature)
    assert_close(got, by_loops(logits / temperature, tokens), **EXACT)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("parts", [(1.0, 1.0), (1.0, None), (None, 1.0)])
@pytest.mark.usefixtures("small_blocks")
def test_fast_form_equals_the_closed_form_in_gradient(temperature, parts):
    logits, tokens = rows()
    logits.requires_grad_()
    directions = [torch.randn(10) if part else None for part in parts]
    results = F.logprobs_and_entropy(logits, tokens, temperature=temperature)
    loss = sum((d * r).sum() for d, r in zip(directions, results, strict=True) if d is not None)
    (got,) = torch.autograd.grad(loss, logits)
    u, w = (torch.zeros(10) if d is None else d for d in directions)
    expected = closed_form_gradient(logits.detach() / temperature, tokens, u, w) / temperature
    assert_close(got, expected, **EXACT)


@pytest.mark.usefixtures("small_blocks")
def test_fast_form_equals_the_plain_form_in_value_and_gradient():
    logits, tokens = rows()
    logits.requires_grad_()
    directions = torch.randn(2, 10)
    outcomes = []
    for results in (F.logprobs_and_entropy(logits, tokens), plain(logits, tokens)):
        loss = (directions * torch.stack(results)).sum()
        outcomes.append((*results, *torch.autograd.grad(loss, logits)))
    assert_close(*outcomes, **EXACT)


def test_gradients_of_each_row_sum_to_zero():
    logits, tokens = rows()
    logits.requires_grad_()
    results = F.logprobs_and_entropy(logits, tokens)
    (grad,) = torch.autograd.grad((torch.randn(2, 10) * torch.stack(results)).sum(), logits)
    assert_close(grad.sum(1), torch.zeros(10), rtol=0, atol=1e-12)


def test_bfloat16_logits_are_computed_with_in_float32():
    logits, tokens = rows(40)
    low = logits.bfloat16().requires_grad_()
    high = low.detach().float().requires_grad_()
    directions = torch.randn(2, 40, dtype=torch.float32)
    got = F.logprobs_and_entropy(low, tokens, temperature=0.7)
    expected = plain(high, tokens, 0.7)
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == torch.float32
        assert_close(a, b, rtol=1e-5, atol=1e-5)
    (low_grad,) = torch.autograd.grad((directions * torch.stack(got)).sum(), low)
    (high_grad,) = torch.autograd.grad((directions * torch.stack(expected)).sum(), high)
    assert low_grad.dtype == torch.bfloat16
    assert_close(low_grad.float(), high_grad, rtol=2**-8, atol=1e-6)
    for function in (F.entropy, lambda z: F.token_logprobs(z, tokens)):
        assert function(low).dtype == torch.float32


def test_a_confident_bfloat16_token_keeps_its_small_gradient():
    logits = torch.tensor([[8.0, 0.0, 0.0]], dtype=torch.bfloat16).requires_grad_()
    logprobs, _ = F.logprobs_and_entropy(logits, torch.tensor([0]))
    (grad,) = torch.autograd.grad(logprobs.sum(), logits)
    assert_close(grad[0, 0].item(), 2 / (math.exp(8) + 2), rtol=2**-8, atol=0)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_large_logits_neither_overflow_nor_lose_the_small_probabilities(temperature):
    logits = torch.tensor([[500.0, 0.0, -500.0]], dtype=torch.float32).expand(3, 3)
    logprobs, entropies = F.logprobs_and_entropy(logits, torch.arange(3), temperature=temperature)
    assert_close(logprobs, torch.tensor([0.0, -500.0, -1000.0], dtype=torch.float32) / temperature)
    assert_close(entropies, torch.zeros(3, dtype=torch.float32))


def test_float32_is_as_good_as_float64_on_a_large_vocabulary():
    logits, tokens = rows(20, 30_000)
    got = F.logprobs_and_entropy(logits.float(), tokens)
    expected = plain(logits.float().double(), tokens)
    for a, b in zip(got, expected, strict=True):
        assert_close(a.double(), b, rtol=0, atol=4e-6)


def test_rows_go_in_blocks_on_a_cpu_and_at_once_elsewhere(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_CACHED_ELEMENTS", 9)
    assert list(module._cached_rows(torch.empty(5, 4))) == [slice(0, 2), slice(2, 4), slice(4, 6)]
    assert list(module._cached_rows(torch.empty(2, 100))) == [slice(0, 1), slice(1, 2)]
    assert list(module._cached_rows(torch.empty(5, 4, device="meta"))) == [slice(0, 5)]
    assert list(module._cached_rows(torch.empty(0, 4))) == []
    assert list(module._cached_rows(torch.empty(0, 4, device="meta"))) == []


def test_it_keeps_nothing_of_the_size_of_the_logits_but_the_logits():
    logits, tokens = rows()
    logits.requires_grad_()
    kept: list[Tensor] = []
    with saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        F.logprobs_and_entropy(logits, tokens)
    large = [t for t in kept if t.numel() >= logits.numel()]
    assert [t.data_ptr() for t in large] == [logits.data_ptr()]


def test_it_does_not_change_the_logits():
    logits, tokens = rows()
    before = logits.clone().requires_grad_()
    results = F.logprobs_and_entropy(before, tokens)
    torch.stack(results).sum().backward()
    assert_close(before.detach(), logits, rtol=0, atol=0)


def test_no_rows():
    logits = torch.empty(0, 7, requires_grad=True)
    logprobs, entropies = F.logprobs_and_entropy(logits, torch.empty(0, dtype=torch.long))
    assert logprobs.shape == entropies.shape == (0,)
    (logprobs.sum() + entropies.sum()).backward()


def test_nan_in_a_row_stays_in_the_row():
    logits, tokens = rows()
    spoilt = logits.clone()
    spoilt[4] = math.nan
    others = torch.arange(10) != 4
    outcomes = []
    for z in (logits, spoilt):
        z.requires_grad_()
        results = F.logprobs_and_entropy(z, tokens)
        loss = sum(F.masked_sum(r, others) for r in results)
        (grad,) = torch.autograd.grad(loss, z)
        outcomes.append([r[others] for r in (*results, grad)])
    assert_close(*outcomes, rtol=0, atol=0)


# chunked_logprobs_and_entropy


class Head:
    """A head with soft-capping that records the most logits it ever made at once."""

    def __init__(self) -> None:
        self.weight = torch.randn(7, 4, requires_grad=True)
        self.calls: list[int] = []

    def __call__(self, hidden: Tensor) -> Tensor:
        self.calls.append(len(hidden))
        return 2 * torch.tanh(hidden @ self.weight.T)


@pytest.mark.parametrize("chunk_elements", [1, 7, 20, 21, 69, 70, 10_000])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_chunked_equals_the_plain_form_in_value_and_gradient(chunk_elements, temperature):
    head, hidden, tokens = Head(), torch.randn(10, 4, requires_grad=True), torch.randint(7, (10,))
    directions = torch.randn(2, 10)
    got = F.chunked_logprobs_and_entropy(
        hidden, tokens, head, temperature=temperature, chunk_elements=chunk_elements, vocab_size=7
    )
    outcomes = []
    for results in (got, plain(head(hidden), tokens, temperature)):
        loss = (directions * torch.stack(results)).sum()
        outcomes.append((*results, *torch.autograd.grad(loss, (hidden, head.weight))))
    assert_close(*outcomes, **EXACT)


def test_the_head_is_trained_where_the_hidden_states_are_not():
    head, hidden, tokens = Head(), torch.randn(10, 4), torch.randint(7, (10,))
    results = F.chunked_logprobs_and_entropy(hidden, tokens, head, chunk_elements=20, vocab_size=7)
    (got,) = torch.autograd.grad(results[0].sum(), head.weight)
    (expected,) = torch.autograd.grad(plain(head(hidden), tokens)[0].sum(), head.weight)
    assert_close(got, expected, **EXACT)


@pytest.mark.parametrize(
    ("chunk_elements", "calls"), [(70, [10]), (69, [9, 1]), (21, [3, 3, 3, 1]), (6, [1] * 10), (1, [1] * 10)]
)
@pytest.mark.parametrize("grad", [True, False])
def test_chunks_are_as_large_as_allowed(chunk_elements, calls, grad):
    head, hidden, tokens = Head(), torch.randn(10, 4), torch.randint(7, (10,))
    with torch.set_grad_enabled(grad):
        F.chunked_logprobs_and_entropy(hidden, tokens, head, chunk_elements=chunk_elements, vocab_size=7)
    assert head.calls == calls


def kept_for_backward(chunk_elements: int) -> int:
    head, hidden, tokens = Head(), torch.randn(10, 4, requires_grad=True), torch.randint(7, (10,))
    kept: list[int] = []
    with saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        F.chunked_logprobs_and_entropy(hidden, tokens, head, chunk_elements=chunk_elements, vocab_size=7)
    return max(kept, default=0)


def test_logits_are_kept_in_one_chunk_and_recomputed_in_several():
    assert kept_for_backward(70) == 70
    assert kept_for_backward(21) < 21


def test_logits_are_computed_once_forward_and_once_backward():
    head, hidden, tokens = Head(), torch.randn(10, 4, requires_grad=True), torch.randint(7, (10,))
    logprobs, _ = F.chunked_logprobs_and_entropy(hidden, tokens, head, chunk_elements=35, vocab_size=7)
    assert head.calls == [5, 5]
    logprobs.sum().backward()
    assert head.calls == [5, 5, 5, 5]


def test_without_grad_nothing_is_kept_and_the_values_are_the_same():
    head, hidden, tokens = Head(), torch.randn(10, 4, requires_grad=True), torch.randint(7, (10,))
    with torch.no_grad():
        got = F.chunked_logprobs_and_entropy(hidden, tokens, head, chunk_elements=21, vocab_size=7)
    assert not got[0].requires_grad
    assert_close(got, tuple(r.detach() for r in plain(head(hidden), tokens)), **EXACT)


def test_chunked_without_rows():
    head = Head()
    for chunk_elements in (1, 100):
        results = F.chunked_logprobs_and_entropy(
            torch.empty(0, 4),
            torch.empty(0, dtype=torch.long),
            head,
            chunk_elements=chunk_elements,
            vocab_size=7,
        )
        assert all(r.shape == (0,) for r in results)


def test_defaults():
    defaults = inspect.signature(F.chunked_logprobs_and_entropy).parameters
    assert defaults["chunk_elements"].default == 8_388_608
    assert defaults["temperature"].default == 1
