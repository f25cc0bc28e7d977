"""One side of the comparison in this process: ``python sides.py {ours,trl} SHAPE MODEL --steps N``."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import shapes
from shapes import Shape


def resident(field: str) -> float:
    """``VmRSS`` (now) or ``VmHWM`` (its peak) of this process, in MB of 2**20 bytes."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(f"{field}:")) / 1024


def run_ours(shape: Shape, model: str, steps: int) -> dict[str, Any]:
    """Seconds and tokens of each step of llmrl, its configuration, and the memory that it started from."""
    from llmrl.algorithms.grpo import GRPO
    from llmrl.metrics import JsonLines
    from llmrl.policies.causal_lm import CausalPolicy, ModelConfig
    from llmrl.prompts import DataConfig, make_encoder
    from llmrl.samplers.hf import HFSampler
    from llmrl.scoring import Scorer
    from llmrl.trainers.config import SamplingConfig, TrainConfig
    from llmrl.trainers.language import LanguageTrainer
    from llmrl.trainers.stepper import AccelerateStepper, make_accelerator
    from llmrl.types import Prompt

    imports = resident("VmRSS")
    algorithm = GRPO(group_size=shape.group, kl_coef=shapes.KL_COEF, clip_eps=shapes.CLIP_EPS)
    assert algorithm.needs_every_row, "rows must not be skipped"
    sampling = SamplingConfig(max_tokens=shape.new_tokens, temperature=shapes.TEMPERATURE)
    train = TrainConfig(
        steps=steps,
        prompts_per_step=shape.prompts,
        learning_rate=shapes.LEARNING_RATE,
        max_grad_norm=shapes.MAX_GRAD_NORM,
        log_completions=False,
        show_every=0,
        seed=shapes.SEED,
    )
    config = ModelConfig(name=model, lora_rank=shapes.LORA_RANK if shape.lora else 0, lora_alpha=shapes.LORA_ALPHA)
    prompts = [Prompt(id=str(i), content=text) for i, text in enumerate(shapes.make_prompts(shape, steps))]
    with Scorer({shapes.random_reward: 1.0}) as scorer:
        policy = CausalPolicy.from_pretrained(config, temperature=sampling.temperature, seed=train.seed)
        trainer = LanguageTrainer(
            policy=policy,
            sampler=HFSampler(policy, make_encoder(policy.tokenizer, DataConfig()), max_rows=sampling.max_rows),
            scorer=scorer,
            stepper=AccelerateStepper(make_accelerator(), policy, train, steps),
            prompts=prompts,
            heldout=[],
            algorithm=algorithm,
            sampling=sampling,
            train=train,
            accuracy="random_reward",
            completions=JsonLines(Path(model) / "completions.jsonl"),
        )
        seconds, tokens, last = [], [], 0
        for step in range(1, steps + 1):
            begin = time.perf_counter()
            metrics = trainer.train_step(step)
            seconds.append(time.perf_counter() - begin)
            assert metrics["frac_reward_zero_std"] == 0
            tokens.append(trainer.num_tokens - last)
            last = trainer.num_tokens
    settings = {"model": config, "algorithm": algorithm, "sampling": sampling, "train": train}
    return {
        "seconds": seconds,
        "tokens": tokens,
        "imports_mb": imports,
        "config": {name: asdict(section) for name, section in settings.items()},
    }
