"""Optimizer settings that every trainer shares."""

from __future__ import annotations

from dataclasses import dataclass


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
