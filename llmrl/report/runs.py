"""What a run's folder says of the run, and which runs belong together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from llmrl.errors import UserError
from llmrl.report.completions import Sample, read_completions
from llmrl.report.curves import Metrics, read_metrics

NOT_THE_EXPERIMENT = (
    *("seed", "output_dir", "resume", "save_every", "keep_last", "show_every", "completions", "trackers"),
    *("eval_every", "micro_batch_tokens"),
)
"""Last parts of the settings in which two runs may differ and still be repetitions of each other."""


@dataclass(frozen=True)
class Run:
    """A run as its folder shows it now."""

    path: Path
    config: dict[str, Any]
    """Every setting by its dotted name."""
    summary: dict[str, Any]
    """Empty while the run is not finished."""
    metrics: Metrics
    sample: Sample

    @property
    def seed(self) -> Any:
        """The run's seed, if it has one."""
        found = [value for key, value in self.config.items() if key.rpartition(".")[2] == "seed"]
        return found[0] if found else None

    @property
    def experiment(self) -> dict[str, Any]:
        """The settings that repetitions of a run share."""
        return {k: v for k, v in self.config.items() if k.rpartition(".")[2] not in NOT_THE_EXPERIMENT}

    @property
    def measures(self) -> dict[str, dict[str, Any]]:
        """Held-out measures by name: ``before``, ``after``, and the ``step`` of ``after``.

        A finished run's are those of its summary; of another the newest evaluation, and that of step 0 if it is
        there.
        """
        if self.summary:
            names = [key.removesuffix("_after") for key in self.summary if key.endswith("_after")]
            return {n: self._measure(self.summary.get(f"{n}_before"), self.summary[f"{n}_after"]) for n in names}
        found = {}
        for name in (n.removeprefix("eval_") for n in self.metrics.names if n.startswith("eval_")):
            evaluations = dict(self.metrics.evaluations(name))
            if evaluations:
                newest = max(evaluations)
                found[name] = self._measure(evaluations.get(0), evaluations[newest]) | {"step": newest}
        return found

    @property
    def wall_s(self) -> float | None:
        """Seconds that the run took, or those of its steps so far."""
        return self.summary.get("wall_s", self.metrics.newest("wall_s"))

    @property
    def notes(self) -> list[str]:
        """What the reader of a page must know about this run's files."""
        broken = {"metrics.jsonl": self.metrics.unreadable, "its completions": self.sample.unreadable}
        found = [f"left out of {name} as unreadable: {count}" for name, count in broken.items() if count]
        if not self.metrics.last_step:
            found.append("no step is written yet")
        if not self.sample.seen:
            found.append("no completions are logged")
        return found

    def describe(self, name: str) -> dict[str, Any]:
        """The run for the page, without its curves and completions."""
        tokens = self.metrics.newest("num_tokens")
        return {
            "name": name,
            "seed": self.seed,
            "model": self.config.get("model.name"),
            "written": f"{self._written:%Y-%m-%d %H:%M}",
            "finished": bool(self.summary),
            "steps": self.metrics.last_step,
            "planned": self.config.get("train.steps"),
            "wall_s": self.wall_s,
            "num_tokens": None if tokens is None else int(tokens),
            "best": [self.summary[k] for k in ("best_accuracy", "best_step") if k in self.summary],
            "completions": self.sample.seen,
            "failed": self.sample.failed,
            "measures": self.measures,
            "not_finite": self.metrics.not_finite,
            "notes": self.notes,
        }

    def _measure(self, before: Any, after: Any) -> dict[str, Any]:
        return {"before": before, "after": after, "step": self.summary.get("steps")}

    @property
    def _written(self) -> datetime:
        files = [self.path / name for name in ("summary.json", "metrics.jsonl", "config.yaml")]
        return datetime.fromtimestamp(max(file.stat().st_mtime for file in files if file.exists()))


def read_run(path: Path, rows: int, budget: int) -> Run:
    """The run in a folder, with at most ``rows`` completions of ``budget`` bytes; UserError where there is none."""
    if not (path / "config.yaml").is_file():
        raise UserError(f"{path} is not a run: it has no config.yaml")
    try:
        config = yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8"))
        summary = json.loads(text) if (text := _text_if_there(path / "summary.json")) else {}
        metrics = read_metrics(path / "metrics.jsonl", _before(summary))
        sample = read_completions(path, rows, budget)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read as a run: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict) or not isinstance(summary, dict):
        raise UserError(f"{path} is not a run: config.yaml or summary.json holds no mapping")
    return Run(path, dict(flatten(config)), summary, metrics, sample)


def _before(summary: Mapping[str, Any]) -> dict[str, float]:
    """Of the held-out measures, those that a curve can begin with."""
    found = {key.removesuffix("_before"): value for key, value in summary.items() if key.endswith("_before")}
    return {name: value for name, value in found.items() if name == "accuracy"}


def flatten(config: Mapping[str, Any], where: str = "") -> list[tuple[str, Any]]:
    """Dotted names and values of a nested configuration."""
    found: list[tuple[str, Any]] = []
    for key, value in config.items():
        nested = isinstance(value, Mapping) and value
        found += flatten(value, f"{where}{key}.") if nested else [(f"{where}{key}", value)]
    return found


def run_names(runs: Sequence[Run]) -> list[str]:
    """Folder names, with as many parents as it takes to tell the runs apart."""
    for depth in range(1, max(len(run.path.resolve().parts) for run in runs)):
        names = ["/".join(run.path.resolve().parts[-depth:]) for run in runs]
        if len(set(names)) == len(names):
            return names
    return [str(run.path.resolve()) for run in runs]


def grouped(runs: Sequence[Run], names: Sequence[str]) -> list[dict[str, Any]]:
    """The runs that differ only in seed, together: the group's label and the positions of its runs."""
    groups: dict[str, list[int]] = {}
    for i, run in enumerate(runs):
        groups.setdefault(json.dumps(run.experiment, sort_keys=True, default=str), []).append(i)
    if len(groups) == 1 and len(runs) > 1:
        return [{"label": "seeds " + ", ".join(str(run.seed) for run in runs), "runs": list(range(len(runs)))}]
    keys = [row["key"] for row in compare([runs[members[0]].experiment for members in groups.values()])]
    return [{"label": _label(runs[m[0]], keys, names[m[0]]), "runs": m} for m in groups.values()]


def compare(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The settings in which configurations differ: ``key``, and ``values`` one a configuration, None where unset."""
    keys = dict.fromkeys(key for config in configs for key in config)
    rows = [{"key": key, "values": [config.get(key) for config in configs]} for key in keys]
    return [row for row in rows if any(value != row["values"][0] for value in row["values"])]


def _label(run: Run, keys: Sequence[str], name: str) -> str:
    """What sets a group apart: the settings that differ where they are few, else the name of its first run."""
    if not 0 < len(keys) <= 3:
        return name
    return ", ".join(f"{key.rpartition('.')[2]} {run.config.get(key)}" for key in keys)


def _text_if_there(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
