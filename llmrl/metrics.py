"""What a step is measured by, under the names that TRL users know, and the files it is written to."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmrl.types import Group


def completion_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """Lengths in tokens and the share of completions that were cut."""
    completions = [c for group in groups for c in group.completions]
    lengths = [len(c.tokens) for c in completions]
    terminated = [len(c.tokens) for c in completions if c.finish_reason == "stop"] or [0]
    return {
        "completions/total_tokens": sum(lengths),
        "completions/mean_length": statistics.fmean(lengths),
        "completions/min_length": min(lengths),
        "completions/max_length": max(lengths),
        "completions/mean_terminated_length": statistics.fmean(terminated),
        "completions/min_terminated_length": min(terminated),
        "completions/max_terminated_length": max(terminated),
        "completions/clipped_ratio": statistics.fmean(c.finish_reason == "length" for c in completions),
    }


def token_count(groups: Sequence[Group]) -> int:
    """Tokens of prompts (once a completion) and completions together, as TRL counts ``num_tokens``."""
    return sum(len(g.prompt_tokens) + len(c.tokens) for g in groups for c in g.completions)


def completion_rows(groups: Sequence[Group], step: int, advantages: Sequence[float] | None) -> list[dict[str, Any]]:
    """One record a completion, for ``completions.jsonl``; without advantages, of groups that were not trained on."""
    rows = [_completion_row(group, sample, step) for group in groups for sample in range(len(group.completions))]
    given = advantages if advantages is not None else [None] * len(rows)
    return [{**row, "advantage": advantage} for row, advantage in zip(rows, given, strict=True)]


def first_batch_warnings(metrics: Mapping[str, float]) -> list[str]:
    """What the first batch shows to be wrong before hours are spent on it."""
    found = []
    if metrics["completions/clipped_ratio"] == 1:
        found.append("no completion ended by itself: is sampling.max_tokens too small, or the chat template wrong?")
    elif metrics["completions/clipped_ratio"] > 0.5:
        found.append(f"{metrics['completions/clipped_ratio']:.0%} of the completions were cut at sampling.max_tokens")
    if metrics["frac_reward_zero_std"] == 1:
        found.append("within every group all rewards are equal: there is nothing to learn from yet")
    if metrics["reward_std"] == 0:
        found.append("every completion got the same reward: does the reward function see what it expects?")
    return found


def _completion_row(group: Group, sample: int, step: int) -> dict[str, Any]:
    completion, reward = group.completions[sample], group.rewards[sample]
    return {
        "step": step,
        "prompt_id": group.prompt.id,
        "sample": sample,
        "prompt": question(group),
        "completion": completion.text,
        "answer": group.prompt.answer,
        "reward": None if reward != reward else reward,
        **{f"rewards/{name}": values[sample] for name, values in group.parts.items()},
        "finish_reason": completion.finish_reason,
        "tokens": len(completion.tokens),
        "failures": [f.reason for f in group.failures if f.sample == sample],
    }


def question(group: Group) -> str:
    """The text of the last thing that the prompt says."""
    content = group.prompt.content
    return content if isinstance(content, str) else content[-1]["content"]


class JsonLines:
    """A file of one JSON object a line, which can be cut back to where a checkpoint left it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append the rows and flush them."""
        with self.path.open("a") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def cut(self, size: int) -> None:
        """Forget what was written after ``size`` bytes."""
        if self.path.exists():
            with self.path.open("r+b") as file:
                file.truncate(size)

    def to_parquet(self) -> None:
        """Replace the file by one that ends in ``.parquet``."""
        import pyarrow.json
        import pyarrow.parquet

        if self.size:
            whole = pyarrow.json.ReadOptions(block_size=self.size + 1)  # a column's type shows in all of its rows
            table = pyarrow.json.read_json(self.path, read_options=whole)
            partial = self.path.with_name(f".partial-{self.path.stem}")
            pyarrow.parquet.write_table(table, partial)
            partial.replace(self.path.with_suffix(".parquet"))
            self.path.unlink()
