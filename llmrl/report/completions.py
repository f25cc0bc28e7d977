"""The completions that a page shows: all of a short run, a sample of a long one, read as a stream."""

from __future__ import annotations

import heapq
import json
import random
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, groupby, zip_longest
from pathlib import Path
from typing import Any

from llmrl.report.lines import Row, finite, json_lines, parquet_rows

LONGEST = 8000
"""Characters of a text that are shown; of a longer one the middle is left out, and said to be."""

Numbered = tuple[int, Row]


@dataclass(frozen=True)
class Sample:
    """Some completions in the order of their file, and what was counted over all of them."""

    rows: list[Row] = field(default_factory=list)
    seen: int = 0
    failed: int = 0
    """Completions on which a reward failed."""
    unreadable: int = 0


def read_completions(folder: Path, rows: int, budget: int) -> Sample:
    """At most ``rows`` of a run's completions, of at most ``budget`` bytes as JSON.

    Taken in turn until one of the two is spent: what failed, the best, the worst, the first and last of the run,
    and whole groups drawn at random over it (the same at every call).
    """
    parquet = folder / "completions.parquet"
    sampler = _Sampler(rows)
    source = parquet_rows(parquet) if parquet.exists() else json_lines(folder / "completions.jsonl")
    for _, group in groupby(enumerate(source), key=_group_of):
        sampler.add([row for _, row in group])
    chosen = _within(sampler.in_turn(), rows, budget)
    ordered = [row for _, row in sorted(chosen, key=lambda item: item[0])]
    return Sample(ordered, sampler.seen, sampler.failed, sampler.unreadable)


def pack(samples: Iterable[Sample]) -> dict[str, Any]:
    """The rows of several runs as columns, with the index of their run; each prompt is kept once."""
    rows = [{"run": run, **row} for run, sample in enumerate(samples) for row in sample.rows]
    prompts = list(dict.fromkeys(row["prompt"] for row in rows if "prompt" in row))
    index = {prompt: i for i, prompt in enumerate(prompts)}
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [row.get(name) for row in rows] for name in names}
    if prompts:
        columns["prompt"] = [index[row["prompt"]] if "prompt" in row else None for row in rows]
    return {"prompts": prompts, "columns": columns, "count": len(rows)}


class _Sampler:
    """Sees every group of a run once and keeps few of them."""

    def __init__(self, size: int) -> None:
        self.size, self.share = size, max(1, size // 12)
        self.seen = self.failed = self.unreadable = self.groups = self.kept = 0
        self.failures: list[Numbered] = []
        self.best: list[tuple[float, int, Row]] = []
        self.worst: list[tuple[float, int, Row]] = []
        self.first: list[Numbered] = []
        self.last: deque[Numbered] = deque(maxlen=self.share)
        self.spread: list[list[Numbered]] = []
        self.random = random.Random(0)

    def add(self, group: list[Row | None]) -> None:
        rows = [row for row in group if row is not None]
        self.unreadable += len(group) - len(rows)
        numbered = list(enumerate(rows, self.seen))
        self.seen += len(rows)
        for item in numbered:
            self._add_row(item)
        if numbered:
            self._add_group(numbered)

    def in_turn(self) -> Iterator[Numbered]:
        """What was kept, the kinds taking turns; a row may come twice."""
        self.random.shuffle(self.spread)
        best = [(number, row) for _, number, row in sorted(self.best, reverse=True)]
        worst = [(number, row) for _, number, row in sorted(self.worst, reverse=True)]
        spread = chain.from_iterable(self.spread)
        kinds = zip_longest(self.failures, best, worst, self.first, reversed(self.last), spread)
        return (item for items in kinds for item in items if item is not None)

    def _add_row(self, item: Numbered) -> None:
        number, row = item
        if row.get("failures"):
            self.failed += 1
            if len(self.failures) < self.share:
                self.failures.append(item)
        if len(self.first) < self.share:
            self.first.append(item)
        self.last.append(item)
        reward = row.get("reward")
        if isinstance(reward, (int, float)) and reward == reward:
            self._keep_highest(self.best, (reward, number, row))
            self._keep_highest(self.worst, (-reward, number, row))

    def _keep_highest(self, heap: list[tuple[float, int, Row]], item: tuple[float, int, Row]) -> None:
        if len(heap) < self.share:
            heapq.heappush(heap, item)
        else:
            heapq.heappushpop(heap, item)

    def _add_group(self, group: list[Numbered]) -> None:
        """Reservoir sampling: every group of the run is as likely to stay."""
        self.groups += 1
        if self.kept < self.size:
            self.spread.append(group)
            self.kept += len(group)
        elif (place := self.random.randrange(self.groups)) < len(self.spread):
            self.spread[place] = group


def _group_of(item: tuple[int, Row | None]) -> object:
    """Completions of one prompt at one step stand together; a row without a prompt stands alone."""
    number, row = item
    return (row.get("step"), row["prompt_id"]) if row and "prompt_id" in row else number


def _within(items: Iterable[Numbered], rows: int, budget: int) -> list[Numbered]:
    """The first items, no row twice, that fit; their texts clipped."""
    chosen: dict[int, Row] = {}
    prompts: set[object] = set()
    for number, row in items:
        if number in chosen:
            continue
        shown = {name: _shown(value) for name, value in row.items()}
        prompt = shown.get("prompt")
        budget -= len(json.dumps({**shown, "prompt": None if prompt in prompts else prompt}))
        if budget < 0 or len(chosen) == rows:
            break
        prompts.add(prompt)
        chosen[number] = shown
    return list(chosen.items())


def _shown(value: Any) -> Any:
    """A value as the page shows it: numbers finite, structures as text, texts clipped."""
    if isinstance(value, dict) or (isinstance(value, list) and not all(isinstance(v, str) for v in value)):
        value = json.dumps(finite(value), ensure_ascii=False)
    if isinstance(value, list):
        return [_clipped(text) for text in value]
    return _clipped(value) if isinstance(value, str) else finite(value)


def _clipped(text: str) -> str:
    left_out = len(text) - LONGEST
    if left_out <= 0:
        return text
    half = LONGEST // 2
    return f"{text[:half]}\n… {left_out:,} characters left out …\n{text[-half:]}"
