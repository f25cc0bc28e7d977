"""``llmrl eval MODEL [CONFIG.yaml …] [--section.field VALUE …]``: how good is a model at the held-out problems?"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from accelerate import PartialState

from llmrl import estimators
from llmrl.commands.opening import open_policy
from llmrl.config import check_output, load_config
from llmrl.errors import UserError
from llmrl.prompts import DataConfig, describe_heldout, fit_prompts, load_heldout, make_encoder
from llmrl.samplers.hf import HFSampler
from llmrl.scoring import Scorer
from llmrl.types import Group, Prompt, SamplingSpec
from llmrl.verifiers.dispatch import name_of
from llmrl.verifiers.math import extract_answer, is_equivalent

TRAINING = ("model", "rewards", "algorithm", "sampling", "train")
"""Sections of a recipe's configuration that mean nothing here."""


@dataclass(frozen=True)
class EvalSection:
    """What is asked of the model, and how its answers are judged."""

    verifier: str = "rewards/math_answer.py:correct"
    """Reward function, `path/to/file.py:name`, that gives 1 for a right completion and 0 for a wrong one."""
    k: int = 1
    """Completions of each problem."""
    temperature: float | None = None
    """Sampling temperature; unset: 0 (greedy) for one completion, 1 for several."""
    max_tokens: int = 512
    """Longest completion in tokens."""
    problems: int | None = None
    """Problems that are asked, from the first on; unset: all."""
    max_rows: int = 256
    """Completions generated at once; changes memory and speed."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the weights."""
    timeout_s: float = 30.0
    """Longest time a call of the verifier may take."""
    seed: int = 0
    """Seed of the sampling noise."""
    output: str | None = None
    """JSON file for the result and every completion."""

    def __post_init__(self) -> None:
        if self.k < 1 or self.max_tokens < 1 or self.max_rows < 1 or (self.problems is not None and self.problems < 1):
            raise ValueError("k, max_tokens, max_rows and problems must be at least 1")
        if self.temperature is not None and not 0 <= self.temperature < math.inf:
            raise ValueError("temperature must be 0 or more")
        if self.k > 1 and self.temperature == 0:
            raise ValueError("k completions at temperature 0 are the same completion k times")

    @property
    def spec(self) -> SamplingSpec:
        """The distribution that is evaluated."""
        temperature = float(self.k > 1) if self.temperature is None else self.temperature
        return SamplingSpec(max_tokens=self.max_tokens, temperature=temperature)


@dataclass(frozen=True)
class EvalConfig:
    """An evaluation on ``data``'s held-out side; the sections of a recipe's YAML that it does not need are ignored."""

    data: DataConfig = field(default_factory=DataConfig)
    eval: EvalSection = field(default_factory=EvalSection)


@dataclass(frozen=True)
class Estimate:
    """A mean over problems with its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f}  [{self.low:.4f}, {self.high:.4f}]"


def main(arguments: Sequence[str]) -> None:
    """Evaluate and print; ``eval.output`` keeps every completion."""
    if not arguments or arguments[0].startswith("-"):
        load_config(EvalConfig, [a for a in arguments if a in ("-h", "--help")])
        raise UserError("name the model first: llmrl eval MODEL [CONFIG.yaml …]")
    name, *rest = arguments
    config = load_config(EvalConfig, [*_own_data(name, rest), *rest], ignore=TRAINING)
    result = evaluate(name, config)
    print(_table(result))
    if config.eval.output:
        Path(config.eval.output).write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


def _own_data(name: str, arguments: Sequence[str]) -> list[str]:
    """A run's own configuration, where no other and no data are named: a model has to be asked something."""
    names_a_file = bool(arguments) and not arguments[0].startswith("-")
    if names_a_file or any(a.startswith("--data.") for a in arguments):
        return []
    own = [folder / "config.yaml" for folder in (Path(name), Path(name).parent, Path(name).parent.parent)]
    found = next((file for file in own if file.is_file()), None)
    if found is None:
        raise UserError("name the problems: --data.heldout FILE, or a CONFIG.yaml with a data section")
    return [str(found)]


def evaluate(name: str, config: EvalConfig) -> dict[str, Any]:
    """The measures, each with its interval, and every completion with its verdict."""
    spec, section = config.eval.spec, config.eval
    check_output(section.output)
    prompts = load_heldout(config.data)[: section.problems]
    if not prompts:
        raise UserError(f"{config.data.name} is too small to hold rows out; name the problems with --data.heldout")
    with Scorer({section.verifier: 1.0}, timeout_s=section.timeout_s, workers=1) as scorer:
        scorer.check(prompts)
        policy = open_policy(name, dtype=section.dtype).to(PartialState().device)
        encode = make_encoder(policy.tokenizer, config.data)
        prompts, dropped = fit_prompts(prompts, encode, config.data)
        sampler = HFSampler(policy, encode, max_rows=section.max_rows)
        groups = scorer(_sampled(sampler, prompts, section, spec))
    measures = measure(groups, name_of(section.verifier))
    return {
        "model": name,
        "data": describe_heldout(config.data),
        "problems": len(groups),
        "dropped_prompts": dropped,
        "failed": sum(len(group.failures) for group in groups),
        "eval": asdict(section),
        "temperature": spec.temperature,
        **{key: asdict(value) for key, value in measures.items()},
        "completions": [_record(group) for group in groups],
    }


def measure(groups: Sequence[Group], reward: str) -> dict[str, Estimate]:
    """Accuracy of single answers (their mean where a value is neither 0 nor 1); of several mean@k, pass@k for each
    power of two, where 1 is a pass, and maj@k.

    A completion whose verifier failed is left out. Raises UserError where it failed on all of a problem's.
    """
    found = [(group, _judged(group, reward)) for group in groups]
    values = [[value for _, value in judged] for _, judged in found]
    empty = next((group.prompt.id for group, judged in found if not judged), None)
    if empty is not None:
        raise UserError(f"the verifier failed on every completion of problem {empty}")
    k = min(map(len, values))
    if k == 1 and max(map(len, values)) == 1:
        single = [row[0] for row in values]
        if not set(single) <= {0.0, 1.0}:
            return {"mean": _estimate(single)}
        right = int(sum(single))
        return {"accuracy": Estimate(right / len(values), *estimators.wilson_interval(right, len(values)))}
    measures = {f"mean@{k}": _estimate([statistics.fmean(row) for row in values])}
    for size in (2**i for i in range(k.bit_length()) if 2**i <= k):
        measures[f"pass@{size}"] = _estimate(
            [estimators.pass_at_k(len(row), sum(value == 1 for value in row), size) for row in values]
        )
    votes = [([extract_answer(text) for text, _ in judged], [value for _, value in judged]) for _, judged in found]
    return {**measures, f"maj@{k}": _estimate([estimators.majority(*vote, same=_same) for vote in votes])}


def _sampled(sampler: HFSampler, prompts: Sequence[Prompt], section: EvalSection, spec: SamplingSpec) -> list[Group]:
    """All groups, in pieces that show progress."""
    from tqdm import tqdm

    at_once = max(1, section.max_rows // section.k)
    groups: list[Group] = []
    with tqdm(total=len(prompts), unit="problem", leave=False, disable=None) as bar:
        for start in range(0, len(prompts), at_once):
            some = sampler.sample(prompts[start : start + at_once], section.k, spec, f"{section.seed}/eval")
            groups += some
            bar.update(len(some))
    return groups


def _judged(group: Group, reward: str) -> list[tuple[str, float]]:
    """Text and value of the completions that the verifier could judge."""
    pairs = zip(group.completions, group.parts[reward], strict=True)
    return [(completion.text, value) for completion, value in pairs if value is not None]


def _estimate(values: Sequence[float]) -> Estimate:
    return Estimate(math.fsum(values) / len(values), *estimators.bootstrap_interval(values))


def _same(one: Any, other: Any) -> bool:
    return is_equivalent(one, other)


def _record(group: Group) -> dict[str, Any]:
    return {
        "id": group.prompt.id,
        "answer": group.prompt.answer,
        "completions": [completion.text for completion in group.completions],
        "values": [value for values in group.parts.values() for value in values],
        "cut": [completion.finish_reason == "length" for completion in group.completions],
    }


def _table(result: dict[str, Any]) -> str:
    k, kind = result["eval"]["k"], "greedy" if result["temperature"] == 0 else f"temperature {result['temperature']:g}"
    cut = statistics.fmean(cut for row in result["completions"] for cut in row["cut"])
    each = f"{k} completion{'s' * (k > 1)} each, {kind}"
    lines = [
        f"{result['model']} on {result['problems']:,} problems of {result['data']}, {each}",
        *[
            f"  {name:9} {Estimate(**value)}"
            for name, value in result.items()
            if isinstance(value, dict) and "low" in value
        ],
        "  (mean over problems with its 95% interval)",
    ]
    if cut:
        lines.append(f"  {cut:.1%} of the completions were cut at eval.max_tokens")
    if result["dropped_prompts"]:
        lines.append(f"  {result['dropped_prompts']} problems were left out: their prompt is too long")
    if result["failed"]:
        lines.append(f"  the verifier failed on {result['failed']} completions, which are left out")
    return "\n".join(lines)
