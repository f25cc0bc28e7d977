"""Losses of a value function, per element, and how much it explains."""

from __future__ import annotations

import torch
from torch import Tensor

from llmrl.functional.reduce import masked, masked_mean


def squared_error(values: Tensor, returns: Tensor) -> Tensor:
    """(V − R)² / 2, the half included; any shape."""
    return (values - returns).square() / 2


def clipped_value_loss(values: Tensor, old_values: Tensor, returns: Tensor, *, value_clip: float) -> Tensor:
    """max((V − R)², (V_clip − R)²) / 2 with V_clip = V_old + clip(V − V_old, ±value_clip); any one shape.

    From PPO's first implementation, not its paper: no gradient once V has moved by more than ``value_clip``
    (in units of the return) towards R.
    """
    clipped = old_values + (values - old_values).clamp(-value_clip, value_clip)
    return torch.maximum(squared_error(values, returns), squared_error(clipped, returns))


def huber(error: Tensor, *, delta: float = 1.0) -> Tensor:
    """e² / 2 where |e| ≤ delta, delta · (|e| − delta/2) beyond; any shape.

    Huber 1964. Its slope never exceeds ``delta``.
    """
    size = error.abs()
    inner = size.clamp(max=delta)
    return inner * (size - inner / 2)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """1 − Var(R − V) / Var(R) over the mask: 1 is perfect, 0 no better than a constant; [...] to a scalar.

    Meaningless (−∞, NaN or huge) where the returns do not vary.
    """
    return 1 - _variance(returns - values, mask) / _variance(returns, mask)


def _variance(x: Tensor, mask: Tensor) -> Tensor:
    x = masked(x, mask)
    return masked_mean((x - masked_mean(x, mask)).square(), mask)
