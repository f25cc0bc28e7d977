"""A policy from whatever folder training leaves: a model, an adapter, a checkpoint or a whole run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
import yaml

from llmrl import checkpoint
from llmrl.config import build
from llmrl.errors import UserError
from llmrl.policies.causal_lm import CausalPolicy
from llmrl.policies.loading import ModelConfig, load_tokenizer
from llmrl.trainers.run import say


def open_policy(name: str, *, dtype: str = "float32", temperature: float = 1.0) -> CausalPolicy:
    """The model that ``name`` stands for, ready to sample and score, nothing in it trained.

    ``name`` is a model on the Hub or a folder: of a model, of a PEFT adapter (merged into its base), a
    checkpoint of a run, or a run, whose final model is taken or else its newest checkpoint.
    """
    folder = _of_a_run(Path(name))
    if (folder / "trainer.pt").is_file():
        policy = _from_checkpoint(folder)
    elif (folder / "adapter_config.json").is_file():
        policy = CausalPolicy.from_pretrained(ModelConfig(adapter_base(folder), adapter=str(folder), lora_rank=0))
        if (folder / "tokenizer_config.json").is_file():
            policy.tokenizer = load_tokenizer(str(folder))
    else:
        policy = CausalPolicy.from_pretrained(ModelConfig(name if folder == Path(name) else str(folder), lora_rank=0))
    policy.temperature = temperature
    return policy.to(getattr(torch, dtype)).requires_grad_(False)


def adapter_base(folder: Path) -> str:
    """The model that a PEFT adapter was trained on."""
    base = json.loads((folder / "adapter_config.json").read_text()).get("base_model_name_or_path")
    if not base:
        raise UserError(f"the adapter in {folder} does not name its base model")
    return base


def _of_a_run(folder: Path) -> Path:
    """The model in a run's folder; any other folder is itself."""
    if not (folder / "config.yaml").is_file() or not (folder / "checkpoints").is_dir():
        return folder
    if (folder / "final").is_dir():
        return folder / "final"
    newest = checkpoint.latest(folder / "checkpoints")
    if newest is None:
        raise UserError(f"the run {folder} has neither a final model nor a checkpoint yet")
    return newest


def _from_checkpoint(folder: Path) -> CausalPolicy:
    """The run's start model in float32, with the weights that the checkpoint holds and no adapter."""
    config = build(ModelConfig, yaml.safe_load((folder.parents[1] / "config.yaml").read_text())["model"])
    if config.quantization != "none":
        say(f"{folder} was trained on a base of 4 bits; it is opened on the base as it was before")
    policy = CausalPolicy.from_pretrained(replace(config, dtype="float32", quantization="none"))
    content = torch.load(folder / "trainer.pt", map_location="cpu", weights_only=True)
    trained = policy.trainable()
    with torch.no_grad():
        for name, tensor in content["weights"].items():
            trained[name].copy_(tensor)
    policy.fold_adapter()
    return policy
