"""Accelerate behind the three calls that an update makes."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, DistributedType
from torch import Tensor
from transformers import get_scheduler

from llmrl import distributed
from llmrl.errors import UserError
from llmrl.policies.causal_lm import CausalPolicy
from llmrl.trainers.optim import OptimConfig
from llmrl.types import PolicyOutput, TokenInputs


def make_accelerator() -> Accelerator:
    """As the launcher configured it; buffers are constants here and are not sent at every forward pass."""
    accelerator = Accelerator(kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)])
    check_launch(accelerator.distributed_type)
    return accelerator


def check_launch(kind: DistributedType) -> None:
    """Refuse launches that cut the weights or the optimizer's state over the processes.

    The embedded sampler needs whole weights in each process, and a checkpoint the optimizer's whole state.
    """
    if kind in (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise UserError(
            f"launched with {kind.value}, which cuts the model over the processes; llmrl trains with the whole model "
            "in each: launch with recipes/accelerate/ddp.yaml, and with LoRA (model.lora_rank) if memory is short"
        )


class AccelerateStepper:
    """The policy wrapped for this launch, its optimizer and its learning-rate schedule."""

    def __init__(self, accelerator: Accelerator, policy: CausalPolicy, config: OptimConfig, steps: int) -> None:
        parameters = list(policy.trainable().values())
        optimizer = torch.optim.AdamW(
            parameters,
            lr=config.learning_rate,
            betas=(config.adam_beta1, config.adam_beta2),
            weight_decay=config.weight_decay,
            fused=True,
        )
        schedule = get_scheduler(config.schedule, optimizer, config.warmup_steps, steps)
        self.accelerator = accelerator
        self.parameters = parameters
        self.max_grad_norm = config.max_grad_norm
        self.module, self.optimizer = accelerator.prepare(policy, optimizer)
        self.schedule = schedule

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return float(self.schedule.get_last_lr()[0])

    def forward(self, inputs: TokenInputs) -> PolicyOutput:
        """The policy's output through whatever wraps it."""
        return self.module(inputs)

    def accumulate(self, *, last: bool) -> AbstractContextManager[Any]:
        """Ranks exchange gradients at the last micro-batch of a step only."""
        self.accelerator.gradient_state._set_sync_gradients(last)
        return nullcontext() if last else self.accelerator.no_sync(self.module)

    def backward(self, loss: Tensor) -> None:
        """Accumulate; the mean that data parallelism takes over ranks is undone."""
        self.accelerator.backward(loss * distributed.world_size())

    def step(self) -> float:
        """Clip, step, clear; raises UserError if the gradient is not finite."""
        norm = self.accelerator.clip_grad_norm_(self.parameters, self.max_grad_norm)
        assert norm is not None, "only the launches that check_launch refuses clip by themselves"
        value = float(norm)
        if not math.isfinite(value):
            raise UserError(f"the gradient norm is {value}: stopped before the weights were touched")
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)
        return value

    def state_dict(self) -> dict[str, Any]:
        """Optimizer and schedule."""
        return {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
