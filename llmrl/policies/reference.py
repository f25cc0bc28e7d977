"""The frozen policy that the KL penalty is measured against: the policy at the start of training.

With LoRA the reference is the same base with its adapter switched off, and after a refresh a second, frozen
adapter: the base is held once. Without LoRA it is a frozen copy of the weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Protocol, cast

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor

from llmrl.policies.causal_lm import ADAPTER, CausalPolicy
from llmrl.types import PolicyOutput, TokenInputs

REFERENCE = "reference"
Forward = Callable[[TokenInputs], PolicyOutput]


class Reference(Protocol):
    """Scores tokens under the frozen policy, can be moved to the current policy, and can be saved."""

    def logprobs(self, inputs: TokenInputs) -> Tensor:
        """``[B, T]`` log-probabilities, without gradient."""
        ...

    def refresh(self) -> None:
        """Make the current policy the reference."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """What is needed to restore it; empty while it is still the start of training."""
        ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what ``state_dict`` gave."""
        ...


def make_reference(policy: CausalPolicy, forward: Forward) -> Reference:
    """The reference of this policy as it now is; ``forward`` is the policy as wrapped for training."""
    return AdapterReference(policy, forward) if policy.has_adapter else CopyReference(policy)


class AdapterReference:
    """The policy's own base with the trained adapter off, or a frozen copy of that adapter on."""

    def __init__(self, policy: CausalPolicy, forward: Forward) -> None:
        self.model = cast(PeftModel, policy.model)
        self.forward = forward

    @property
    def refreshed(self) -> bool:
        """Whether the reference has left the start of training."""
        return REFERENCE in self.model.peft_config

    @torch.no_grad()
    def logprobs(self, inputs: TokenInputs) -> Tensor:
        """``[B, T]`` log-probabilities, without gradient."""
        if not self.refreshed:
            with self.model.disable_adapter():
                return self.forward(inputs).logprobs
        self.model.set_adapter(REFERENCE)
        try:
            return self.forward(inputs).logprobs
        finally:
            self.model.set_adapter(ADAPTER)
            self._freeze()

    def refresh(self) -> None:
        """Copy the trained adapter into the frozen one."""
        self.load_state_dict(get_peft_model_state_dict(self.model, adapter_name=ADAPTER))

    def state_dict(self) -> dict[str, Tensor]:
        """The frozen adapter; empty while the reference is the plain base."""
        return get_peft_model_state_dict(self.model, adapter_name=REFERENCE) if self.refreshed else {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what ``state_dict`` gave."""
        if not state:
            return
        if not self.refreshed:
            self.model.add_adapter(REFERENCE, self.model.peft_config[ADAPTER])
            self.model.set_adapter(ADAPTER)
        copied = {name: tensor.detach().clone() for name, tensor in state.items()}
        set_peft_model_state_dict(self.model, copied, adapter_name=REFERENCE)
        self._freeze()

    def _freeze(self) -> None:
        for name, parameter in self.model.named_parameters():
            if f".{REFERENCE}." in name:
                parameter.requires_grad_(False)


class CopyReference:
    """A frozen copy of all weights, for full fine-tuning."""

    def __init__(self, policy: CausalPolicy) -> None:
        self.policy = policy
        self.frozen = copy.deepcopy(policy).requires_grad_(False)
        self.refreshed = False

    @torch.no_grad()
    def logprobs(self, inputs: TokenInputs) -> Tensor:
        """``[B, T]`` log-probabilities, without gradient."""
        return self.frozen(inputs).logprobs

    def refresh(self) -> None:
        """Copy the current weights."""
        self.frozen.load_state_dict(self.policy.state_dict())
        self.refreshed = True

    def state_dict(self) -> dict[str, Tensor]:
        """The frozen weights; empty while they are those that training started from."""
        return dict(self.frozen.state_dict()) if self.refreshed else {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what ``state_dict`` gave."""
        if state:
            self.frozen.load_state_dict(state)
            self.refreshed = True
