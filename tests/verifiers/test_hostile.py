"""Hostile programs, many at a time: each contained, nothing of ours touched, nothing left, no verdict forged."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from verifiers.forgers import EXPECTED, FORGED
from verifiers.hostile import CONTAINED

from llmrl.verifiers.code import Asserts, CheckFunction, Limits, TestReport, isolation, run_python, run_tests
from llmrl.verifiers.sandbox import host
from llmrl.verifiers.sandbox.execution import ExecutionResult
from llmrl.verifiers.sandbox.inside import processes

LIMITS = Limits(wall_s=0.8, cpu_s=1, memory_mb=256, disk_mb=16, output_kb=64, processes=16)
ENDLESS = {"endless loop", "endless sleep", "signals ignored", "thread that never ends", "fork bomb"}
SECRET = "a secret of ours"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(isolation().level == "limits", reason="no isolation on this machine"),
]


@pytest.fixture(scope="module", params=["namespaces", pytest.param("landlock", marks=pytest.mark.slow)])
def level(request: pytest.FixtureRequest) -> str:
    if request.param == "namespaces" and isolation().level != "namespaces":
        pytest.skip(isolation().explanation)
    return request.param


class Outside:
    """What is ours and must not be reached."""

    def __init__(self, folder: Path) -> None:
        self.secret_file = folder / "secret"
        self.secret_file.write_text(SECRET)
        self.victim = subprocess.Popen(["sleep", "600"])
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(0.05)

    def fill(self, program: str) -> str:
        known = {"{secret_file!r}": repr(str(self.secret_file)), "{victim}": str(self.victim.pid)}
        known["{port}"] = str(self.listener.getsockname()[1])
        for name, value in known.items():
            program = program.replace(name, value)
        return program

    def close(self) -> None:
        self.victim.kill()
        self.victim.wait()
        self.listener.close()


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    os.environ["LLMRL_TEST_SECRET"] = SECRET
    outside = Outside(tmp_path_factory.mktemp("outside"))
    yield outside
    outside.close()


@pytest.fixture(scope="module")
def results(level: str, outside: Outside) -> dict[str, ExecutionResult]:
    """Every contained program's end; four at a time, as they would come."""

    def one(program: str) -> ExecutionResult:
        return run_python(outside.fill(program), limits=LIMITS, sandbox=level)

    with ThreadPoolExecutor(4) as threads:
        return dict(zip(CONTAINED, threads.map(one, CONTAINED.values()), strict=True))


@pytest.fixture(scope="module")
def reports(level: str) -> dict[str, list[TestReport]]:
    """Every forger's reports: by asserts, and by a check function."""
    tests = [
        f"assert f(3) == {EXPECTED}",
        f"assert set(f(2)) == set([{EXPECTED}])",
        f"assert abs(f(1) - {EXPECTED}) < 1e-6",
        f"assert math.isclose(f(1), {EXPECTED})",
        f"assert not f(0) != {EXPECTED}",
        f"assert sorted(f(4)) == [{EXPECTED}, 5]",
    ]
    asserts = Asserts(tests, setup="import math")
    check = CheckFunction(
        f"def check(candidate):\n    expected = {EXPECTED}\n    assert candidate(3) == expected\n"
        "    try:\n        candidate(4)\n    except Exception:\n        pass\n    assert expected in [candidate(5)]\n",
        "f",
    )

    def one(program: str) -> list[TestReport]:
        return [run_tests(program, tests, limits=LIMITS, sandbox=level) for tests in (asserts, check)]

    with ThreadPoolExecutor(4) as threads:
        return dict(zip(FORGED, threads.map(one, FORGED.values()), strict=True))


def test_an_honest_hunter_would_find_it() -> None:
    """The programs that look for the expected value do find it where it is to be had."""
    for name in ("looks through objects", "looks through frames"):
        result = run_python(f"{FORGED[name]}\nhere = [{EXPECTED}]\nprint(f(0))")
        assert result.stdout == f"{EXPECTED}\n", result


def test_there_are_enough_of_them() -> None:
    assert len(CONTAINED) + len(FORGED) >= 120


@pytest.mark.parametrize("name", CONTAINED)
def test_a_hostile_program_is_contained(name: str, results: dict[str, ExecutionResult]) -> None:
    result = results[name]
    assert "PWNED" not in result.stdout
    assert SECRET not in result.stdout + result.stderr
    assert result.wall_s < LIMITS.wall_s + 0.5
    assert len(result.stdout) <= LIMITS.output_kb << 10
    if name in ENDLESS:
        assert result.status in ("timeout", "processes")


def test_nothing_of_ours_was_touched(results: dict[str, ExecutionResult], outside: Outside) -> None:
    assert outside.secret_file.read_text() == SECRET
    assert outside.victim.poll() is None
    assert os.getpriority(os.PRIO_PROCESS, outside.victim.pid) == os.getpriority(os.PRIO_PROCESS, 0)
    with pytest.raises(TimeoutError):
        outside.listener.accept()
    for name in ("/pwned", "/usr/lib/pwned"):
        assert not Path(name).exists()


def test_nothing_is_left_running(level: str, results: object, reports: object) -> None:
    with host.sandbox_for(level) as sandbox:
        belonging = processes.members(processes.table(), sandbox._process.pid)
    assert len(belonging) == (2 if level == "namespaces" else 1)  # bubblewrap and the template


def test_good_programs_still_run(level: str, results: object, reports: object) -> None:
    assert run_python("print(6 * 7)", sandbox=level).stdout == "42\n"
    assert run_tests("def f(x): return x + 1", Asserts(["assert f(1) == 2"]), sandbox=level).all_passed


@pytest.mark.parametrize("name", FORGED)
def test_no_verdict_is_forged(name: str, reports: dict[str, list[TestReport]]) -> None:
    for report in reports[name]:
        assert report.passed == 0, report


def test_a_killed_owner_takes_its_programs_along(level: str) -> None:
    source = (
        "import threading, time\n"
        "from llmrl.verifiers.code import run_python\n"
        "from llmrl.verifiers.sandbox import host\n"
        "program = 'import os, time\\nos.fork()\\nos.fork()\\ntime.sleep(1000)'\n"
        f"arguments = dict(sandbox={level!r})\n"
        "threading.Thread(target=run_python, args=(program,), kwargs=arguments, daemon=True).start()\n"
        "while not host._registry.sandboxes: time.sleep(0.01)\n"
        "time.sleep(0.5)\n"
        "print(list(host._registry.sandboxes.values())[0]._process.pid, flush=True)\n"
        "time.sleep(1000)\n"
    )
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        first = int(owner.stdout.readline())
        pids = [process.pid for process in processes.members(processes.table(), first)]
        assert len(pids) >= 5
        owner.kill()
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)
