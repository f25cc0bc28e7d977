from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import make_policy, make_prompts

from llmrl.policies.causal_lm import CausalPolicy
from llmrl.prompts import DataConfig, make_encoder
from llmrl.samplers.base import uniforms
from llmrl.samplers.hf import HFSampler, _draw
from llmrl.trainers.batching import spread, token_inputs
from llmrl.types import SamplingSpec

SPEC = SamplingSpec(max_tokens=12)
TEXTS = ("12+3=", "4*5", "7-7-7=", "a")


def make_sampler(policy: CausalPolicy, **options: int) -> HFSampler:
    return HFSampler(policy, make_encoder(policy.tokenizer, DataConfig(chat=False)), **options)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_reported_logprobs_are_the_trainers(model_dir: Path, temperature: float) -> None:
    policy = make_policy(model_dir)
    policy.temperature = temperature
    groups = make_sampler(policy).sample(make_prompts(*TEXTS), 5, SamplingSpec(12, temperature), "s")
    inputs = token_inputs(groups, policy.device)
    reported = spread(groups, [c.logprobs for g in groups for c in g.completions], inputs)
    torch.testing.assert_close(policy(inputs).logprobs, reported, rtol=1e-4, atol=1e-4)


def test_a_completion_does_not_depend_on_its_batch(model_dir: Path) -> None:
    policy = make_policy(model_dir)
    prompts = make_prompts(*TEXTS)
    together = make_sampler(policy).sample(prompts, 4, SPEC, "s")
    few_at_a_time = make_sampler(policy, max_rows=4).sample(prompts, 4, SPEC, "s")
    backwards = make_sampler(policy).sample(prompts[::-1], 4, SPEC, "s")[::-1]
    for a, b, c in zip(together, few_at_a_time, backwards, strict=True):
        assert [x.tokens for x in a.completions] == [x.tokens for x in b.completions]
        assert [x.tokens for x in a.completions] == [x.tokens for x in c.completions]


def test_the_seed_decides(model_dir: Path) -> None:
    sampler, prompts = make_sampler(make_policy(model_dir)), make_prompts(*TEXTS)
    one, same, other = (sampler.sample(prompts, 4, SPEC, seed) for seed in ("1", "1", "2"))
    assert one == same
    assert one != other


def test_greedy_is_generate_without_sampling(model_dir: Path) -> None:
    policy = make_policy(model_dir)
    groups = make_sampler(policy).sample(make_prompts(*TEXTS), 1, SamplingSpec(12, 0.0), "s")
    for group in groups:
        expected = policy.model.generate(
            input_ids=torch.tensor([group.prompt_tokens]), do_sample=False, max_new_tokens=12
        )[0, len(group.prompt_tokens) :].tolist()
        assert group.completions[0].tokens == expected


def test_finish_reasons_and_token_conservation(model_dir: Path) -> None:
    policy = make_policy(model_dir)
    groups = make_sampler(policy).sample(make_prompts(*TEXTS), 32, SPEC, "s")
    completions = [c for g in groups for c in g.completions]
    ended = [c for c in completions if c.finish_reason == "stop"]
    cut = [c for c in completions if c.finish_reason == "length"]
    assert ended
    assert cut
    assert all(c.tokens[-1] in policy.stop_ids and not set(c.tokens[:-1]) & set(policy.stop_ids) for c in ended)
    assert all(len(c.tokens) == 12 and not set(c.tokens) & set(policy.stop_ids) for c in cut)
    assert all(len(c.tokens) == len(c.logprobs) == len(c.mask) == len(c.versions) for c in completions)
    assert all(all(c.mask) for c in completions)


def test_every_end_token_ends_a_completion(model_dir: Path) -> None:
    policy = make_policy(model_dir)
    plus = policy.tokenizer.convert_tokens_to_ids("+")
    policy.causal_lm.generation_config.eos_token_id = [1, plus]
    groups = make_sampler(policy).sample(make_prompts(*TEXTS), 32, SPEC, "s")
    last = {c.tokens[-1] for g in groups for c in g.completions if c.finish_reason == "stop"}
    assert last == {1, plus}


def test_completions_carry_the_policy_version(model_dir: Path) -> None:
    policy = make_policy(model_dir)
    policy.version = 5
    group = make_sampler(policy).sample(make_prompts("1"), 1, SPEC, "s")[0]
    assert set(group.completions[0].versions) == {5}


def test_drawn_frequencies_are_the_softmax() -> None:
    logits = torch.tensor([[0.3, -1.0, 2.0, 0.0]])
    noise = torch.from_numpy(uniforms("seed", "p", 0, 200_000))
    tokens, logprobs = _draw(logits.expand(len(noise), -1), 0.8, noise)
    expected = (logits[0].double() / 0.8).softmax(-1)
    observed = torch.bincount(tokens, minlength=4) / len(noise)
    spread = (expected * (1 - expected) / len(noise)).sqrt()
    assert ((observed - expected).abs() < 4 * spread).all()
    torch.testing.assert_close(logprobs.double(), expected[tokens].log(), rtol=1e-5, atol=1e-5)


def test_a_token_of_probability_zero_is_never_drawn() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0]])
    noise = torch.linspace(0, 1, 1001, dtype=torch.float64)[:-1]
    tokens, _ = _draw(logits.expand(len(noise), -1), 1.0, noise)
    assert set(tokens.tolist()) == {1, 3}


def test_noise_is_keyed_by_everything_that_names_a_completion() -> None:
    one = uniforms("seed", "prompt", 0, 8)
    assert np.array_equal(one, uniforms("seed", "prompt", 0, 8))
    assert np.array_equal(one[:4], uniforms("seed", "prompt", 0, 4))
    for other in (
        uniforms("other", "prompt", 0, 8),
        uniforms("seed", "q", 0, 8),
        uniforms("seed", "prompt", 1, 8),
    ):
        assert not np.array_equal(one, other)
    assert ((one >= 0) & (one < 1)).all()


def test_sampling_leaves_mode_and_weights_as_they_were(model_dir: Path) -> None:
    policy = make_policy(model_dir)
    before = {name: p.clone() for name, p in policy.named_parameters()}
    make_sampler(policy).sample(make_prompts("1+1"), 2, SPEC, "s")
    assert policy.training
    assert all(torch.equal(before[name], p) for name, p in policy.named_parameters())
