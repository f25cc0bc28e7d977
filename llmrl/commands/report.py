"""``llmrl report RUN [RUN …]``: the page of one run, or of several side by side; ``--watch`` follows one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from llmrl.config import parse_options
from llmrl.errors import UserError
from llmrl.report import write_report
from llmrl.trainers.run import SHOWN, RunFolder

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 40
REFRESH_S = 1.0


@dataclass(frozen=True)
class ReportConfig:
    """Where the page goes."""

    output: str | None = None
    """The page's file; unset: report.html in the run's folder, or runs.html here for several runs."""
    watch: bool = False
    """Show the run's newest metrics in the terminal until it ends, and write no page."""


def main(arguments: Sequence[str]) -> None:
    """Write the page, or watch."""
    split = next((i for i, a in enumerate(arguments) if a.startswith("-")), len(arguments))
    runs = [Path(a) for a in arguments[:split]]
    config = parse_options(ReportConfig, arguments[split:], ReportConfig())
    if not runs:
        raise UserError("name the run's folder: llmrl report RUN [RUN …]")
    if config.watch:
        return watch(runs)
    output = Path(config.output) if config.output else runs[0] / "report.html" if len(runs) == 1 else Path("runs.html")
    write_report(runs, output)
    print(f"wrote {output}")
    return None


def watch(runs: Sequence[Path]) -> None:
    """Newest metrics with their course so far, anew each second, until every run has ended or Ctrl-C."""
    from rich.console import Group
    from rich.live import Live

    folders = [RunFolder(path) for path in runs]
    missing = next((folder.path for folder in folders if not (folder.path / "config.yaml").is_file()), None)
    if missing is not None:
        raise UserError(f"{missing} holds no run")
    try:
        with Live(refresh_per_second=4) as live:
            while True:
                finished = all(folder.finished for folder in folders)
                live.update(Group(*(part for folder in folders for part in _shown(folder))))
                if finished:
                    return
                time.sleep(REFRESH_S)
    except KeyboardInterrupt:
        return


def _shown(folder: RunFolder) -> tuple[str, Any]:
    """A line that names the run, and a table of its metrics."""
    from rich.table import Table

    rows = list(_metrics(folder))
    table = Table(box=None)
    for column in ("", "now", "so far"):
        table.add_column(column)
    for label, name, form in (*SHOWN, ("held-out", "eval_accuracy", ".3f")):
        values = [row[name] for row in rows if row.get(name) is not None]
        if values:
            table.add_row(label, f"{values[-1]:{form}}", sparkline(values))
    state = "finished" if folder.finished else f"running, last news {_age(folder):.0f} s ago"
    return f"{folder.path.name}: step {rows[-1]['step'] if rows else 0}, {state}", table


def _age(folder: RunFolder) -> float:
    """Seconds since the run last wrote."""
    written = folder.metrics.path if folder.metrics.path.is_file() else folder.path / "config.yaml"
    return time.time() - written.stat().st_mtime


def _metrics(folder: RunFolder) -> Iterator[dict[str, Any]]:
    """The finished lines of metrics.jsonl."""
    if folder.metrics.path.is_file():
        *lines, _ = folder.metrics.path.read_text().split("\n")
        yield from map(json.loads, lines)


def sparkline(values: Sequence[float]) -> str:
    """The course of a metric in a line of bars, each the mean of its share of the steps."""
    finite = [value for value in values if value == value]
    if not finite:
        return ""
    count = min(WIDTH, len(finite))
    cuts = [len(finite) * i // count for i in range(count + 1)]
    means = [sum(finite[a:b]) / (b - a) for a, b in pairwise(cuts)]
    low, high = min(means), max(means)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((mean - low) * scale)] for mean in means)
