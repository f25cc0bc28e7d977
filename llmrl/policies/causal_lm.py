"""A transformers causal language model as a policy, with LoRA or all of its weights trained."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel, get_peft_model
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicCache

from llmrl.errors import UserError
from llmrl.functional import chunked_logprobs_and_entropy
from llmrl.policies.loading import ModelConfig, load_model, load_tokenizer, lora_config, stop_ids
from llmrl.policies.lora import sum_weights
from llmrl.types import PolicyOutput, TokenInputs

ADAPTER = "default"


class CausalPolicy(nn.Module):
    """Scores tokens under the distribution they are sampled from: ``softmax(logits / temperature)``.

    The forward pass is laid out in one of two ways with the same result. Where several rows share a prompt, it
    is computed once and its keys and values are shared (``prefix``); otherwise, and under gradient
    checkpointing, whole rows are computed (``padded``).
    """

    def __init__(self, model: PreTrainedModel | PeftModel, tokenizer: Any, *, temperature: float = 1.0) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.temperature = temperature
        self.version = 0
        self.base_is_merged = False
        self.autocast_dtype: torch.dtype | None = None
        self.can_share_prefixes = _has_plain_attention(self.causal_lm.config)

    @classmethod
    def from_pretrained(
        cls, config: ModelConfig, *, tokenizer: Any = None, temperature: float = 1.0, seed: int = 0
    ) -> CausalPolicy:
        """Load model and tokenizer, if it is not given; raises UserError where one of them won't do."""
        tokenizer = tokenizer or load_tokenizer(config.name)
        trains_base = config.lora_rank == 0
        dtype = torch.float32 if trains_base else getattr(torch, config.dtype)
        torch.manual_seed(seed)
        model = load_model(config, dtype)
        model.generation_config.eos_token_id = sorted(stop_ids(model, tokenizer))
        if config.gradient_checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if not trains_base:
            model.requires_grad_(False)
            model = get_peft_model(model, lora_config(config))
            if config.dtype == "float32":
                sum_weights(model)
            if config.gradient_checkpointing:
                model.enable_input_require_grads()
        policy = cls(model, tokenizer, temperature=temperature)
        policy.base_is_merged = config.adapter is not None
        policy.autocast_dtype = torch.bfloat16 if config.dtype == "bfloat16" else None
        policy.train()
        _switch_dropout_off(policy)
        policy.check_head()
        return policy

    @property
    def causal_lm(self) -> PreTrainedModel:
        """The transformers model itself, without the adapter's wrapper."""
        inner = self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model
        return cast(PreTrainedModel, inner)

    @property
    def has_adapter(self) -> bool:
        """Whether LoRA is trained rather than all weights."""
        return isinstance(self.model, PeftModel)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def stop_ids(self) -> list[int]:
        """Every token id that ends a completion."""
        return cast(list[int], self.causal_lm.generation_config.eos_token_id)

    def trainable(self) -> dict[str, nn.Parameter]:
        """Names and parameters that the optimizer changes."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def backbone(self, tokens: Tensor, **keywords: Any) -> Any:
        """The decoder without its head: hidden states ``[B, T, D]`` and the cache."""
        return self.causal_lm.base_model(input_ids=tokens, **keywords)

    def project(self, hidden: Tensor) -> Tensor:
        """The head with the model's own scaling and soft-capping: ``[N, D]`` to logits ``[N, V]``."""
        config = self.causal_lm.config.get_text_config()
        logits = cast(nn.Module, self.causal_lm.get_output_embeddings())(hidden)
        logits = logits * getattr(config, "logit_scale", 1.0) / getattr(config, "logits_scaling", 1.0)
        cap = getattr(config, "final_logit_softcapping", None)
        return logits if cap is None else torch.tanh(logits / cap) * cap

    @torch.no_grad()
    def check_head(self) -> None:
        """Refuse a model whose logits are not what ``project`` makes of its hidden states."""
        tokens = torch.arange(4, device=self.device)[None] % self.causal_lm.config.get_text_config().vocab_size
        with self.precision():
            whole = self.causal_lm(input_ids=tokens, use_cache=False).logits
            ours = self.project(self.backbone(tokens, use_cache=False).last_hidden_state)
        if not torch.allclose(whole.float(), ours.float(), rtol=1e-3, atol=1e-3):
            name = type(self.causal_lm).__name__
            raise UserError(f"{name} computes its logits in a way that llmrl cannot reproduce from hidden states")

    def forward(self, inputs: TokenInputs) -> PolicyOutput:
        """Log-probability and entropy of every token after each row's prefix; all ``[B, T]``."""
        shared = inputs.prefix_id.unique().numel() < len(inputs.prefix_id)
        layout = self._prefix_hidden if shared and self._may_share() else self._padded_hidden
        with self.precision():
            hidden, row, column = layout(inputs)
            logprobs, entropy = chunked_logprobs_and_entropy(
                hidden,
                inputs.tokens[row, column],
                self.project,
                temperature=self.temperature,
                vocab_size=self.causal_lm.config.get_text_config().vocab_size,
            )
        blank = logprobs.new_zeros(inputs.tokens.shape)
        return PolicyOutput(
            logprobs=blank.index_put((row, column), logprobs),
            entropy=blank.index_put((row, column), entropy),
        )

    def _may_share(self) -> bool:
        return self.can_share_prefixes and not self.causal_lm.is_gradient_checkpointing

    def precision(self) -> torch.autocast:
        """The autocast context of every forward pass (off in float32)."""
        dtype = self.autocast_dtype
        return torch.autocast(self.device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)

    def _padded_hidden(self, inputs: TokenInputs) -> tuple[Tensor, Tensor, Tensor]:
        """Whole rows; the hidden state that predicts each scored token, and the token's row and column."""
        longest = int(inputs.attention_mask.sum(1).max())
        tokens, attention_mask = inputs.tokens[:, :longest], inputs.attention_mask[:, :longest]
        output = self.backbone(tokens, attention_mask=attention_mask, use_cache=False)
        row, column = _scored(inputs).nonzero(as_tuple=True)
        return output.last_hidden_state[row, column - 1], row, column

    def _prefix_hidden(self, inputs: TokenInputs) -> tuple[Tensor, Tensor, Tensor]:
        """Each distinct prefix once, then the rows after it on top of its keys and values."""
        _, which = inputs.prefix_id.unique(return_inverse=True)
        first = _first_occurrence(which)
        prefix_length = inputs.prefix_lengths[first]
        longest = int(prefix_length.max())
        index = torch.arange(longest, device=which.device) - (longest - prefix_length)[:, None]
        prefix_mask = index >= 0  # padded on the left, so that every prefix ends in the last column
        padded = bool((prefix_length != longest).any())  # padding on the right needs no mask: nothing looks ahead
        prefix = inputs.tokens[first].gather(1, index.clamp(min=0))
        head = self.backbone(
            prefix,
            attention_mask=prefix_mask if padded else None,
            position_ids=index.clamp(min=0),
            past_key_values=DynamicCache(),
            use_cache=True,
        )
        scored = _scored(inputs)
        length = int(scored.sum(1).max())
        column = inputs.prefix_lengths[:, None] + torch.arange(length, device=which.device)
        valid = column < inputs.attention_mask.sum(1, keepdim=True)
        hidden = head.last_hidden_state[:, -1][which][:, None]
        if length > 1:
            head.past_key_values.batch_select_indices(which)
            inside = column[:, :-1].clamp(max=inputs.tokens.shape[1] - 1)
            tail = self.backbone(
                inputs.tokens.gather(1, inside),
                attention_mask=torch.cat([prefix_mask[which], valid[:, :-1]], 1) if padded else None,
                position_ids=column[:, :-1],
                past_key_values=head.past_key_values,
                use_cache=True,
            )
            hidden = torch.cat([hidden, tail.last_hidden_state], 1)
        row, offset = valid.nonzero(as_tuple=True)
        return hidden[row, offset], row, column[row, offset]

    @contextmanager
    def merged(self) -> Iterator[None]:
        """LoRA folded into temporary copies of the weights, for generation.

        The base weights are put back by reference, never by subtraction, so that no rounding reaches them.
        """
        layers = [m for m in self.modules() if isinstance(m, LoraLinear)]
        bases = [cast(nn.Linear, layer.get_base_layer()) for layer in layers]
        originals = [(base.weight.data, layer.forward) for layer, base in zip(layers, bases, strict=True)]
        try:
            for layer, base in zip(layers, bases, strict=True):
                with torch.no_grad():
                    base.weight.data = base.weight + layer.get_delta_weight(ADAPTER).to(base.weight.dtype)
                vars(layer)["forward"] = (
                    base.forward
                )  # not through peft's: its bookkeeping costs as much as the product
            yield
        finally:
            for layer, base, (weight, forward) in zip(layers, bases, originals, strict=True):
                base.weight.data, vars(layer)["forward"] = weight, forward

    def fold_adapter(self) -> None:
        """Make the adapter a part of the weights for good."""
        if isinstance(self.model, PeftModel):
            self.model = cast(PreTrainedModel, self.model.merge_and_unload())

    def save(self, folder: Path) -> None:
        """The adapter (LoRA) or the whole model, with its tokenizer, as transformers and peft load them.

        An adapter on a base into which another one was merged would fit no base that exists: the whole model is saved.
        """
        model = self.model
        if isinstance(model, PeftModel) and self.base_is_merged:
            model = copy.deepcopy(model).merge_and_unload()
        model.save_pretrained(str(folder))
        self.tokenizer.save_pretrained(folder)


def _switch_dropout_off(module: nn.Module) -> None:
    """Dropout would make the first importance ratio differ from 1."""
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        if isinstance(getattr(part, "attention_dropout", None), float):
            part.attention_dropout = 0.0  # type: ignore[assignment]


def _has_plain_attention(config: Any) -> bool:
    """Whether every layer keeps all keys and values, so that a prefix's cache can be shared."""
    text = config.get_text_config()
    kinds = getattr(text, "layer_types", None) or []
    return all(kind == "full_attention" for kind in kinds) and getattr(text, "sliding_window", None) is None


def _scored(inputs: TokenInputs) -> Tensor:
    """[B, T] True on the tokens after each row's prefix."""
    column = torch.arange(inputs.tokens.shape[1], device=inputs.tokens.device)
    return inputs.attention_mask & (column >= inputs.prefix_lengths[:, None])


def _first_occurrence(which: Tensor) -> Tensor:
    """For values 0 … U-1, the index at which each first occurs."""
    rows = torch.arange(len(which), device=which.device)
    first = torch.full((int(which.max()) + 1,), len(which), device=which.device)
    return first.scatter_reduce(0, which, rows, "amin")
