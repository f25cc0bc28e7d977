"""The nouns of llmrl, their shapes, and the conventions that every module obeys.

Letters: B rows, T time, P prompts, G group, V vocabulary.

1. Index ``t`` means token ``t`` (or environment step ``t``): ``logprobs[:, t]`` is the log-probability of
   ``tokens[:, t]`` given what came before it, and ``values[:, t]`` the value of the prefix before it. The
   causal shift happens in the language policy's forward pass and nowhere else.
2. ``mask`` is data, never derived from a pad id: True where the policy chose the token. The end-of-sequence
   token of a finished completion was chosen, so it is True.
3. There is no ``done`` in the mathematics: termination is a discount of 0, a boundary is a trace of 0.
4. Losses come back per token, ``[B, T]``, unreduced. ``weights`` is computed once for the whole optimizer step
   over all ranks, so that ``(weights * per_token).sum()`` over any shard is that shard's part of the loss.
5. Text is decoded for rewards and never re-encoded; token ids are the record.
6. Probabilities are those of the sampling distribution: ``SamplingSpec`` drives the sampler and the trainer.
7. The layout of the forward pass (padded, prefix-shared) is the policy's own business.
8. One word per thing, from YAML to formula.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor

Message = Mapping[str, str]
FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One row of a data set: what the model is asked, and the columns that rewards may look at."""

    id: str
    content: str | tuple[Message, ...]
    """Plain text, or chat messages (``role`` and ``content``)."""
    answer: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Every other column of the row, by name."""

    @property
    def columns(self) -> dict[str, Any]:
        """What a reward function receives by name: ``answer`` and every other column."""
        return {"answer": self.answer, **self.extra}


@dataclass(frozen=True, slots=True)
class SamplingSpec:
    """The distribution that completions are drawn from, for the sampler and the trainer alike."""

    max_tokens: int
    """Longest completion, in tokens; a completion that reaches it is cut (``finish_reason`` "length")."""
    temperature: float = 1.0
    """Divides the logits; 0 is greedy decoding, for evaluation only."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What the policy wrote: ids, the log-probability it gave to each, and which policy version chose each."""

    tokens: list[int]
    logprobs: list[float]
    """[T] in nats, of the distribution actually sampled from."""
    mask: list[bool]
    """[T] True where the policy chose the token (False on tokens that a tool or environment wrote)."""
    text: str
    finish_reason: FinishReason
    versions: list[int]
    """[T] the policy version that made each token."""


@dataclass(frozen=True, slots=True)
class StepReward:
    """A process reward: ``value`` for the reasoning step whose last token is ``end`` (an index into tokens)."""

    end: int
    value: float


@dataclass(frozen=True, slots=True)
class RewardFailure:
    """A reward that raised, returned NaN, ran out of time or died: never a 0, always a record."""

    reward: str
    prompt_id: str
    sample: int
    reason: str
    text: str
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """The G completions of one prompt, with their rewards once scored."""

    prompt: Prompt
    prompt_tokens: list[int]
    completions: tuple[Completion, ...]
    rewards: tuple[float, ...] = ()
    """[G] weighted sum over the reward functions that apply; NaN where the row has no valid reward."""
    parts: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    """Reward name to its [G] unweighted values; None where it does not apply or failed."""
    steps: tuple[tuple[StepReward, ...], ...] = ()
    """[G] process rewards of each completion; empty when no reward function gives any."""
    failures: tuple[RewardFailure, ...] = ()
    baseline: float = 0.0
    """Reward of the greedy completion where the method compares with it (ReMax)."""


@dataclass(frozen=True, slots=True)
class TokenInputs:
    """Rows of prompt and completion, padded on the right.

    ``prefix_id`` says which rows begin with the same prompt, so that a policy may compute it once.
    """

    tokens: Tensor
    """[B, T] int64."""
    attention_mask: Tensor
    """[B, T] bool, False on padding."""
    prefix_lengths: Tensor
    """[B] int64, tokens before the first one that may be scored."""
    prefix_id: Tensor
    """[B] int64; equal ids, equal first ``prefix_lengths`` tokens."""

    def rows(self, index: Sequence[int] | Tensor) -> TokenInputs:
        """These rows, in this order."""
        return _rows(self, torch.as_tensor(index, dtype=torch.long, device=self.tokens.device))


@dataclass(frozen=True, slots=True)
class PolicyOutput:
    """What a policy says of the actions taken, all ``[B, T]``; 0 before ``prefix_lengths`` and on padding."""

    logprobs: Tensor
    entropy: Tensor
    """In nats, of the whole distribution at each position."""
    values: Tensor | None = None
    distribution: Any = None


@dataclass(frozen=True, slots=True)
class ValueTargets:
    """What a critic learns from; both ``[B, T]``."""

    old_values: Tensor
    returns: Tensor


@dataclass(frozen=True, slots=True)
class Experience:
    """What the loss needs beside the policy's output; every tensor ``[B, T]``."""

    mask: Tensor
    advantages: Tensor
    weights: Tensor
    old_logprobs: Tensor | None = None
    """Of the policy before this optimizer step's batch; None: the first pass over the batch gives them."""
    behaviour_logprobs: Tensor | None = None
    """Of the distribution that sampled the tokens, as the sampler reported them."""
    ref_logprobs: Tensor | None = None
    value_targets: ValueTargets | None = None


def _rows(record: Any, index: Tensor) -> Any:
    """The same record with every tensor indexed along its first dimension."""

    def select(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value[index]
        return _rows(value, index) if isinstance(value, ValueTargets) else value

    return replace(record, **{f.name: select(getattr(record, f.name)) for f in fields(record)})


@dataclass(frozen=True, slots=True)
class Batch:
    """Aligned rows of inputs and experience: what one update consumes."""

    inputs: TokenInputs
    experience: Experience

    def __len__(self) -> int:
        return len(self.experience.mask)

    def rows(self, index: Sequence[int] | Tensor) -> Batch:
        """The sub-batch of these rows, in this order."""
        index = torch.as_tensor(index, dtype=torch.long, device=self.experience.mask.device)
        return Batch(self.inputs.rows(index), _rows(self.experience, index))
