"""LoRA's linear layer as one product with the sum of its weights.

peft computes ``x Wᵀ + s · (x Aᵀ) Bᵀ``: three products and three passes over an output-sized tensor, each kept or
repeated for the backward pass. Where a batch has far more tokens than the layer has rows, it is cheaper to add
the matrices first. Only for float32: in bfloat16 the sum would round small adapters away.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

ONEDNN_FROM = 2**21
"""Multiplications from which oneDNN's preparation pays."""


class _SummedLinear(torch.autograd.Function):
    """``x (W + s B A)ᵀ + b`` with gradients for x, A and B; the sum is made again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(x, w, a, b)
        ctx.scale = scale
        return _linear(x, torch.addmm(w, b, a, alpha=scale), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, w, a, b = ctx.saved_tensors
        from_y, rows = grads[0].flatten(0, -2), x.flatten(0, -2)
        for_x = None
        if ctx.needs_input_grad[0]:
            for_x = _linear(from_y, torch.addmm(w, b, a, alpha=ctx.scale).t(), None).view_as(x)
        for_a = (from_y @ b).t() @ rows * ctx.scale
        for_b = from_y.t() @ (rows @ a.t()) * ctx.scale
        return for_x, None, None, for_a, for_b, None


def sum_weights(model: nn.Module) -> None:
    """Let every plain float32 LoRA layer of a peft model compute with the sum of its weights."""
    for layer in model.modules():
        if isinstance(layer, LoraLinear) and layer.get_base_layer().weight.dtype == torch.float32:
            layer.forward = partial(_forward, layer)


def _linear(x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
    """``x Wᵀ + b``; large float32 products on a CPU by oneDNN, which uses AVX-512 where MKL does not (AMD)."""
    large = x.numel() * len(w) >= ONEDNN_FROM
    if large and x.is_cpu and x.dtype == torch.float32 and torch.backends.mkldnn.is_available():
        return torch.ops.mkldnn._linear_pointwise(x, w, bias, "none", [], "")
    return nn.functional.linear(x, w, bias)


def _forward(layer: LoraLinear, x: Tensor) -> Tensor:
    base = cast(nn.Linear, layer.get_base_layer())
    if layer.disable_adapters:
        return _linear(x, base.weight, base.bias)
    (adapter,) = layer.active_adapters
    a, b = (cast(nn.Linear, side[adapter]).weight for side in (layer.lora_A, layer.lora_B))
    return cast(Tensor, _SummedLinear.apply(x, base.weight, base.bias, a, b, layer.scaling[adapter]))
