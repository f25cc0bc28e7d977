"""A run's metrics, and the fewer points that a page draws of them.

Steps are cut into buckets of equal width, the same for every run of a page, so that runs can be averaged step by
step. A bucket keeps the mean, the lowest and the highest value: no peak is lost, and the mean stays what it was.
"""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from llmrl.report.lines import Row, json_lines

AXES = ("step", "num_tokens", "wall_s")
"""What a curve can be drawn over: steps, tokens seen, seconds."""

SECTIONS = {
    "Reward": ("reward", "*return*", "accuracy", "eval_*", "reward_*", "frac_reward_*", "rewards/*"),
    "Policy": ("kl", "entropy", "clip_ratio/region*", "clip_ratio/*", "*kl*"),
    "Update": ("loss", "grad_norm", "learning_rate", "*loss*"),
    "Completions": ("completions/mean_length", "completions/clipped_ratio", "completions/*"),
    "Speed": ("step_time", "tokens_per_second", "time/*", "*_per_second"),
    "Other": ("*",),
}
"""The order in which curves are offered; a metric belongs to the first pattern that fits its name."""

SHOWN_FIRST = (
    *("reward", "*return*", "accuracy", "eval_*", "kl", "entropy", "loss", "grad_norm"),
    *("completions/mean_length", "completions/clipped_ratio", "clip_ratio/region_mean", "step_time"),
)
OPEN_CURVES = 9
"""So many curves are open at first, of those that are not constant, by the order of ``SHOWN_FIRST``."""


@dataclass(frozen=True)
class Metrics:
    """A run's numbers, one array a metric, aligned with ``columns["step"]``; NaN where a step has none."""

    columns: dict[str, np.ndarray]
    not_finite: dict[str, tuple[int, int]]
    """By metric: how many values were NaN or infinite, and the step of the first."""
    unreadable: int
    """Lines that are no JSON object with a step."""

    @property
    def names(self) -> list[str]:
        """What can be drawn, in the order it was first written."""
        return [name for name in self.columns if name not in AXES]

    @property
    def last_step(self) -> int:
        """The newest step, 0 before the first."""
        return int(self.newest("step") or 0)

    def axis(self, name: str) -> np.ndarray | None:
        """Where each step lies on an axis; seconds are summed step times where the run wrote no clock."""
        if name == "wall_s" and name not in self.columns and "step_time" in self.columns:
            return np.nancumsum(self.columns["step_time"])
        return self.columns.get(name)

    def newest(self, axis: str) -> float | None:
        """How far the run has come on an axis, if it has that axis."""
        values = self.axis(axis)
        return None if values is None or np.isnan(values).all() else float(np.nanmax(values))

    def evaluations(self, name: str) -> list[tuple[int, float]]:
        """Step and value of every evaluation of ``name``."""
        values = self.columns.get(f"eval_{name}", np.empty(0))
        return [(int(s), float(v)) for s, v in zip(self.columns["step"], values, strict=False) if not math.isnan(v)]


def read_metrics(path: Path, before: Mapping[str, float] | None = None) -> Metrics:
    """What ``metrics.jsonl`` holds so far; no file is a run before its first step.

    ``before`` are the held-out measures taken before training, which become those of step 0.
    """
    start: list[Row | None] = [{"step": 0} | {f"eval_{n}": v for n, v in before.items()}] if before else []
    lists: dict[str, array[float]] = defaultdict(lambda: array("d"))
    bad: dict[str, tuple[int, int]] = {}
    count = unreadable = 0
    for row in chain(start, json_lines(path)):
        if row is None or not _is_number(row.get("step")):
            unreadable += 1
            continue
        for name, value in row.items():
            if not _is_number(value):
                continue
            if not math.isfinite(value):
                number, first = bad.get(name, (0, int(row["step"])))
                bad[name] = number + 1, first
                continue
            column = lists[name]
            column.extend([math.nan] * (count - len(column)))
            column.append(value)
        count += 1
    for column in lists.values():
        column.extend([math.nan] * (count - len(column)))
    for axis in AXES if before else ():
        if axis in lists:
            lists[axis][0] = 0.0
    order = np.argsort(np.array(lists["step"]), kind="stable")
    return Metrics({name: np.array(column)[order] for name, column in lists.items()}, bad, unreadable)


def bucket_width(runs: Sequence[Metrics], numbers: int, most: int = 1000) -> int:
    """Steps of a bucket, such that all curves of all runs take at most about ``numbers`` numbers, and one ``most``
    points."""
    curves = sum(len(run.names) for run in runs)
    points = max(50, min(most, numbers // (3 * max(1, curves))))
    return max(1, math.ceil(max((run.last_step for run in runs), default=0) / points))


def thin(metrics: Metrics, width: int) -> dict[str, Any]:
    """The curves in buckets of ``width`` steps: axes at the end of each bucket, and ``mean``, ``low``, ``high`` of
    each metric (of a width of 1 the mean alone), None where a bucket has no value."""
    steps = metrics.columns["step"]
    buckets = np.ceil(steps / width)
    starts = np.flatnonzero(np.diff(buckets, prepend=-np.inf))
    axes = {name: metrics.axis(name) for name in AXES}
    ends = np.append(starts[1:], len(steps)) - 1
    return {
        **{name: _plain(values[ends], digits=12) for name, values in axes.items() if values is not None},
        "values": {name: _bucketed(metrics.columns[name], starts, width) for name in metrics.names},
    }


def catalogue(runs: Sequence[Metrics]) -> list[dict[str, Any]]:
    """Every metric of the runs by section, in order of interest, and whether its curve is open at first."""
    names = list(dict.fromkeys(name for run in runs for name in run.names))
    moving = [name for name in names if any(_moves(run.columns.get(name)) for run in runs)]
    open_first = sorted(moving, key=lambda name: _rank(name, (*SHOWN_FIRST, "*")))[:OPEN_CURVES]
    return [
        {"name": name, "section": section, "open": name in open_first}
        for section, patterns in SECTIONS.items()
        for name in sorted((n for n in names if _section(n) == section), key=lambda n: _rank(n, patterns))
    ]


def _bucketed(column: np.ndarray, starts: np.ndarray, width: int) -> dict[str, list[float | None]]:
    if width == 1:
        return {"mean": _plain(column)}
    there = ~np.isnan(column)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        mean = np.add.reduceat(np.where(there, column, 0.0), starts) / np.add.reduceat(there.astype(int), starts)
    low = np.minimum.reduceat(np.where(there, column, np.inf), starts)
    high = np.maximum.reduceat(np.where(there, column, -np.inf), starts)
    return {"mean": _plain(mean), "low": _plain(low), "high": _plain(high)}


def _plain(values: np.ndarray, digits: int = 5) -> list[float | None]:
    """JSON numbers of so many significant digits; None for what is not finite."""
    return [_short(float(f"{value:.{digits}g}")) if math.isfinite(value) else None for value in values.tolist()]


def _short(value: float) -> float:
    return int(value) if value.is_integer() and abs(value) < 1e15 else value


def _moves(column: np.ndarray | None) -> bool:
    return column is not None and float(np.nanmax(column)) > float(np.nanmin(column))


def _section(name: str) -> str:
    return next(section for section, patterns in SECTIONS.items() if any(fnmatchcase(name, p) for p in patterns))


def _rank(name: str, patterns: Sequence[str]) -> int:
    return next(i for i, pattern in enumerate(patterns) if fnmatchcase(name, pattern))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
