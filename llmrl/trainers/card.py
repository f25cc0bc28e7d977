"""The model card: what a saved model is, how it was made, what was measured and what was not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

BODY = """---
{header}---
# {title}

{kind} of `{base}`, trained with [llmrl](https://github.com/llmrl/llmrl) for {steps} steps on `{data}`.

## Held-out measures

{measures}

{caveat}

## How it was made

```yaml
{config}```

## How to load it

```python
{snippet}
```
"""
NOTHING_ELSE = "Nothing else was measured: not other tasks, not other languages, not safety, not what was lost."
ADAPTER = """from peft import AutoPeftModelForCausalLM

model = AutoPeftModelForCausalLM.from_pretrained("PATH")"""
WHOLE = """from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained("PATH")"""


def model_card(
    config: Mapping[str, Any], step: int, before: Mapping[str, float], after: Mapping[str, float], title: str
) -> str:
    """Markdown with the Hub's metadata in front; ``before`` and ``after`` are held-out measures."""
    model, data = config["model"], config["data"]
    adapter = model["lora_rank"] > 0 and not model.get("adapter")
    header = {
        "base_model": model["name"],
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["llmrl", "lora" if adapter else "full"],
    }
    return BODY.format(
        header=yaml.safe_dump(header, sort_keys=False),
        title=title,
        kind=f"A LoRA adapter (rank {model['lora_rank']})" if adapter else "All weights",
        base=model["name"],
        steps=step,
        data=data["name"],
        measures=_table(before, after),
        caveat=_caveat(config, after),
        config=yaml.safe_dump(dict(config), sort_keys=False),
        snippet=ADAPTER if adapter else WHOLE,
    )


def _caveat(config: Mapping[str, Any], measured: Mapping[str, float]) -> str:
    """What the measures are, and what they are not."""
    data, model = config["data"], config["model"]
    source = f"`{data['heldout']}`" if data.get("heldout") else "rows held out of the training data"
    parts = [f"Taken on {source}."]
    if "accuracy" in measured:
        rewards = config["rewards"]
        reward = rewards["accuracy"] or next(iter(rewards["functions"])).rpartition(":")[2]
        parts.append(
            f"`accuracy` is the mean of the reward `{reward}` over one completion a problem, sampled at temperature "
            f"{config['sampling']['temperature']:g}; `greedy` is the same with the most likely tokens."
        )
    if "nll" in measured:
        parts.append("`nll` is the mean negative log-likelihood of a completion's token, in nats.")
    if model.get("adapter"):
        parts.append(f"Training began from the base with the adapter `{model['adapter']}` merged in.")
    if model.get("quantization", "none") != "none":
        parts.append(f"The base was held in {model['quantization']} (4 bits) in training and in these measures.")
    return " ".join([*parts, NOTHING_ELSE])


def merged_card(title: str, source: str, base: str, dtype: str) -> str:
    """For what ``llmrl merge`` writes; what was measured stands in the source's own card."""
    header = {"base_model": base, "library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["llmrl"]}
    return (
        f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n# {title}\n\n"
        f"`{base}` with the weights of `{source}` merged in, in {dtype}, by [llmrl](https://github.com/llmrl/llmrl). "
        "How they were made and what was measured stands in the card of the source; the merged model itself was "
        "not evaluated.\n"
    )


def _table(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    if not after:
        return "None were taken."
    rows = [f"| {name} | {before[name]:.3f} | {value:.3f} |" for name, value in after.items() if name in before]
    return "\n".join(["| measure | before training | this model |", "| --- | --- | --- |", *rows])
