"""A base in four bits under LoRA, where bitsandbytes runs."""

from pathlib import Path

import pytest
import torch
from conftest import ROOT
from helpers import make_policy, random_group
from torch import nn

from llmrl.errors import UserError
from llmrl.policies import loading
from llmrl.policies.causal_lm import CausalPolicy
from llmrl.policies.loading import ModelConfig
from llmrl.samplers.hf import HFSampler
from llmrl.trainers.batching import token_inputs
from llmrl.types import Prompt, SamplingSpec

pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
MODEL = ROOT / "data" / "arithmetic" / "model"
"""bitsandbytes needs layers of at least a block of 64."""


def quantized(model_dir: Path) -> CausalPolicy:
    return make_policy(model_dir, quantization="nf4", noise=0.02)


def dequantized(policy: CausalPolicy, model_dir: Path) -> CausalPolicy:
    """A policy in float32 whose base has the values that the four bits stand for."""
    from bitsandbytes.functional import dequantize_4bit

    twin = make_policy(model_dir, noise=0.02)
    for (_, four), (_, plain) in zip(linears(policy), linears(twin), strict=True):
        plain.weight.data = dequantize_4bit(four.weight.data, four.weight.quant_state).float()
    for name, parameter in twin.trainable().items():
        parameter.data.copy_(policy.trainable()[name].data)
    return twin


def linears(policy: CausalPolicy) -> list[tuple[str, nn.Linear]]:
    return [(n, m) for n, m in policy.named_modules() if n.endswith("base_layer") and isinstance(m, nn.Linear)]


def test_logprobs_and_gradients_are_those_of_the_dequantized_base() -> None:
    policy = quantized(MODEL)
    twin = dequantized(policy, MODEL)
    inputs = token_inputs([random_group(torch.Generator().manual_seed(i)) for i in range(3)], torch.device("cpu"))
    results = []
    sampler = HFSampler(policy, lambda prompt: policy.tokenizer.encode(prompt.content))
    sampler.sample([Prompt("0", "1+2=")], 4, SamplingSpec(3), "seed")  # which runs the model in eval mode
    for one in (policy, twin):
        output = one(inputs)
        output.logprobs.sin().sum().backward()
        gradient = torch.cat([p.grad.flatten() for p in one.trainable().values() if p.grad is not None])
        results.append((output.logprobs.detach(), gradient))
    (logprobs, gradient), (expected, expected_gradient) = results
    torch.testing.assert_close(logprobs, expected, rtol=1e-4, atol=1e-4)
    assert (gradient - expected_gradient).norm() / expected_gradient.norm() < 1e-5
    plain = make_policy(MODEL)(inputs).logprobs
    assert (plain - expected).abs().max() > 1e-3, "four bits must be seen, or nothing was quantised"


def test_sampling_scores_as_training_does_and_never_touches_the_base() -> None:
    policy = quantized(MODEL)
    before = [m.weight.data.clone() for _, m in linears(policy)]
    sampler = HFSampler(policy, lambda prompt: policy.tokenizer.encode(prompt.content))
    (group,) = sampler.sample([Prompt("0", "1+2=")], 4, SamplingSpec(8), "seed")
    inputs = token_inputs([group], torch.device("cpu"))
    with torch.no_grad():
        logprobs = policy(inputs).logprobs
    start = len(group.prompt_tokens)
    for row, completion in enumerate(group.completions):
        scored = logprobs[row, start : start + len(completion.tokens)]
        torch.testing.assert_close(scored, torch.tensor(completion.logprobs), rtol=0, atol=1e-4)
    assert all(torch.equal(a, m.weight.data) for a, (_, m) in zip(before, linears(policy), strict=True))


def test_without_bitsandbytes_the_pip_line_is_named(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "is_bitsandbytes_available", lambda: False)
    with pytest.raises(UserError, match=r'pip install "llmrl\[quantization\]"'):
        CausalPolicy.from_pretrained(ModelConfig(str(model_dir), quantization="nf4"))
