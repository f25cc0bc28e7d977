"""From a completion to its program and its reward; programs run by a server."""

from __future__ import annotations

import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from llmrl.errors import UserError, VerifierError
from llmrl.verifiers.code import (
    Asserts,
    InputOutput,
    Limits,
    extract_code,
    run_python,
    run_tests,
)
from llmrl.verifiers.sandbox import host
from llmrl.verifiers.sandbox.inside import processes


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("```python\nx = 1\n```", "x = 1\n"),
        ("a\n```\nfirst\n```\nb\n```py\nsecond\n```\nc", "second\n"),
        ("~~~\nx\n~~~", "x\n"),
        ("````md\n```python\ninner\n```\n````", "```python\ninner\n```\n"),
        ("```python\nprint('''```''')\n```", "print('''```''')\n"),
        ("  ```python\n  x\n  ```", "  x\n"),
        ("```python\r\nx = 1\r\n```\r\n", "x = 1\r\n"),
        ("```python\nnever closed", None),
        ("no code", None),
        ("", None),
        ("```\n```", ""),
    ],
)
def test_the_last_closed_block_is_the_program(completion: str, expected: str | None) -> None:
    assert extract_code(completion) == expected


F = "def f(x): return x"
CHECK = {"test": "def check(c):\n    assert c(1) == 1", "entry_point": "f", "starter_code": "def f(x):\n    ''\n"}


@pytest.mark.parametrize(
    ("block", "columns", "all_passed", "fraction"),
    [
        (F, {"test_list": ["assert f(1) == 1", "assert f(1) == 2"], "test_imports": ["import math"]}, 0.0, 0.5),
        (F, {"test_list": ["assert f(1) == 1"], "answer": None}, 1.0, 1.0),
        ("    return x\n", CHECK, 1.0, 1.0),
        ("print(input())", {"inputs": ["1", "2"], "outputs": ["1", "3"]}, 0.0, 0.5),
    ],
)
def test_the_rewards(block: str, columns: dict[str, Any], all_passed: float, fraction: float) -> None:
    from llmrl.verifiers.pool import RewardPool

    completion = f"<think>\n```\nnot this\n```\n</think>\n```python\n{block}\n```"
    spec = str(Path(__file__).resolve().parents[2] / "rewards" / "code_tests.py")
    with RewardPool(1) as pool:
        for name, expected in (("all_passed", all_passed), ("fraction_passed", fraction)):
            calls = [{"completion": completion, **columns}, {"completion": "none", **columns}]
            assert pool.call(f"{spec}:{name}", calls, 30) == [expected, 0.0]


def test_a_reward_that_is_killed_takes_its_programs_along() -> None:
    from llmrl.verifiers.pool import RewardPool, RewardTimeout

    spec = str(Path(__file__).resolve().parents[2] / "rewards" / "code_tests.py")
    columns = {"test_list": ["assert f() == 1"]}
    endless = "```python\nimport os, time\nos.fork()\nos.fork()\ntime.sleep(1000)\n```"
    with RewardPool(1) as pool:
        pool.call(f"{spec}:all_passed", [{"completion": "```\nx\n```", **columns}], 30)
        before = sandboxed()
        assert before
        with pytest.raises(RewardTimeout):
            pool.call(f"{spec}:all_passed", [{"completion": endless, **columns}], 0.5)
        deadline = time.monotonic() + 5
        while any(Path(f"/proc/{pid}").exists() for pid in before):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def sandboxed() -> set[int]:
    """The processes of templates that this test's workers have started."""
    table = processes.table()
    own = processes.members(table, os.getpid())
    here = {sandbox._process.pid for sandbox in host._registry.sandboxes.values()}
    ours = {process.pid for first in here for process in processes.members(table, first)}
    workers = {process.pid for process in own if process.parent == os.getpid()} - ours
    found = {process.pid for worker in workers for process in processes.members(table, worker)}
    return found - workers - ours


class Fusion(BaseHTTPRequestHandler):
    """Answers as SandboxFusion does, by running the program here."""

    answer: dict[str, Any] | bytes | None = None

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert (self.path, request["language"]) == ("/run_code", "python")
        if self.answer is None:
            limits = Limits(wall_s=request["run_timeout"], memory_mb=request["memory_limit_MB"])
            result = run_python(request["code"], stdin=request["stdin"], limits=limits)
            status = {"ok": "Finished", "timeout": "TimeLimitExceeded"}.get(result.status, "Error")
            run = {"status": status, "execution_time": result.wall_s, "return_code": result.exit_code}
            run |= {"stdout": result.stdout, "stderr": result.stderr}
            answer = {"status": "Success" if result.ok else "Failed", "message": "", "run_result": run}
        else:
            answer = self.answer
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def fusion(monkeypatch: pytest.MonkeyPatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), Fusion) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_remote_server_runs_programs(fusion: str) -> None:
    assert run_python("print(input())", stdin="5", sandbox=fusion).stdout == "5\n"
    assert run_python("1 / 0", sandbox=fusion).status == "error"
    assert run_python("while True: pass", limits=Limits(wall_s=0.3), sandbox=fusion).status == "timeout"
    assert run_tests("print(input())", InputOutput([("a", "a"), ("b", "c")]), sandbox=fusion).passed == 1
    with pytest.raises(UserError, match="input and output only"):
        run_tests("", Asserts(["assert f()"]), sandbox=fusion)


@pytest.mark.parametrize(
    "answer", [b"no json", b"[]", {"status": "SandboxError", "message": "full"}, {"status": "Success"}]
)
def test_a_server_s_failure_is_not_the_program_s(fusion: str, answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fusion, "answer", answer)
    with pytest.raises(VerifierError, match="http://"):
        run_python("", sandbox=fusion)


def test_no_server_is_an_infrastructure_failure() -> None:
    with pytest.raises(VerifierError, match=r"127\.0\.0\.1:9"):
        run_python("", sandbox="http://127.0.0.1:9")
