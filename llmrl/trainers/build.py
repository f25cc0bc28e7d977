"""From a configuration to a loop that is ready to run; everything that can be wrong is found out in order of cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from llmrl import checkpoint
from llmrl.errors import UserError
from llmrl.policies.causal_lm import CausalPolicy
from llmrl.policies.loading import load_tokenizer
from llmrl.prompts import fit_prompts, load_problems, make_encoder
from llmrl.samplers.hf import HFSampler
from llmrl.scoring import Scorer
from llmrl.trainers.config import LanguageConfig
from llmrl.trainers.language import LanguageTrainer, check_division, token_ends
from llmrl.trainers.loop import Loop
from llmrl.trainers.run import RunFolder, default_output_dir, say
from llmrl.trainers.stepper import AccelerateStepper, make_accelerator
from llmrl.trainers.trackers import check_trackers
from llmrl.verifiers.dispatch import RewardFunction, name_of


def run_language(
    config: LanguageConfig, recipe: str, rewards: Mapping[RewardFunction, float] | None = None
) -> dict[str, Any]:
    """Train as configured, or say that it is done; returns the summary.

    ``rewards`` takes the place of ``config.rewards.functions`` and may hold callables.
    """
    accelerator = make_accelerator()
    functions: dict[RewardFunction, float] = {**config.rewards.functions} if rewards is None else {**rewards}
    record = asdict(config)
    record["rewards"]["functions"] = {f if isinstance(f, str) else name_of(f): w for f, w in functions.items()}
    run = RunFolder(Path(config.train.output_dir or default_output_dir(recipe)))
    run.check(record, resume=config.train.resume == "auto")
    if run.finished:
        say(f"{run.path} is already finished; its result is in {run.path / 'final'}")
        return checkpoint.read_json(run.summary)
    accuracy = config.rewards.accuracy or name_of(next(iter(functions)))
    if accuracy not in map(name_of, functions):
        raise UserError(f"rewards.accuracy: no reward is called {accuracy!r}")
    check_division(config.train)
    check_trackers(config.train.trackers)
    prompts, heldout, unanswered = load_problems(config.data)
    if unanswered:
        say(f"left out {unanswered} rows without an answer")
    tokenizer = load_tokenizer(config.model.name)
    with Scorer(
        functions,
        timeout_s=config.rewards.timeout_s,
        max_failure_share=config.rewards.max_failure_share,
        workers=config.rewards.workers,
        worker_memory_mb=config.rewards.worker_memory_mb,
        token_ends=partial(token_ends, tokenizer),
    ) as scorer:
        scorer.check(prompts)
        encode = make_encoder(tokenizer, config.data)
        prompts, dropped = fit_prompts(prompts, encode, config.data)
        heldout, _ = fit_prompts(heldout, encode, config.data)
        if dropped:
            say(f"left out {dropped} prompts longer than {config.data.max_prompt_tokens} tokens")
        policy = CausalPolicy.from_pretrained(
            config.model, tokenizer=tokenizer, temperature=config.sampling.temperature, seed=config.train.seed
        ).to(accelerator.device)
        updates = config.train.steps * config.train.minibatches * config.algorithm.num_iterations
        trainer = LanguageTrainer(
            policy=policy,
            sampler=HFSampler(policy, encode, max_rows=config.sampling.max_rows),
            scorer=scorer,
            stepper=AccelerateStepper(accelerator, policy, config.train, updates),
            prompts=prompts,
            heldout=heldout,
            algorithm=config.algorithm,
            sampling=config.sampling,
            train=config.train,
            accuracy=accuracy,
            completions=run.completions,
        )
        say(_greeting(config, policy, len(prompts)))
        return Loop(trainer, run, config.train, record)()


def _greeting(config: LanguageConfig, policy: CausalPolicy, prompts: int) -> str:
    total = sum(p.numel() for p in policy.parameters())
    trained = sum(p.numel() for p in policy.trainable().values())
    train, algorithm = config.train, config.algorithm
    return (
        f"{config.model.name}: {total:,} parameters, {trained:,} trained, {policy.device}, "
        f"{torch.get_num_threads()} threads\n"
        f"{train.steps} steps of {train.prompts_per_step} prompts x {algorithm.group_size} completions "
        f"of up to {config.sampling.max_tokens} tokens, from {prompts:,} problems"
    )
