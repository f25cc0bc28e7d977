"""A disk that is too small, and one that fills up in the middle of a run; real file systems in a mount namespace."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from test_recipe import assert_same_run, command, data, whole

__all__ = ["data", "whole"]  # fixtures

FILLER = """
import os
from llmrl.rewards import per_sample

FOLDER = {folder!r}


@per_sample
def digits(completion):
    done = os.path.join(FOLDER, "filled-once")
    if not os.path.exists(done) and os.path.exists(os.path.join(FOLDER, "run", "metrics.jsonl")):
        open(done, "w").close()
        try:
            with open(os.path.join(FOLDER, "filler"), "wb") as file:
                while True:
                    file.write(bytes(1024))
        except OSError:
            pass
    return sum(c.isdigit() for c in completion) / 12
"""


def on_a_disk(size: str, folder: Path, *commands: str) -> subprocess.CompletedProcess[str]:
    """Run the commands one after another with ``folder`` on a file system of its own."""
    script = f"mount -t tmpfs -o size={size} tmpfs {folder} && {{ {'; '.join(commands)}; }}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
        env=environment,
        text=True,
        capture_output=True,
        timeout=240,
    )


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _needs_namespaces(tmp_path_factory: pytest.TempPathFactory) -> None:
    if on_a_disk("100k", tmp_path_factory.mktemp("probe"), "true").returncode != 0:
        pytest.skip("this machine allows no mount namespaces")


def test_too_small_a_disk_is_refused_before_training(model_dir: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    out = tmp_path / "disk" / "run"
    arguments = command(model_dir, data, tmp_path / "elsewhere")
    arguments[arguments.index("--train.output-dir") + 1] = str(out)
    done = on_a_disk("200k", tmp_path / "disk", shlex.join([sys.executable, *arguments]))
    assert done.returncode == 2, done.stderr
    assert "left on its disk and this run may need" in done.stderr.splitlines()[-1]
    assert "step 1/" not in done.stdout.replace(" ", "")
    assert "Traceback" not in done.stderr


def test_a_disk_that_fills_up_costs_nothing_but_a_resume(
    whole: Path, model_dir: Path, data: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "reward.py").write_text(FILLER.format(folder=str(disk)))
    arguments = command(model_dir, data, tmp_path / "run", "--train.resume", "auto")
    arguments[arguments.index("--train.output-dir") + 1] = str(disk / "run")
    config = Path(arguments[1])
    config.write_text(f'{{"rewards": {{"functions": {{"{tmp_path / "reward.py"}:digits": 1.0}}}}}}')
    start = shlex.join([sys.executable, *arguments])
    done = on_a_disk("3m", disk, start, "echo code $?", f"rm {disk}/filler", start, f"cp -r {disk}/run {tmp_path}/kept")
    assert "code 2" in done.stdout, done.stdout + done.stderr
    assert "error: the disk is full" in done.stderr or "cannot write" in done.stderr
    assert "Traceback" not in done.stderr
    assert_same_run(whole, tmp_path / "kept")
