"""The embedded sampler and transformers' ``generate`` on the same work: ``python sampler_vs_generate.py [SHAPE …]``.

The same prompts, the same number of completions, every completion of the same length, sampled at temperature 1 with
log-probs on our side and without on generate's, in turn in one process. One JSON line a shape.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

import shapes
import torch

from llmrl.policies.causal_lm import CausalPolicy
from llmrl.policies.loading import ModelConfig
from llmrl.prompts import DataConfig, make_encoder
from llmrl.samplers.hf import HFSampler
from llmrl.types import Prompt, SamplingSpec

ROUNDS = 12


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def compare(name: str) -> dict[str, object]:
    """Median seconds of both over the rounds, and the quartiles of the ratio."""
    shape = shapes.SHAPES[name]
    with tempfile.TemporaryDirectory() as folder:
        shapes.make_model(folder, name)
        rank = shapes.LORA_RANK if shape.lora else 0
        policy = CausalPolicy.from_pretrained(ModelConfig(name=folder, lora_rank=rank))
    sampler = HFSampler(policy, make_encoder(policy.tokenizer, DataConfig(chat=False)))
    prompts = [Prompt(str(i), text) for i, text in enumerate(shapes.make_prompts(shape, 1))]
    spec = SamplingSpec(shape.new_tokens)
    ids = torch.tensor([sampler.encode(p) for p in prompts]).repeat_interleave(shape.group, 0)

    def ours() -> None:
        groups = sampler.sample(prompts, shape.group, spec, "seed")
        assert all(len(c.tokens) == shape.new_tokens for g in groups for c in g.completions)

    def generate() -> None:
        with torch.no_grad():
            output = policy.model.generate(  # pyright: ignore[reportCallIssue]
                input_ids=ids, do_sample=True, max_new_tokens=shape.new_tokens, top_k=0, top_p=1.0
            )
        assert output.shape[1] == ids.shape[1] + shape.new_tokens

    times = [(seconds(ours), seconds(generate)) for _ in range(ROUNDS)][2:]
    ratios = sorted(theirs / mine for mine, theirs in times)
    return {
        "shape": name,
        "ours_s": round(statistics.median(t[0] for t in times), 4),
        "generate_s": round(statistics.median(t[1] for t in times), 4),
        "ratio": round(statistics.median(ratios), 3),
        "quartiles": [round(q, 3) for q in statistics.quantiles(ratios, n=4)[::2]],
    }


if __name__ == "__main__":
    for shape_name in sys.argv[1:] or ["1M-v128-lora", "1M-v128-full", "1M-v32000-full"]:
        print(json.dumps(compare(shape_name)), flush=True)
