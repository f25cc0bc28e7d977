"""``llmrl check [CONFIG.yaml …] [--section.field VALUE …]``: what would this run do? Loads no model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from llmrl.commands import memory
from llmrl.config import load_config, to_dict
from llmrl.errors import UserError, VerifierError
from llmrl.policies.loading import load_tokenizer
from llmrl.prompts import fit_prompts, load_problems, make_encoder
from llmrl.scoring import Scorer
from llmrl.trainers.config import LanguageConfig
from llmrl.trainers.run import RunFolder
from llmrl.trainers.trackers import check_trackers
from llmrl.types import Prompt
from llmrl.verifiers.code import isolation
from llmrl.verifiers.dispatch import name_of

ARITHMETIC = Path("recipes/configs/arithmetic.yaml")
"""What the recipes take without a file of the user's own."""


def main(arguments: Sequence[str]) -> None:
    """Print the resolved configuration, its arithmetic in words, the data, the rewards and the memory."""
    config = load_config(LanguageConfig, arguments, default_yaml=ARITHMETIC)
    check_trackers(config.train.trackers)
    if config.train.output_dir:
        RunFolder(Path(config.train.output_dir)).check(to_dict(config), resume=config.train.resume == "auto")
    print(yaml.safe_dump(_plain(to_dict(config)), sort_keys=False))
    prompts, heldout, unanswered = load_problems(config.data)
    print("\n".join(_batch(config, len(heldout))), flush=True)
    print("\n".join(_rewards(config, prompts)), flush=True)
    encode = make_encoder(load_tokenizer(config.model.name), config.data)
    kept, dropped = fit_prompts(prompts, encode, config.data)
    heldout, _ = fit_prompts(heldout, encode, config.data)
    lengths = sorted(len(encode(prompt)) for prompt in kept)
    print("\n".join(_data(config, kept, lengths, len(heldout), dropped, unanswered)), flush=True)
    print("\n".join(_memory(config, lengths[-1])), flush=True)
    print("\n".join(_sandbox()))


def _batch(config: LanguageConfig, heldout: int) -> Iterator[str]:
    train, algorithm, sampling = config.train, config.algorithm, config.sampling
    rows = train.prompts_per_step * algorithm.group_size
    updates = train.minibatches * algorithm.num_iterations
    per_update = rows // train.minibatches
    yield (
        f"batch    a step samples {train.prompts_per_step} prompts x {algorithm.group_size} = {rows:,} completions "
        f"of up to {sampling.max_tokens:,} tokens, {_times(-(-rows // sampling.max_rows))} of at most "
        f"{sampling.max_rows:,} at once"
    )
    yield (
        f"         and makes {_count(updates, 'optimizer step')} of {per_update:,} completions "
        f"({_count(train.minibatches, 'minibatch', 'es')} x {_count(algorithm.num_iterations, 'iteration')}), "
        f"in micro-batches of at most {train.micro_batch_tokens:,} tokens"
    )
    yield (
        f"         {train.steps:,} steps: {train.steps * updates:,} optimizer steps, "
        f"{train.steps * rows:,} completions, at most {train.steps * rows * sampling.max_tokens:,} tokens"
    )
    often = f", every {train.eval_every} steps" if train.eval_every else ""
    yield f"         evaluated before{often} and after on {min(train.eval_problems, heldout)} held-out problems"


def _data(
    config: LanguageConfig, kept: Sequence[Prompt], lengths: Sequence[int], heldout: int, dropped: int, unanswered: int
) -> Iterator[str]:
    epochs = config.train.steps * config.train.prompts_per_step / len(kept)
    yield (
        f"data     {len(kept):,} prompts to train on ({epochs:.2f} epochs), {heldout:,} held out, "
        f"{dropped:,} left out as too long, {unanswered:,} without an answer; "
        f"tokens: median {lengths[len(lengths) // 2]}, longest {lengths[-1]}"
    )
    yield f"         the first: {_shown(kept[0])}"


def _rewards(config: LanguageConfig, prompts: Sequence[Prompt]) -> Iterator[str]:
    with Scorer({**config.rewards.functions}) as scorer:
        scorer.check(prompts)
    names = [name_of(function) for function in config.rewards.functions]
    if config.rewards.accuracy not in (None, *names):
        raise UserError(f"rewards.accuracy: no reward is called {config.rewards.accuracy!r}")
    named = ", ".join(f"{weight:g} x {name}" for name, weight in config.rewards.functions.items())
    yield f"rewards  {named}; each loads and finds its columns"


def _memory(config: LanguageConfig, longest_prompt: int) -> Iterator[str]:
    shape = memory.read_shape(config.model.name)
    parts = memory.estimate(shape, config, longest_prompt)
    trained = shape.trained(config.model.lora_rank)
    yield f"memory   about {_size(memory.peak(parts))} for each process, beside what the libraries themselves take:"
    yield f"         {shape.parameters:,} parameters, {trained:,} trained"
    for name, count in parts.items():
        if count:
            yield f"         {name:34} {_size(count):>10}"
    checkpoints = config.train.keep_last * trained * 12
    yield (
        f"disk     about {_size(checkpoints)} for {config.train.keep_last} checkpoints; "
        f"{_size(shutil.disk_usage(Path.cwd()).free)} free here"
    )


def _sandbox() -> Iterator[str]:
    try:
        found = isolation()
        yield f"sandbox  rewards that run programs would run them at level {found.level}: {found.explanation}"
    except VerifierError as error:
        yield f"sandbox  rewards that run programs would not work here: {error}"


def _shown(prompt: Prompt) -> str:
    content = prompt.content if isinstance(prompt.content, str) else prompt.content[-1]["content"]
    return f"{content[:80]!r} → {prompt.answer!r}"


def _times(count: int) -> str:
    return "in one go" if count == 1 else f"in {count} goes"


def _count(number: int, noun: str, plural: str = "s") -> str:
    return f"{number:,} {noun}{plural if number != 1 else ''}"


def _size(count: float) -> str:
    return f"{count / 2**30:,.2f} GiB" if count >= 2**30 else f"{count / 2**20:,.1f} MiB"


def _plain(values: dict[str, object]) -> dict[str, object]:
    """What YAML has words for."""
    return {
        key: _plain(value) if isinstance(value, dict) else list(value) if isinstance(value, tuple) else value
        for key, value in values.items()
    }
