"""A run's folder, and what the user sees while it is being filled."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

import yaml
from tqdm import tqdm

from llmrl import checkpoint, distributed
from llmrl.config import changed_keys
from llmrl.errors import UserError
from llmrl.metrics import JsonLines, question
from llmrl.types import Group

MAY_CHANGE = (
    *("steps", "resume", "save_every", "keep_last", "show_every", "micro_batch_tokens", "output_dir"),
    *("completions", "trackers"),
)
"""Settings of ``train`` that a resumed run may change."""


SHOWN = (
    ("loss", "loss", ".4f"),
    ("reward", "reward", ".3f"),
    ("accuracy", "accuracy", ".3f"),
    ("kl", "kl", ".4f"),
    ("clip", "clip_ratio/region_mean", ".3f"),
    ("length", "completions/mean_length", ".0f"),
    ("tok/s", "tokens_per_second", ".0f"),
)
"""Label, metric and format of what a step's line shows, where the metric is there."""


class RunFolder:
    """Where a run's configuration, logs, checkpoints, models and summary lie."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metrics = JsonLines(path / "metrics.jsonl")
        self.completions = JsonLines(path / "completions.jsonl")
        self.checkpoints = path / "checkpoints"
        self.summary = path / "summary.json"
        self.report = path / "report.html"

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end."""
        return self.summary.exists()

    @property
    def started(self) -> bool:
        """Whether a run has been here and left something to go on from."""
        return (self.path / "config.yaml").exists() and checkpoint.latest(self.checkpoints) is not None

    def check(self, config: Mapping[str, Any], *, resume: bool) -> None:
        """Refuse to overwrite a run, to mix two, or to write where nothing can be written."""
        if not self.started:
            return _check_writable(self.path)
        if not resume:
            raise UserError(
                f"{self.path} already holds a run; continue it with --train.resume auto, or choose another output_dir"
            )
        old = yaml.safe_load((self.path / "config.yaml").read_text())
        given = _plain(config)
        if self.finished and given["train"]["steps"] > old["train"]["steps"]:
            raise UserError(
                f"{self.path} is finished after {old['train']['steps']} steps; to train its model further, start "
                f"another run with --model.adapter {self.path / 'final'} (all weights: --model.name)"
            )
        changed = [k for k in changed_keys(old, given) if not _may_change(k)]
        if changed:
            raise UserError(f"{self.path} was started with another configuration; these differ: {', '.join(changed)}")
        return None

    def open(self, config: Mapping[str, Any]) -> None:
        """Make the folder and record the configuration."""
        if distributed.is_main():
            try:
                self.checkpoints.mkdir(parents=True, exist_ok=True)
                checkpoint.write_text(self.path / "config.yaml", yaml.safe_dump(_plain(config), sort_keys=False))
            except OSError as error:
                raise UserError(f"cannot write to {self.path}: {error.strerror or error}") from error
            checkpoint.recover(self.path / "best")
            checkpoint.recover(self.path / "final")
        distributed.barrier()

    def cut(self, sizes: Mapping[str, int]) -> None:
        """Bring the logs back to where a checkpoint left them."""
        self.metrics.cut(sizes["metrics"])
        self.completions.cut(sizes["completions"])

    @property
    def sizes(self) -> dict[str, int]:
        """What ``cut`` takes."""
        return {"metrics": self.metrics.size, "completions": self.completions.size}


def default_output_dir(recipe: str) -> str:
    """``runs/<recipe>-<time>``, the same on every rank."""
    return distributed.broadcast(f"runs/{recipe}-{datetime.now():%Y%m%d-%H%M%S}")


class Clock:
    """Seconds spent in each named part of a step."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.parts: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Count the time inside as this part."""
        begin = time.perf_counter()
        yield
        self.parts[part] = self.parts.get(part, 0.0) + time.perf_counter() - begin

    def result(self) -> dict[str, float]:
        """``step_time`` and ``time/<part>``."""
        return {
            "step_time": time.perf_counter() - self.start,
            **{f"time/{k}": v for k, v in self.parts.items()},
        }


class Interrupts:
    """Turns Ctrl-C and SIGTERM into a wish that the loop looks at; one more, later, ends the process at once.

    A launcher passes on a Ctrl-C that the terminal has already sent to its processes: the second of two signals
    that come together says nothing new.
    """

    TOGETHER_S = 3.0

    def __init__(self) -> None:
        self.received: int | None = None
        self.since = 0.0
        self._old: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    @property
    def requested(self) -> bool:
        """Whether any rank was asked to stop; every rank gets the same answer."""
        return distributed.all_max([self.received is not None])[0] > 0

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self.since = number, time.monotonic()
            say("stopping after this step; once more stops at once")
        elif time.monotonic() - self.since > self.TOGETHER_S:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


class Progress:
    """A bar with the time left, and one line a step."""

    def __init__(self, steps: int, done: int) -> None:
        hidden = not distributed.is_main() or None  # None: tqdm hides it where the output is not a terminal
        self.steps = steps
        self.first = done
        self.begin = time.perf_counter()
        self.bar = tqdm(total=steps, initial=done, unit="step", disable=hidden, dynamic_ncols=True, leave=False)

    def step(self, number: int, metrics: Mapping[str, float]) -> None:
        """Print a step's line and move the bar."""
        left = (time.perf_counter() - self.begin) / (number - self.first) * (self.steps - number)
        say(f"step {number:>{len(str(self.steps))}}/{self.steps}  {_line(metrics)}  left {_minutes(left)}")
        self.bar.update(1)

    def close(self) -> None:
        """Take the bar away."""
        self.bar.close()


def say(text: str) -> None:
    """Print on the main rank, above the bar."""
    if distributed.is_main():
        tqdm.write(text)


def show(groups: Sequence[Group]) -> None:
    """Print one completion of the step."""
    group = groups[0]
    text = group.completions[0].text.replace("\n", " ⏎ ")
    say(f"  · {question(group)!r} → {text!r}  (answer {group.prompt.answer}, reward {group.rewards[0]:.2f})")


def _line(metrics: Mapping[str, float]) -> str:
    parts = [f"{label} {metrics[name]:{form}}" for label, name, form in SHOWN if name in metrics]
    split = " ".join(f"{k.removeprefix('time/')} {v:.2f}" for k, v in metrics.items() if k.startswith("time/"))
    return "  ".join([*parts, f"{metrics['step_time']:.2f}s ({split})"])


def _check_writable(path: Path) -> None:
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise UserError(f"cannot write to {path}: {there} is a file")
    if not os.access(there, os.W_OK):
        raise UserError(f"cannot write to {path}: no permission in {there}")


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as YAML gives it back."""
    return json.loads(json.dumps(config))


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _may_change(key: str) -> bool:
    return key.startswith("train.") and key.removeprefix("train.") in MAY_CHANGE
