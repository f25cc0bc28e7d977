"""Models and tokenizers from the Hub or a folder, in the precision and with the adapter that a configuration asks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from peft import LoraConfig, PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging
from transformers.utils.import_utils import is_bitsandbytes_available

from llmrl.errors import UserError

transformers_logging.disable_progress_bar()


@dataclass(frozen=True)
class ModelConfig:
    """The model that is trained."""

    name: str = "data/arithmetic/model"
    """A model on the Hub or a local folder with config, weights and tokenizer."""
    from_scratch: bool = False
    """Start from random weights of the architecture in `name` instead of its weights."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the forward pass and of frozen weights; trained weights are always float32."""
    quantization: Literal["none", "nf4"] = "none"
    """nf4 holds the frozen base in 4 bits and trains LoRA on it (QLoRA, Dettmers et al. 2023); needs bitsandbytes."""
    lora_rank: int = 16
    """Rank of the LoRA matrices on every linear layer but the head; 0 trains all weights."""
    lora_alpha: float = 32.0
    """LoRA's output is scaled by lora_alpha / lora_rank."""
    adapter: str | None = None
    """A PEFT adapter to start from; it is merged into the base, so that it is part of the reference."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""

    def __post_init__(self) -> None:
        if self.lora_rank < 0:
            raise ValueError("lora_rank must be 0 (train all weights) or more")
        if self.from_scratch and self.lora_rank > 0:
            raise ValueError("from_scratch trains all weights: set lora_rank to 0, or the random base would be lost")
        if self.quantization != "none" and (self.lora_rank == 0 or self.adapter or self.from_scratch):
            raise ValueError(
                "quantization holds a finished base that LoRA is trained on: "
                "set lora_rank, and neither adapter nor from_scratch"
            )


def load_tokenizer(name: str) -> Any:
    """The model's tokenizer, with a pad token; UserError where there is none or it has no end token."""
    if _looks_local(name) and not Path(name).is_dir():
        raise UserError(f"model folder not found: {name}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except Exception as error:
        raise UserError(f"no usable tokenizer in {name}: {_one_line(error)}") from error
    if tokenizer.eos_token_id is None:
        raise UserError(f"the tokenizer of {name} has no end-of-sequence token")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # padding is masked by length, never recognised by its id
    return tokenizer


def stop_ids(model: PreTrainedModel, tokenizer: Any) -> set[int]:
    """Every end-of-sequence id that the model, its generation config or its tokenizer names."""
    named = (model.generation_config.eos_token_id, model.config.eos_token_id, tokenizer.eos_token_id)
    ids: set[int] = set()
    for value in named:
        ids.update([value] if isinstance(value, int) else value or [])
    return ids


def load_model(config: ModelConfig, dtype: torch.dtype) -> PreTrainedModel:
    """The base with ``config.adapter`` merged into it; raises UserError where it can't be had."""
    try:
        if config.from_scratch:
            architecture = AutoConfig.from_pretrained(config.name)
            model = AutoModelForCausalLM.from_config(architecture, dtype=dtype)
        elif config.quantization == "none":
            model = AutoModelForCausalLM.from_pretrained(config.name, dtype=dtype)
        else:
            model = AutoModelForCausalLM.from_pretrained(config.name, dtype=dtype, quantization_config=_nf4(dtype))
            _keep_differentiable(model)
    except UserError:
        raise
    except Exception as error:  # transformers, torch and safetensors raise their own many kinds
        raise UserError(f"cannot load a causal language model from {config.name}: {_one_line(error)}") from error
    return model if config.adapter is None else _with_adapter(model, config.adapter)


def _with_adapter(model: PreTrainedModel, folder: str) -> PreTrainedModel:
    """The model with an adapter merged into it; an adapter of tied weights is refused."""
    if not (Path(folder) / "adapter_config.json").is_file():
        raise UserError(f"no PEFT adapter in {folder}")
    try:
        adapted = PeftModel.from_pretrained(model, folder)
    except Exception as error:
        raise UserError(f"the adapter in {folder} does not fit {model.name_or_path}: {_one_line(error)}") from error
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    if model.config.tie_word_embeddings and any(
        isinstance(m, (BaseTunerLayer, AuxiliaryTrainingWrapper)) for m in ends
    ):
        raise UserError(
            f"the adapter in {folder} changes the embeddings or the head of {model.name_or_path}, which are one "
            "tensor there: it cannot be merged into one without changing the other"
        )
    return cast(PreTrainedModel, adapted.merge_and_unload())


def _nf4(dtype: torch.dtype) -> BitsAndBytesConfig:
    if not is_bitsandbytes_available():
        raise UserError('model.quantization needs bitsandbytes: pip install "llmrl[quantization]"')
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def _keep_differentiable(model: nn.Module) -> None:
    """On some CPUs bitsandbytes repacks a layer once it is used in eval mode, and then no gradient passes it."""
    from bitsandbytes.nn.modules import Linear4bit

    for layer in model.modules():
        if isinstance(layer, Linear4bit):
            layer.support_avx512bf16_for_cpu = False


def lora_config(config: ModelConfig) -> LoraConfig:
    """LoRA on every linear layer but the head, without dropout."""
    return LoraConfig(
        r=config.lora_rank,
        lora_alpha=cast(int, config.lora_alpha),
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def _looks_local(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or ("/" in name and Path(name).parent.is_dir())


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
