"""Checkpoints that are there whole or not at all.

A checkpoint is a folder written under a temporary name, flushed to the disk and then renamed, so that a process
killed at any moment leaves either the old state or the new one.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llmrl.errors import UserError

STEP = re.compile(r"step-(\d+)")


def write_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Fill a temporary folder beside ``folder``, flush every file, and give it its name."""
    partial = folder.with_name(f".partial-{folder.name}")
    try:
        recover(folder)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        fill(partial)
        for file in partial.rglob("*"):
            _open_to_readers(file)
            _flush(file)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise UserError(f"cannot write {folder}: {error.strerror or error}") from error
    if folder.exists():
        folder.rename(_old(folder))
    partial.rename(folder)
    _flush(folder.parent)
    shutil.rmtree(_old(folder), ignore_errors=True)


def recover(folder: Path) -> None:
    """Undo the half of a replacement that a killed process left behind."""
    old = _old(folder)
    if old.exists() and not folder.exists():
        old.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Replace a small file in one move."""
    partial = path.with_name(f".partial-{path.name}")
    partial.write_text(text)
    _flush(partial)
    partial.replace(path)


def steps(folder: Path) -> list[tuple[int, Path]]:
    """The finished checkpoints in ``folder`` by step, oldest first."""
    found = [(STEP.fullmatch(p.name), p) for p in folder.glob("step-*")]
    return sorted((int(match[1]), path) for match, path in found if match)


def latest(folder: Path) -> Path | None:
    """The newest finished checkpoint in ``folder``, if there is one."""
    found = steps(folder)
    return found[-1][1] if found else None


def prune(folder: Path, keep: int) -> None:
    """Delete all but the ``keep`` newest checkpoints, and what killed processes left half written."""
    for path in [path for _, path in steps(folder)[:-keep]] + list(folder.glob(".partial-*")):
        shutil.rmtree(path)


def check_space(folder: Path, keep: int) -> None:
    """Raise UserError where the disk has no room for ``keep`` checkpoints and the two models beside them.

    The newest checkpoint says how large they are; one written before the first step lacks Adam's two moments.
    """
    newest = latest(folder)
    size = sum(f.stat().st_size for f in newest.rglob("*") if f.is_file()) if newest else 0
    needed, free = (keep + 2) * 3 * size, shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder} has {free / 2**20:,.0f} MiB left on its disk and this run may need {needed / 2**20:,.0f} MiB; "
            "free some, lower train.keep_last, or choose another train.output_dir"
        )


def rng_state() -> dict[str, Any]:
    """The state of every global random number generator of this process."""
    name, keys, *rest = np.random.get_state(legacy=True)
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (name, np.asarray(keys).tolist(), *rest),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_rng_state(state: dict[str, Any]) -> None:
    """Restore what ``rng_state`` gave."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu())


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file's object."""
    return json.loads(path.read_text())


def _old(folder: Path) -> Path:
    return folder.with_name(f".old-{folder.name}")


def _open_to_readers(path: Path) -> None:
    """As the user's umask has it: some libraries write files that only their owner can read."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
