"""llmrl: post-training for small open language models.

The public names are loaded when they are first used, so that ``import llmrl`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "CausalPolicy": "llmrl.policies.causal_lm",
    "Completion": "llmrl.types",
    "GRPO": "llmrl.algorithms.grpo",
    "Group": "llmrl.types",
    "HFSampler": "llmrl.samplers.hf",
    "LanguageConfig": "llmrl.trainers.config",
    "LanguageTrainer": "llmrl.trainers.language",
    "Prompt": "llmrl.types",
    "SamplingSpec": "llmrl.types",
    "Scorer": "llmrl.scoring",
    "load_config": "llmrl.config",
    "load_prompts": "llmrl.prompts",
    "per_sample": "llmrl.rewards",
    "per_step": "llmrl.rewards",
    "run_language": "llmrl.trainers.build",
}

__all__ = sorted([*_HOMES, "__version__"])  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'llmrl' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
