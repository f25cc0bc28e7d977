"""How much memory a configuration will take, from the model's shape alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from llmrl.errors import UserError
from llmrl.policies.loading import ModelConfig
from llmrl.trainers.config import LanguageConfig

LOGIT_ELEMENTS = 2**23
"""Logits that are in memory at a time during the update."""
NF4_BYTES = 0.53
"""Of a weight in 4 bits, with its doubly quantised scales."""


@dataclass(frozen=True)
class Shape:
    """What memory depends on."""

    parameters: int
    vocabulary: int
    linear: list[tuple[int, int]]
    """(in, out) of every linear layer but the head."""
    cache_per_token: int
    """Elements of keys and values of one token in all layers."""
    hidden: int
    layers: int

    @property
    def linear_parameters(self) -> int:
        """Weights that LoRA is put beside."""
        return sum(a * b for a, b in self.linear)

    @property
    def activations_per_token(self) -> int:
        """Elements that the backward pass needs of one token: what goes into and out of every linear layer, and of
        what lies between them about six tenths as much again (measured on models of 42 and 110 million parameters)."""
        return 16 * sum(a + b for a, b in self.linear) // 10

    def trained(self, rank: int) -> int:
        """Parameters that the optimizer changes."""
        return self.parameters if rank == 0 else rank * sum(a + b for a, b in self.linear)


def read_shape(name: str) -> Shape:
    """The model's shape from its configuration; nothing of its weights is read."""
    try:
        config = AutoConfig.from_pretrained(name)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"no causal language model in {name}: {' '.join(str(error).split())[:200]}") from error
    text = config.get_text_config()
    head = model.get_output_embeddings()
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    return Shape(
        parameters=sum(p.numel() for p in model.parameters()),
        vocabulary=text.vocab_size,
        linear=[(m.in_features, m.out_features) for m in model.modules() if isinstance(m, nn.Linear) and m is not head],
        cache_per_token=2 * text.num_hidden_layers * heads * size,
        hidden=text.hidden_size,
        layers=text.num_hidden_layers,
    )


def estimate(shape: Shape, config: LanguageConfig, longest_prompt: int) -> dict[str, float]:
    """Bytes by purpose, on one process; ``update`` and ``sampling`` do not happen at the same time."""
    model, width = config.model, _bytes(config.model)
    row = longest_prompt + config.sampling.max_tokens
    trained = shape.trained(model.lora_rank)
    base = shape.parameters * width
    if model.quantization != "none":
        base -= shape.linear_parameters * (width - NF4_BYTES)
    whole_reference = model.lora_rank == 0 and config.algorithm.needs_reference
    return {
        "weights": base,
        "trained weights, gradients, Adam": trained * 4 * (4 if model.lora_rank else 3),
        "reference": base if whole_reference else 0.0,
        "update": _update(shape, config, row, width),
        "sampling": _sampling(shape, config, row, width),
    }


def peak(parts: dict[str, float]) -> float:
    """Bytes at the worst moment."""
    return sum(parts.values()) - min(parts["update"], parts["sampling"])


def _update(shape: Shape, config: LanguageConfig, row: int, width: float) -> float:
    rows = config.train.prompts_per_step * config.algorithm.group_size
    tokens = min(config.train.micro_batch_tokens, rows * row)
    kept = shape.activations_per_token
    if config.model.gradient_checkpointing:
        kept = shape.hidden * shape.layers + kept // shape.layers
    return tokens * kept * width + 3 * 4 * min(LOGIT_ELEMENTS, tokens * shape.vocabulary)


def _sampling(shape: Shape, config: LanguageConfig, row: int, width: float) -> float:
    asked = max(config.train.prompts_per_step * config.algorithm.group_size, config.train.eval_problems)
    rows = min(config.sampling.max_rows, asked)
    folded = shape.linear_parameters * width if config.model.lora_rank and config.model.quantization == "none" else 0.0
    return folded + rows * (row * shape.cache_per_token * width + 3 * 4 * shape.vocabulary)


def _bytes(model: ModelConfig) -> int:
    return 4 if model.lora_rank == 0 or model.dtype == "float32" else 2
