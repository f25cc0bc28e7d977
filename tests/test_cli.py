"""The front door: quick, and clear about what is behind it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT

from llmrl import cli
from llmrl.commands.report import sparkline

LLMRL = Path(sys.executable).parent / "llmrl"


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(LLMRL), *arguments], cwd=cwd, text=True, capture_output=True, timeout=120)


def test_help_names_every_command_and_loads_nothing_heavy() -> None:
    program = "import sys, llmrl.cli; sys.argv = ['llmrl', '--help']; llmrl.cli.main(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, timeout=60)
    assert done.stdout.endswith("False\n")
    assert all(f"  {name} " in done.stdout for name in cli.COMMANDS)
    modules = {path.stem for path in (ROOT / "llmrl" / "commands").glob("*.py")}
    assert set(cli.COMMANDS) <= modules


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_explains_itself(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["llmrl", name, "--help"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert f"usage: llmrl {name}" in shown
    assert len(shown.splitlines()) > 5


def test_an_unknown_command_is_one_line() -> None:
    done = run("evaluate")
    assert done.returncode == 2
    assert done.stderr == "error: no command 'evaluate'; there are check, reward, eval, sample, merge, report\n"
    assert run("--version").stdout.strip()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report"], "name the run's folder"),
        (["report", "nothing"], "nothing is not a run"),
        (["report", "nothing", "--watch"], "nothing holds no run"),
        (["merge", "nothing"], "name the adapter's folder and a new one"),
        (["sample"], "name the model first"),
        (["sample", "./nothing", "--prompt", "x"], "model folder not found"),
        (["sample", "./nothing", "--temperature", "-1"], "temperature at least 0"),
        (["reward"], "name the reward first"),
        (["check", "nothing.yaml"], "config file not found: nothing.yaml"),
        (["eval", "--eval.k", "2"], "name the model first"),
    ],
)
def test_what_is_wrong_with_a_command_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["llmrl", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert message in errors[0]


def test_watch_follows_a_run_to_its_end(tmp_path: Path) -> None:
    """Against a writer that is still at work."""
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    (run_folder / "config.yaml").write_text("train: {steps: 3}\n")
    watching = subprocess.Popen(
        [str(LLMRL), "report", str(run_folder), "--watch"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with (run_folder / "metrics.jsonl").open("w") as file:
        for step in (1, 2, 3):
            file.write(json.dumps({"step": step, "loss": 0.5 / step, "reward": step / 4}) + "\n")
            file.write('{"step": 4, "lo' if step == 3 else "")
            file.flush()
            time.sleep(0.2)
    (run_folder / "summary.json").write_text("{}")
    out, err = watching.communicate(timeout=60)
    assert watching.returncode == 0, err
    assert "step 3, finished" in out
    assert "0.750" in out


def test_sparklines_show_the_course() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([1.0, 1.0]) == "▁▁"
    assert sparkline([float("nan")]) == ""
    long = sparkline([float(i) for i in range(1000)])
    assert len(long) == 40
    assert list(long) == sorted(long)
