"""The page: data, style, charts library and scripts put into one HTML file."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from llmrl.errors import UserError
from llmrl.report.completions import pack
from llmrl.report.curves import AXES, bucket_width, catalogue, thin
from llmrl.report.lines import finite
from llmrl.report.runs import Run, flatten, grouped, read_run, run_names

SCRIPTS = ("format.js", "series.js", "charts.js", "summary.js", "completions.js", "page.js")
"""Parts of the page's script, in the order in which they need each other."""
NUMBERS = 150_000
"""Numbers in all curves of a page."""
ROWS, TEXT = 3000, 1_500_000
"""Completions of a page, and the bytes that they may take."""


def write_report(runs: Sequence[Path], output: Path) -> None:
    """Write one HTML file that shows the runs in these folders, finished or not, and needs nothing else.

    Raises UserError where a folder holds no run or the file cannot be written.
    """
    if not runs:
        raise UserError("a report needs the folder of at least one run")
    folders = list({path.resolve(): path for path in runs}.values())
    data = page_data([read_run(path, ROWS // len(folders), TEXT // len(folders)) for path in folders])
    partial = output.with_name(f".partial-{output.name}")
    try:
        partial.write_bytes(_page(data).encode("utf-8", "replace"))
        os.replace(partial, output)
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror or error}") from error


def page_data(runs: Sequence[Run]) -> dict[str, Any]:
    """Everything that the page shows, as plain values."""
    metrics, names = [run.metrics for run in runs], run_names(runs)
    width = bucket_width(metrics, NUMBERS)
    described = [run.describe(name) for run, name in zip(runs, names, strict=True)]
    curves = [thin(m, width) if m.last_step else {"step": [], "values": {}} for m in metrics]
    return {
        "title": names[0] if len(runs) == 1 else f"{len(runs)} runs compared",
        "written": f"{datetime.now():%Y-%m-%d %H:%M}",
        "version": version("llmrl"),
        "bucket": width,
        "axes": [axis for axis in AXES if any(axis in curve for curve in curves)],
        "metrics": catalogue(metrics),
        "groups": grouped(runs, names),
        "runs": [run | {"curves": curve} for run, curve in zip(described, curves, strict=True)],
        "config": _settings([run.config for run in runs]),
        "environment": [dict(flatten(_environment(run.summary))) for run in runs],
        "completions": pack([run.sample for run in runs]),
    }


def _settings(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every setting with its value in each run."""
    keys = dict.fromkeys(key for config in configs for key in config)
    return [{"key": key, "values": [_shown(config.get(key)) for config in configs]} for key in keys]


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _environment(summary: Mapping[str, Any]) -> dict[str, Any]:
    return {key: summary[key] for key in ("processes", "versions") if key in summary}


def _page(data: Mapping[str, Any]) -> str:
    from bokeh.resources import Resources  # costs a fifth of a second

    here = files("llmrl.report")
    bokeh = Resources(mode="inline", components=["bokeh", "bokeh-api"], log_level="error")
    return Template((here / "page.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(f"{data['title']} · llmrl"),
        style=(here / "page.css").read_text(encoding="utf-8"),
        bokeh=bokeh.render_js(),
        data=embedded(data),
        script="\n".join((here / name).read_text(encoding="utf-8") for name in SCRIPTS),
    )


def embedded(data: Any) -> str:
    """JSON that can stand in a script element: plain ASCII in which no tag or comment can begin."""
    return json.dumps(finite(data), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
