"""The trainer computes what the page-long specification computes."""

import copy
import importlib.util
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

import pytest
import torch
from conftest import ROOT
from helpers import make_policy, random_group

from llmrl.algorithms.grpo import GRPO
from llmrl.policies.causal_lm import CausalPolicy
from llmrl.policies.reference import make_reference
from llmrl.trainers import batching
from llmrl.trainers.update import UpdateMetrics, update
from llmrl.types import Batch, Experience, Group, PolicyOutput, TokenInputs


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def minimal() -> ModuleType:
    spec = importlib.util.spec_from_file_location("grpo_minimal", ROOT / "recipes" / "grpo_minimal.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class AdamStepper:
    def __init__(self, policy: CausalPolicy) -> None:
        self.policy = policy
        self.optimizer = torch.optim.AdamW(policy.trainable().values(), lr=1e-2, weight_decay=0.0)

    def accumulate(self, *, last: bool) -> nullcontext[None]:
        return nullcontext()

    def forward(self, inputs: TokenInputs) -> PolicyOutput:
        return self.policy(inputs)

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()

    def step(self) -> float:
        norm = torch.nn.utils.clip_grad_norm_(self.policy.trainable().values(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(norm)


def test_five_steps_have_the_same_losses_and_weights(model_dir: Path, minimal: ModuleType) -> None:
    generator = torch.Generator().manual_seed(11)
    steps: list[list[Group]] = [[random_group(generator) for _ in range(3)] for _ in range(5)]
    policy = make_policy(model_dir, lora_rank=0, noise=0.0).double()
    model, reference = copy.deepcopy(policy.causal_lm), copy.deepcopy(policy.causal_lm)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    expected = [
        minimal.train_step(
            model,
            reference,
            optimizer,
            [(g.prompt_tokens, [c.tokens for c in g.completions], list(g.rewards)) for g in groups],
        )
        for groups in steps
    ]

    algorithm = GRPO(group_size=4, kl_coef=minimal.KL_COEF)
    stepper, frozen = AdamStepper(policy), make_reference(policy, policy)
    losses = []
    for groups in steps:
        inputs = batching.token_inputs(groups, torch.device("cpu"))
        mask = batching.chosen_mask(groups, algorithm, inputs)
        advantages = batching.token_advantages(groups, algorithm, mask, inputs, None)
        batch = Batch(inputs, Experience(mask, advantages, torch.zeros_like(advantages)))
        totals = UpdateMetrics()
        update(
            batching.minibatches(batch, batching.group_ids(groups), algorithm, 1, 9),
            lambda output, experience: algorithm.loss(output, experience, algorithm.kl_coef),
            stepper,
            totals,
            micro_batch_tokens=40,
            ref_logprobs=frozen.logprobs,
        )
        losses.append(totals.result()["loss"])
    assert losses == pytest.approx(expected, rel=1e-9)
    assert len({round(loss, 6) for loss in losses}) == 5
    for ours, theirs in zip(policy.causal_lm.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)
