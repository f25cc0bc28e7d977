"""A folder is there whole or not at all; generators go on where they were."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from llmrl import checkpoint
from llmrl.errors import UserError
from llmrl.metrics import JsonLines


def filled(folder: Path, text: str) -> None:
    checkpoint.write_folder(folder, lambda path: path.joinpath("a").write_text(text) and None)


def test_a_folder_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "step-000001"

    def fail(folder: Path) -> None:
        (folder / "half").write_text("x")
        assert not target.exists()
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        checkpoint.write_folder(target, fail)
    assert not target.exists()
    assert checkpoint.latest(tmp_path) is None
    filled(target, "whole")
    assert checkpoint.latest(tmp_path) == target
    assert (target / "a").read_text() == "whole"


def test_replacing_keeps_the_old_until_the_new_is_complete(tmp_path: Path) -> None:
    best = tmp_path / "best"
    filled(best, "old")
    filled(best, "new")
    assert (best / "a").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["best"]
    best.rename(tmp_path / ".old-best")  # killed between the two renames
    checkpoint.recover(best)
    assert (best / "a").read_text() == "new"


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    def full(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="No space left on device"):
        checkpoint.write_folder(tmp_path / "step-000001", full)
    assert list(tmp_path.iterdir()) == []


def test_pruning_keeps_the_newest_and_sweeps_what_was_half_written(tmp_path: Path) -> None:
    for step in (2, 10, 9):
        filled(tmp_path / f"step-{step:06d}", "x")
    (tmp_path / ".partial-step-000011").mkdir()
    checkpoint.prune(tmp_path, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000009", "step-000010"]


def test_generators_go_on_where_they_were(tmp_path: Path) -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    torch.save(checkpoint.rng_state(), tmp_path / "rng.pt")
    expected = draw()
    draw()
    checkpoint.set_rng_state(torch.load(tmp_path / "rng.pt", weights_only=True))
    assert draw() == expected


def test_logs_are_cut_back(tmp_path: Path) -> None:
    log = JsonLines(tmp_path / "log.jsonl")
    assert log.size == 0
    log.cut(0)
    log.write([{"a": 1}])
    size = log.size
    log.write([{"a": 2}, {"a": "é"}])
    log.cut(size)
    assert log.path.read_text() == '{"a": 1}\n'
