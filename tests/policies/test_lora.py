"""The summed layer is peft's layer, in value and gradient, whatever adapter is active."""

from pathlib import Path

import torch
from helpers import make_policy
from peft import LoraConfig, get_peft_model
from torch import nn

from llmrl.policies.lora import sum_weights


def make_model() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3, bias=False)).double()
    wrapped = get_peft_model(model, LoraConfig(r=2, lora_alpha=3, target_modules=["0", "2"]))  # type: ignore[arg-type]
    for parameter in wrapped.parameters():
        parameter.data = torch.randn(parameter.shape, dtype=torch.float64)
    return wrapped


def results(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    model.zero_grad()
    y = model(x)
    y.sin().sum().backward()
    return [y, x.grad, *(p.grad for p in model.parameters() if p.grad is not None)]  # type: ignore[list-item]


def test_values_and_gradients_are_pefts() -> None:
    expected = results(make_model(), torch.ones(2, 4, 5, dtype=torch.float64, requires_grad=True))
    model = make_model()
    for layer in model.modules():
        if hasattr(layer, "get_base_layer"):
            layer.get_base_layer().weight.data = layer.get_base_layer().weight.data.float()
    sum_weights(model)
    model.double()
    found = results(model, torch.ones(2, 4, 5, dtype=torch.float64, requires_grad=True))
    assert len(found) == len(expected) == 6
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_bfloat16_layers_are_left_to_peft(model_dir: Path) -> None:
    layers = [m for m in make_policy(model_dir, dtype="bfloat16").modules() if hasattr(m, "lora_A")]
    assert layers
    assert all("forward" not in vars(layer) for layer in layers)
