"""``llmrl sample MODEL [--prompt TEXT …]``: what does a model say?"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from accelerate import PartialState

from llmrl.commands.opening import open_policy
from llmrl.config import parse_options
from llmrl.errors import UserError
from llmrl.prompts import DataConfig, make_encoder
from llmrl.samplers.hf import HFSampler
from llmrl.types import Prompt, SamplingSpec


@dataclass(frozen=True)
class SampleConfig:
    """How the model is asked."""

    prompt: tuple[str, ...] = ()
    """Questions; without any, each line of the standard input is one."""
    n: int = 1
    """Completions of each question."""
    temperature: float = 1.0
    """Sampling temperature; 0 is greedy."""
    max_tokens: int = 256
    """Longest completion in tokens."""
    chat: bool = True
    """Whether a question becomes a user message in the model's chat template."""
    system: str | None = None
    """System message before each question."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the weights."""
    seed: int | None = None
    """Seed of the sampling noise; unset: the clock."""

    def __post_init__(self) -> None:
        if self.n < 1 or self.max_tokens < 1 or self.temperature < 0:
            raise ValueError("n and max_tokens must be at least 1, temperature at least 0")


def main(arguments: Sequence[str]) -> None:
    """Answer each question on the standard output."""
    if not arguments or arguments[0].startswith("-"):
        parse_options(SampleConfig, [a for a in arguments if a in ("-h", "--help")], SampleConfig())
        raise UserError("name the model first: llmrl sample MODEL --prompt TEXT")
    config = parse_options(SampleConfig, arguments[1:], SampleConfig())
    policy = open_policy(arguments[0], dtype=config.dtype).to(PartialState().device)
    data = DataConfig(chat=config.chat, system=config.system)
    sampler = HFSampler(policy, make_encoder(policy.tokenizer, data))
    spec = SamplingSpec(max_tokens=config.max_tokens, temperature=config.temperature)
    seed = time.time_ns() if config.seed is None else config.seed
    for number, question in enumerate(_questions(config)):
        (group,) = sampler.sample([Prompt(str(number), question)], config.n, spec, str(seed))
        for completion in group.completions:
            cut = " …(cut at max_tokens)" if completion.finish_reason == "length" else ""
            print(completion.text + cut, flush=True)
            if config.n > 1:
                print("---")


def _questions(config: SampleConfig) -> Iterator[str]:
    if config.prompt:
        yield from config.prompt
        return
    if sys.stdin.isatty():
        print("one question a line; Ctrl-D ends", file=sys.stderr)
    yield from (line.rstrip("\n") for line in sys.stdin if line.strip())
