"""One side of the comparison, alone in its process: ``python sides.py {ours,trl} SHAPE MODEL OUT``.

The imports of a side stand in its function, so that neither pays for the other's.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import shapes
from shapes import Shape


def resident(field: str) -> float:
    """``VmRSS`` (now) or ``VmHWM`` (its peak so far) of this process in MiB.

    Not ``ru_maxrss``, which may be inherited from the process that started this one.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


class Record:
    """What a side is measured by: wall time and tokens of each step, memory after imports and at its peak."""

    def __init__(self) -> None:
        self.imports_mb = resident("VmRSS")
        self.seconds: list[float] = []
        self.tokens: list[int] = []
        self._seen = 0

    def start(self) -> None:
        """The first step begins now."""
        self._begin = time.perf_counter()

    def step(self, tokens_so_far: int) -> None:
        """A step has ended and the next begins; ``tokens_so_far`` is the side's own count."""
        now = time.perf_counter()
        self.seconds.append(now - self._begin)
        self.tokens.append(tokens_so_far - self._seen)
        self._begin, self._seen = now, tokens_so_far

    def result(self, config: dict[str, Any]) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "seconds": self.seconds,
            "tokens": self.tokens,
            "memory_mb": resident("VmHWM") - self.imports_mb,
            "config": config,
        }


def run_ours(shape: Shape, model: str, steps: int, options: dict[str, Any]) -> dict[str, Any]:
    """``steps`` training steps of llmrl; ``options`` override its train section."""
    import transformers.models.qwen2.modeling_qwen2  # noqa: F401  or it would count as the model's memory

    from llmrl.algorithms.grpo import GRPO
    from llmrl.metrics import JsonLines
    from llmrl.policies.causal_lm import CausalPolicy
    from llmrl.policies.loading import ModelConfig
    from llmrl.prompts import DataConfig, make_encoder
    from llmrl.samplers.hf import HFSampler
    from llmrl.scoring import Scorer
    from llmrl.trainers.config import SamplingConfig, TrainConfig
    from llmrl.trainers.language import LanguageTrainer
    from llmrl.trainers.stepper import AccelerateStepper, make_accelerator
    from llmrl.types import Prompt

    record = Record()
    algorithm = GRPO(group_size=shape.group, clip_eps=shapes.CLIP_EPS, kl_coef=shapes.KL_COEF)
    if not algorithm.needs_every_row:
        raise RuntimeError("rows would be skipped: the two sides would not train on the same tokens")
    sampling = SamplingConfig(max_tokens=shape.new_tokens, temperature=shapes.TEMPERATURE)
    train = TrainConfig(
        steps=steps,
        prompts_per_step=shape.prompts,
        learning_rate=shapes.LEARNING_RATE,
        schedule="constant",
        max_grad_norm=shapes.MAX_GRAD_NORM,
        completions="none",
        show_every=0,
        seed=shapes.SEED,
        **options,
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
        record.start()
        for step in range(1, steps + 1):
            trainer.train_step(step)
            record.step(trainer.num_tokens)
    sections = {"model": config, "algorithm": algorithm, "sampling": sampling, "train": train}
    return record.result({name: asdict(section) for name, section in sections.items()})


def run_trl(shape: Shape, model: str, steps: int, options: dict[str, Any]) -> dict[str, Any]:
    """``steps`` training steps of TRL's GRPOTrainer; ``options`` override its GRPOConfig.

    The settings are the fastest that were found for it on a CPU (README.md): all completions in one forward
    and backward pass, no gradient checkpointing, no logging, checkpoints or progress bar, no check of the loss
    for NaN. A step is what passes between two ``on_step_end``: generation, which TRL does inside of the
    training step, is in it, and so is fetching the batch.
    """
    import transformers.models.qwen2.modeling_qwen2  # noqa: F401
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    record = Record()

    class Steps(TrainerCallback):
        """Tells the record where steps begin and end."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            record.start()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            record.step(state.num_input_tokens_seen)

    settings: dict[str, Any] = {
        "max_steps": steps,
        "per_device_train_batch_size": shape.prompts * shape.group,
        "gradient_accumulation_steps": 1,
        "num_generations": shape.group,
        "num_iterations": 1,
        "max_completion_length": shape.new_tokens,
        "temperature": shapes.TEMPERATURE,
        "loss_type": "grpo",
        "epsilon": shapes.CLIP_EPS,
        "beta": shapes.KL_COEF,
        "use_bias_correction_kl": False,
        "learning_rate": shapes.LEARNING_RATE,
        "lr_scheduler_type": "constant",
        "max_grad_norm": shapes.MAX_GRAD_NORM,
        "shuffle_dataset": False,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": False,
        "logging_strategy": "no",
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": shapes.SEED,
        **options,
    }
    lora = {
        "r": shapes.LORA_RANK,
        "lora_alpha": shapes.LORA_ALPHA,
        "lora_dropout": 0.0,
        "target_modules": "all-linear",
        "task_type": "CAUSAL_LM",
    }
    GRPOTrainer(
        model=model,
        processing_class=AutoTokenizer.from_pretrained(model, padding_side="left"),
        args=GRPOConfig(output_dir=str(Path(model) / "trl"), **settings),
        reward_funcs=shapes.random_reward,
        train_dataset=Dataset.from_dict({"prompt": shapes.make_prompts(shape, steps)}),
        peft_config=LoraConfig(**lora) if shape.lora else None,
        callbacks=[Steps()],
    ).train()
    return record.result({"grpo": settings, "lora": lora if shape.lora else None})


RUN: dict[str, Callable[[Shape, str, int, dict[str, Any]], dict[str, Any]]] = {"ours": run_ours, "trl": run_trl}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("side", choices=RUN)
    parser.add_argument("shape", choices=shapes.SHAPES)
    parser.add_argument("model", help="the folder of the model")
    parser.add_argument("out", type=Path, help="the file that the result is written to")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--options", type=json.loads, default={})
    given = parser.parse_args()
    result = RUN[given.side](shapes.SHAPES[given.shape], given.model, given.steps, given.options)
    given.out.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
