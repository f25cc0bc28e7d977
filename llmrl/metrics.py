"""What a step is measured by, under the names that TRL users know, and the files it is written to."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmrl.types import Group


def completion_metrics(groups: Sequence[Group], max_tokens: int) -> dict[str, float]:
    """Lengths in tokens and the share of completions cut at ``max_tokens``."""
    completions = [c for group in groups for c in group.completions]
    lengths = [len(c.tokens) for c in completions]
    terminated = [len(c.tokens) for c in completions if c.finish_reason == "stop"] or [0]
    return {
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


def completion_rows(groups: Sequence[Group], step: int, advantages: Sequence[float]) -> list[dict[str, Any]]:
    """One record a completion, for ``completions.jsonl``."""
    rows = []
    for group, row_advantages in zip(groups, _chunks(advantages, groups), strict=True):
        for i, (completion, advantage) in enumerate(zip(group.completions, row_advantages, strict=True)):
            rows.append(
                {
                    "step": step,
                    "prompt_id": group.prompt.id,
                    "sample": i,
                    "prompt": question(group),
                    "completion": completion.text,
                    "answer": group.prompt.answer,
                    "reward": group.rewards[i],
                    **{f"rewards/{name}": values[i] for name, values in group.parts.items()},
                    "advantage": advantage,
                    "finish_reason": completion.finish_reason,
                    "tokens": len(completion.tokens),
                    "failures": [f.reason for f in group.failures if f.sample == i],
                }
            )
    return rows


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


def _chunks(values: Sequence[float], groups: Sequence[Group]) -> list[Sequence[float]]:
    parts, start = [], 0
    for group in groups:
        parts.append(values[start : start + len(group.completions)])
        start += len(group.completions)
    return parts
