"""Supervised fine-tuning is the mean negative log-likelihood of the completion's tokens."""

import pytest
import torch

import llmrl.functional as F
from llmrl.algorithms.sft import SFT
from llmrl.types import Experience, PolicyOutput


def test_the_loss_is_the_mean_over_chosen_tokens_and_nothing_else_moves_it() -> None:
    logprobs = torch.tensor([[-1.0, -2.0, 99.0], [-4.0, 99.0, 99.0]], requires_grad=True)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    counts = F.Counts(rows=2, tokens=3, groups=2, max_tokens=3)
    weights = F.token_mean(mask, torch.arange(2), counts)
    output = PolicyOutput(logprobs, torch.ones(2, 3))
    loss, sums = SFT().loss(output, Experience(mask, torch.zeros(2, 3), weights))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(7 / 3)
    assert logprobs.grad is not None
    torch.testing.assert_close(logprobs.grad, -mask.float() / 3)
    assert float(sums["nll"]) == 7
    assert float(sums["entropy"]) == 3
    assert not any(value.requires_grad for value in sums.values())
