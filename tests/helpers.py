"""Short ways to the things that tests need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from llmrl.policies.causal_lm import CausalPolicy
from llmrl.policies.loading import ModelConfig
from llmrl.types import Completion, Group, Prompt


def make_policy(
    folder: Path, *, lora_rank: int = 4, seed: int = 0, noise: float = 0.1, **options: object
) -> CausalPolicy:
    """A policy of the folder's model whose trained weights are moved off the base, so that LoRA is not a no-op."""
    policy = CausalPolicy.from_pretrained(ModelConfig(name=str(folder), lora_rank=lora_rank, **options), seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.add_(noise * torch.randn(parameter.shape, generator=generator))
    return policy


def make_prompts(*texts: str) -> list[Prompt]:
    """Plain prompts with their position as id."""
    return [Prompt(id=str(i), content=text, answer=text[:1]) for i, text in enumerate(texts)]


def make_group(
    prompt: Sequence[int],
    completions: Sequence[Sequence[int]],
    rewards: Sequence[float],
    *,
    cut: Sequence[int] = (),
) -> Group:
    """A scored group of given tokens; ``cut`` names the samples that reached max_tokens."""
    made = tuple(
        Completion(
            tokens=list(tokens),
            logprobs=[-1.0] * len(tokens),
            mask=[True] * len(tokens),
            text="",
            finish_reason="length" if i in cut else "stop",
            versions=[0] * len(tokens),
        )
        for i, tokens in enumerate(completions)
    )
    return Group(
        prompt=Prompt(id="p", content="q"),
        prompt_tokens=list(prompt),
        completions=made,
        rewards=tuple(rewards),
        parts={"correct": tuple(rewards)},
    )


def random_group(generator: torch.Generator, *, size: int = 4, longest: int = 9, vocabulary: int = 24) -> Group:
    """A group with a random prompt, completions of random lengths and random 0/1 rewards."""

    def tokens(low: int, high: int) -> list[int]:
        count = int(torch.randint(low, high, (1,), generator=generator))
        return torch.randint(2, vocabulary, (count,), generator=generator).tolist()

    rewards = torch.randint(0, 2, (size,), generator=generator).double().tolist()
    return make_group(tokens(2, 7), [tokens(1, longest) for _ in range(size)], rewards)
