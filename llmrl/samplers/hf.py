"""The embedded sampler: batched generation with the policy's own transformers model.

The prompt of a group is computed once and its cache shared by the G completions; rows that have finished leave
the batch; LoRA is folded into the weights while it samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from llmrl.policies.causal_lm import CausalPolicy
from llmrl.samplers.base import Encode, uniforms
from llmrl.types import Completion, Group, Prompt, SamplingSpec

Drawn = tuple[list[int], list[float], bool]

COMPACT_BELOW = 0.75
"""Finished rows leave the batch once no more than this share of it is still being written."""


class HFSampler:
    """Samples with the policy's own weights, so that there is nothing to copy in ``sync``."""

    def __init__(self, policy: CausalPolicy, encode: Encode, *, max_rows: int = 512) -> None:
        self.policy = policy
        self.encode = encode
        self.max_rows = max_rows

    def sync(self) -> None:
        """Nothing to do: the next sample reads the trained weights themselves."""

    def sample(self, prompts: Sequence[Prompt], n: int, spec: SamplingSpec, seed: str) -> list[Group]:
        """``n`` completions of each prompt, keyed by (seed, prompt id, sample, position)."""
        return [group for some in self.stream(prompts, n, spec, seed) for group in some]

    @torch.no_grad()
    def stream(self, prompts: Sequence[Prompt], n: int, spec: SamplingSpec, seed: str) -> Iterator[list[Group]]:
        """What ``sample`` gives, in pieces as they are finished."""
        at_once = max(1, self.max_rows // n)
        was_training = self.policy.training
        self.policy.eval()
        with self.policy.merged(), self.policy.precision():
            for start in range(0, len(prompts), at_once):
                yield self._sample_some(prompts[start : start + at_once], n, spec, seed)
        self.policy.train(was_training)

    def _sample_some(self, prompts: Sequence[Prompt], n: int, spec: SamplingSpec, seed: str) -> list[Group]:
        prompt_tokens = [self.encode(prompt) for prompt in prompts]
        noise = np.stack([uniforms(seed, p.id, i, spec.max_tokens) for p in prompts for i in range(n)])
        drawn = _generate(self.policy, prompt_tokens, n, spec, torch.from_numpy(noise))
        texts = self.policy.tokenizer.batch_decode([tokens for tokens, _, _ in drawn], skip_special_tokens=True)
        completions = [
            Completion(
                tokens=tokens,
                logprobs=logprobs,
                mask=[True] * len(tokens),
                text=text,
                finish_reason="stop" if stopped else "length",
                versions=[self.policy.version] * len(tokens),
            )
            for (tokens, logprobs, stopped), text in zip(drawn, texts, strict=True)
        ]
        return [
            Group(prompt, tokens, tuple(completions[i * n : (i + 1) * n]))
            for i, (prompt, tokens) in enumerate(zip(prompts, prompt_tokens, strict=True))
        ]


class _ReservedLayer(DynamicLayer):
    """Keys and values in room reserved once, so that each new token is written in place and nothing is copied."""

    keys: Tensor
    values: Tensor
    length = 0

    def get_seq_length(self) -> int:
        """Tokens held so far."""
        return self.length

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **keywords: Any) -> tuple[Tensor, Tensor]:
        """Append along time; the first call (the prompt) sets the shape."""
        start, self.length = self.length, self.length + key_states.shape[-2]
        if start == 0:
            self.keys, self.values, self.is_initialized = key_states, value_states, True
        else:
            self.keys[:, :, start : self.length] = key_states
            self.values[:, :, start : self.length] = value_states
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def spread(self, n: int, room: int) -> None:
        """``n`` rows for each prompt, and room for ``room`` tokens after it."""
        self.keys, self.values = (self._spread(x, n, room) for x in (self.keys, self.values))

    def _spread(self, x: Tensor, n: int, room: int) -> Tensor:
        wide = x.new_empty(x.shape[0] * n, x.shape[1], self.length + room, x.shape[3])
        wide[:, :, : self.length] = x.repeat_interleave(n, dim=0)
        return wide


class _Decoder:
    """The rows that are still being written: their cache, their next logits, and their place in the output."""

    def __init__(self, policy: CausalPolicy, prompts: list[list[int]], n: int, room: int) -> None:
        self.policy = policy
        lengths = torch.tensor([len(p) for p in prompts])
        width = int(lengths.max())
        padded = torch.tensor([[0] * (width - len(p)) + p for p in prompts], device=policy.device)
        index = torch.arange(width) - (width - lengths)[:, None]
        self.cache = _cache(policy)
        mask = (index >= 0).to(policy.device)
        self.logits = self._forward(padded, mask, index.clamp(min=0).to(policy.device))
        _spread(self.cache, n, room)
        self.logits = self.logits.repeat_interleave(n, dim=0)
        self.row = torch.arange(len(prompts) * n)
        self.position = lengths.repeat_interleave(n).to(policy.device)[:, None]
        self.mask = torch.nn.functional.pad(mask.repeat_interleave(n, dim=0), (0, room), value=True)
        self.is_padded = bool((lengths != width).any())
        self.width = width

    def advance(self, tokens: Tensor) -> None:
        """Feed one token a row; ``logits`` are then those of the next."""
        self.width += 1
        mask = self.mask[:, : self.width] if self.is_padded else None
        self.logits = self._forward(tokens[:, None], mask, self.position)
        self.position = self.position + 1

    def keep(self, index: Tensor) -> None:
        """Go on with these rows only."""
        device = index.to(self.policy.device)
        self.cache.batch_select_indices(device)
        self.row = self.row[index]
        self.logits, self.position, self.mask = self.logits[device], self.position[device], self.mask[device]

    def _forward(self, tokens: Tensor, mask: Tensor | None, position: Tensor) -> Tensor:
        output = self.policy.backbone(
            tokens, attention_mask=mask, position_ids=position, past_key_values=self.cache, use_cache=True
        )
        return self.policy.project(output.last_hidden_state[:, -1]).float()


def _cache(policy: CausalPolicy) -> Cache:
    if policy.can_share_prefixes:
        return Cache(layer_class_to_replicate=_ReservedLayer)
    return DynamicCache(config=policy.causal_lm.config)


def _spread(cache: Cache, n: int, room: int) -> None:
    for layer in cache.layers:
        if isinstance(layer, _ReservedLayer):
            layer.spread(n, room)
        else:
            cast(DynamicLayer, layer).batch_repeat_interleave(n)


def _generate(policy: CausalPolicy, prompts: list[list[int]], n: int, spec: SamplingSpec, noise: Tensor) -> list[Drawn]:
    """``n`` completions of each prompt, prompt by prompt: ids, log-probs, and whether an end token came."""
    rows, stop = len(prompts) * n, torch.tensor(policy.stop_ids)
    tokens = torch.zeros(rows, spec.max_tokens, dtype=torch.long)
    logprobs = torch.zeros(rows, spec.max_tokens)
    lengths = torch.full((rows,), spec.max_tokens)
    decoder = _Decoder(policy, prompts, n, spec.max_tokens - 1)
    writing = torch.ones(rows, dtype=torch.bool)
    for t in range(spec.max_tokens):
        drawn, logprob = _draw(decoder.logits, spec.temperature, noise[decoder.row, t])
        tokens[decoder.row, t], logprobs[decoder.row, t] = drawn.cpu(), logprob.cpu()
        ended = decoder.row[torch.isin(tokens[decoder.row, t], stop) & writing[decoder.row]]
        lengths[ended], writing[ended] = t + 1, False
        left = writing[decoder.row].nonzero()[:, 0]
        if t + 1 == spec.max_tokens or len(left) == 0:
            break
        if len(left) <= COMPACT_BELOW * len(decoder.row):
            decoder.keep(left)
            drawn = drawn[left.to(drawn.device)]
        decoder.advance(drawn)
    return [
        (tokens[i, :length].tolist(), logprobs[i, :length].tolist(), not unfinished)
        for i, (length, unfinished) in enumerate(zip(lengths.tolist(), writing.tolist(), strict=True))
    ]


def _draw(logits: Tensor, temperature: float, noise: Tensor) -> tuple[Tensor, Tensor]:
    """One token a row from ``softmax(logits / temperature)`` by inverting its distribution function at the noise.

    Temperature 0 takes the most likely token, whose log-probability under that rule is 0.
    """
    if temperature == 0:
        return logits.argmax(-1), logits.new_zeros(len(logits))
    logprobs = torch.log_softmax(logits / temperature, dim=-1)
    cumulative = logprobs.exp().cumsum(-1)
    threshold = noise.to(cumulative)[:, None] * cumulative[:, -1:]
    token = torch.searchsorted(cumulative, threshold, right=True).clamp(max=logits.shape[-1] - 1)
    return token[:, 0], logprobs.gather(1, token)[:, 0]
