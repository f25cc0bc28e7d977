"""Optimizer settings that every trainer shares."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import SchedulerType


@dataclass(frozen=True)
class OptimConfig:
    """AdamW with gradient clipping and a schedule of transformers."""

    learning_rate: float = 1e-5
    """Peak learning rate."""
    schedule: str = "constant_with_warmup"
    """Name of a transformers schedule: constant, linear, cosine, constant_with_warmup, …"""
    warmup_steps: int = 0
    """Optimizer steps over which the rate rises from 0."""
    weight_decay: float = 0.0
    """AdamW's decoupled weight decay."""
    adam_beta1: float = 0.9
    """Decay of the gradient's running mean."""
    adam_beta2: float = 0.999
    """Decay of the squared gradient's running mean."""
    max_grad_norm: float = 1.0
    """The gradient is scaled down to this norm."""

    def __post_init__(self) -> None:
        if not (self.learning_rate > 0 and self.max_grad_norm > 0) or self.warmup_steps < 0 or self.weight_decay < 0:
            raise ValueError(
                "learning_rate and max_grad_norm must be above 0, warmup_steps and weight_decay at least 0"
            )
        if not (0 <= self.adam_beta1 < 1 and 0 <= self.adam_beta2 < 1):
            raise ValueError("adam_beta1 and adam_beta2 must be at least 0 and below 1")
        if self.schedule not in set(SchedulerType):
            raise ValueError(f"schedule {self.schedule!r} is none of {', '.join(SchedulerType)}")
