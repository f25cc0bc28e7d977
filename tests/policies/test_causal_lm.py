from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import make_policy, random_group
from transformers import AutoModelForCausalLM

import llmrl.functional as F
from llmrl.errors import UserError
from llmrl.policies.causal_lm import CausalPolicy
from llmrl.policies.loading import ModelConfig, load_tokenizer
from llmrl.policies.reference import make_reference
from llmrl.trainers.batching import token_inputs
from llmrl.types import TokenInputs


def inputs(groups: int = 3, seed: int = 0) -> TokenInputs:
    generator = torch.Generator().manual_seed(seed)
    return token_inputs([random_group(generator) for _ in range(groups)], torch.device("cpu"))


def alone(some: TokenInputs) -> TokenInputs:
    """The same rows, said to share nothing: the padded layout."""
    return replace(some, prefix_id=torch.arange(len(some.prefix_id)))


def test_logprobs_are_those_of_each_row_alone(model_dir: Path) -> None:
    policy = make_policy(model_dir).double()
    some = inputs()
    output = policy(some)
    for row in range(len(some.tokens)):
        length, start = int(some.attention_mask[row].sum()), int(some.prefix_lengths[row])
        tokens = some.tokens[row, :length]
        logits = policy.model(input_ids=tokens[None]).logits[0]
        expected = F.token_logprobs(logits[start - 1 : -1], tokens[start:])
        torch.testing.assert_close(output.logprobs[row, start:length], expected, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(
            output.entropy[row, start:length], F.entropy(logits[start - 1 : -1]), rtol=1e-10, atol=1e-10
        )
        assert not output.logprobs[row, :start].any()
        assert not output.logprobs[row, length:].any()


def test_layouts_agree_in_value_and_gradient(model_dir: Path) -> None:
    policy = make_policy(model_dir).double()
    some = inputs()
    results = []
    for layout in (some, alone(some)):
        output = policy(layout)
        policy.zero_grad()
        (output.logprobs.sin() + output.entropy.cos()).sum().backward()
        gradient = torch.cat([p.grad.flatten() for p in policy.trainable().values() if p.grad is not None])
        results.append((output.logprobs.detach(), output.entropy.detach(), gradient))
    for shared, padded in zip(*results, strict=True):
        torch.testing.assert_close(shared, padded, rtol=1e-10, atol=1e-10)


def test_gradient_checkpointing_changes_nothing(model_dir: Path) -> None:
    some, gradients = inputs(), []
    for checkpointing in (False, True):
        policy = make_policy(model_dir, gradient_checkpointing=checkpointing).double()
        policy(some).logprobs.sin().sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in policy.trainable().values() if p.grad is not None]))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-10, atol=1e-10)


def test_temperature_divides_the_logits(model_dir: Path) -> None:
    policy = make_policy(model_dir).double()
    some = inputs(1)
    length, start = int(some.attention_mask[0].sum()), int(some.prefix_lengths[0])
    logits = policy.model(input_ids=some.tokens[:1, :length]).logits[0]
    policy.temperature = 0.7
    expected = F.token_logprobs(logits[start - 1 : -1] / 0.7, some.tokens[0, start:length])
    torch.testing.assert_close(policy(some).logprobs[0, start:length], expected, rtol=1e-10, atol=1e-10)


def test_bfloat16_keeps_trained_weights_in_float32_and_scores_near_float32(model_dir: Path) -> None:
    exact, rounded = make_policy(model_dir), make_policy(model_dir, dtype="bfloat16")
    assert {p.dtype for p in rounded.trainable().values()} == {torch.float32}
    assert rounded.causal_lm.get_input_embeddings().weight.dtype == torch.bfloat16
    some = inputs()
    gap = (exact(some).logprobs - rounded(some).logprobs).abs().max()
    assert 0 < gap < 0.5


def test_merging_equals_the_adapter_and_leaves_the_base_untouched(model_dir: Path) -> None:
    policy = make_policy(model_dir).double()
    some = inputs()
    base = {name: p.clone() for name, p in policy.named_parameters()}
    with_adapter = policy(some).logprobs
    with policy.merged():
        torch.testing.assert_close(policy(some).logprobs, with_adapter, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(policy(some).logprobs, with_adapter, rtol=0, atol=0)
    assert all(torch.equal(base[name], p) for name, p in policy.named_parameters())


def test_dropout_is_off(model_dir: Path) -> None:
    policy = make_policy(model_dir)
    some = inputs()
    assert policy.training
    assert torch.equal(policy(some).logprobs, policy(some).logprobs)


@pytest.mark.parametrize("lora_rank", [4, 0])
def test_kl_is_exactly_zero_at_the_start_and_after_a_refresh(model_dir: Path, lora_rank: int) -> None:
    policy = make_policy(model_dir, lora_rank=lora_rank, noise=0.0)
    reference = make_reference(policy, policy)
    some = inputs()
    assert torch.equal(reference.logprobs(some), policy(some).logprobs)
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.add_(0.1 * torch.randn_like(parameter))
    moved = policy(some).logprobs
    assert not torch.equal(reference.logprobs(some), moved)
    reference.refresh()
    assert torch.equal(reference.logprobs(some), policy(some).logprobs)
    assert torch.equal(policy(some).logprobs, moved)
    trained = {name for name in policy.trainable() if "reference" in name}
    assert not trained


@pytest.mark.parametrize("lora_rank", [4, 0])
def test_a_refreshed_reference_is_restored(model_dir: Path, lora_rank: int) -> None:
    policy = make_policy(model_dir, lora_rank=lora_rank)
    reference = make_reference(policy, policy)
    assert reference.state_dict() == {}
    reference.refresh()
    some = inputs()
    expected = reference.logprobs(some)
    other = make_policy(model_dir, lora_rank=lora_rank, noise=0.3)
    restored = make_reference(other, other)
    restored.load_state_dict(reference.state_dict())
    assert torch.equal(restored.logprobs(some), expected)


def test_lora_reference_holds_the_base_once(model_dir: Path) -> None:
    policy = make_policy(model_dir)
    before = {p.data_ptr() for p in policy.parameters()}
    reference = make_reference(policy, policy)
    reference.logprobs(inputs())
    assert {p.data_ptr() for p in policy.parameters()} == before


def test_an_initial_adapter_is_part_of_the_reference(model_dir: Path, tmp_path: Path) -> None:
    first = make_policy(model_dir)
    first.save(tmp_path / "adapter")
    second = make_policy(model_dir, noise=0.0, adapter=str(tmp_path / "adapter"))
    some = inputs()
    torch.testing.assert_close(second(some).logprobs, first(some).logprobs, rtol=1e-4, atol=1e-4)
    assert torch.equal(make_reference(second, second).logprobs(some), second(some).logprobs)


def test_a_saved_full_model_loads_in_transformers_with_the_same_logprobs(model_dir: Path, tmp_path: Path) -> None:
    policy = make_policy(model_dir, lora_rank=0)
    policy.save(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    some = inputs(1)
    length, start = int(some.attention_mask[0].sum()), int(some.prefix_lengths[0])
    logits = model(some.tokens[:1, :length]).logits[0]
    expected = F.token_logprobs(logits[start - 1 : -1], some.tokens[0, start:length])
    torch.testing.assert_close(policy(some).logprobs[0, start:length], expected, rtol=1e-5, atol=1e-5)


def test_a_head_that_cannot_be_reproduced_is_refused(model_dir: Path) -> None:
    policy = make_policy(model_dir)
    policy.causal_lm.config.logit_scale = 2.0  # as if the model's own forward did not scale
    with pytest.raises(UserError, match="cannot reproduce"):
        policy.check_head()


def test_what_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="model folder not found"):
        load_tokenizer(str(tmp_path / "nothing"))
    with pytest.raises(UserError, match="no usable tokenizer"):
        load_tokenizer(str(tmp_path))
    with pytest.raises(UserError) as caught:
        CausalPolicy.from_pretrained(ModelConfig(name="./not/there"))
    assert "\n" not in str(caught.value)
