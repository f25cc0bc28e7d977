"""A run's metrics in TensorBoard, Weights & Biases, trackio and whatever else accelerate can log to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers

from llmrl import distributed
from llmrl.errors import UserError

PROJECT = "llmrl"


def check_trackers(names: Sequence[str]) -> None:
    """Raise UserError for a tracker that accelerate does not know or that is not installed."""
    installed = {str(kind) for kind in get_available_trackers()}
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            raise UserError(f"train.trackers: {name!r} is none of {', '.join(sorted(LOGGER_TYPE_TO_CLASS))}")
        if name not in installed:
            raise UserError(f"train.trackers: {name} is not installed; pip install {name}, or leave it out")


class Trackers:
    """The trackers of one run; on other ranks than the main one, none.

    ``after`` is the step that a resumed run goes on from: TensorBoard forgets what it saw of later ones.
    """

    def __init__(self, names: Sequence[str], folder: Path, config: Mapping[str, Any], *, after: int) -> None:
        self._trackers = [_tracker(name, folder, after) for name in names] if distributed.is_main() else []
        for tracker in self._trackers:
            tracker.start()
            tracker.store_init_configuration(_flat(config))

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """One step's metrics."""
        for tracker in self._trackers:
            tracker.log(dict(metrics), step=step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for tracker in self._trackers:
            tracker.finish()


def _tracker(name: str, folder: Path, after: int) -> GeneralTracker:
    """The run's folder gives its name."""
    kind = LOGGER_TYPE_TO_CLASS[name]
    if name == "tensorboard":
        return kind("tensorboard", folder, purge_step=after + 1)
    if kind.requires_logging_directory:
        return kind(PROJECT, folder)
    return kind(PROJECT, **({"name": folder.name} if name in ("wandb", "trackio") else {}))


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves under dotted names, as every tracker takes them."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, bool | int | float | str) else str(value)
    return flat
