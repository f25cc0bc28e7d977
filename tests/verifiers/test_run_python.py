"""What runs, where it can be called, and what a result says."""

from __future__ import annotations

import asyncio
import multiprocessing
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from llmrl.errors import UserError, VerifierError
from llmrl.verifiers.code import (
    Limits,
    isolation,
    run_python,
)
from llmrl.verifiers.sandbox import host
from llmrl.verifiers.sandbox.levels import LEVELS


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    try:
        run_python("", sandbox=request.param)
    except VerifierError as error:
        pytest.skip(str(error))
    return request.param


def test_a_program_runs_as_python_runs_it(level: str) -> None:
    program = (
        "import sys, os\n"
        "from helper import name\n"
        "print(__name__, name, sys.argv == [__file__], dict(os.environ), os.getcwd() == os.path.dirname(__file__))\n"
        "print(open('data/x.bin', 'rb').read(), input(), sys.stdin.read())\n"
        "print('é', file=sys.stderr)\n"
        "sys.exit(3)\n"
    )
    files = {"helper.py": "name = 'a helper'", "data/x.bin": b"\0\xff"}
    result = run_python(program, stdin="first\nsecond é", files=files, sandbox=level)
    assert result.stdout == "__main__ a helper True {} True\nb'\\x00\\xff' first second é\n"
    assert (result.stderr, result.exit_code, result.status) == ("é\n", 3, "error")
    assert 0 < result.wall_s < 5
    assert 0 < result.cpu_s < 5
    assert 5 < result.peak_memory_mb < 200


@pytest.mark.parametrize(
    ("program", "code", "status"),
    [
        ("", 0, "ok"),
        ("import sys; sys.exit()", 0, "ok"),
        ("import sys; sys.exit('no')", 1, "error"),
        ("import sys; sys.exit(256 + 7)", 7, "error"),
        ("import os; os._exit(9)", 9, "error"),
        ("raise ValueError", 1, "error"),
        ("x = (", 1, "error"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -15, "crash"),
        ("import os; os.kill(os.getpid(), 9)", -9, "crash"),
        ("import os; os.abort()", -6, "crash"),
        ("import ctypes; ctypes.string_at(0)", -11, "crash"),
        ("x = ' ' * 10**10", 1, "memory"),
        ("print('x' * 3000)", 0, "output"),
        ("while True: pass", -9, "timeout"),
        ("import time; time.sleep(100)", -9, "timeout"),
    ],
)
def test_how_a_program_ends(program: str, code: int, status: str) -> None:
    result = run_python(program, limits=Limits(wall_s=0.5, output_kb=2))
    assert (result.exit_code, result.status, result.ok) == (code, status, status == "ok")


def test_processor_time_is_limited_too() -> None:
    result = run_python("while True: pass", limits=Limits(wall_s=20, cpu_s=0.5))
    assert result.status == "timeout"
    assert result.wall_s < 10


def test_a_traceback_shows_the_program_and_nothing_of_ours() -> None:
    result = run_python("def f():\n    1 / 0\nf()\n")
    assert result.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"
    assert result.stderr.count('File "') == 2
    assert "inside" not in result.stderr


def test_what_python_does_at_the_end_is_done() -> None:
    program = (
        "import atexit, threading, time, sys\n"
        "atexit.register(print, 'exit handler')\n"
        "threading.Thread(target=lambda: (time.sleep(0.05), print('thread'))).start()\n"
        "sys.excepthook = lambda *a: print('hook', a[0].__name__)\n"
        "raise KeyError\n"
    )
    result = run_python(program)
    assert (result.stdout, result.exit_code) == ("hook KeyError\nthread\nexit handler\n", 1)


def test_the_standard_library_works() -> None:
    program = (
        "import asyncio, concurrent.futures, multiprocessing, subprocess, sys, tempfile, random, dataclasses\n"
        "async def main(): return await asyncio.gather(*(asyncio.sleep(0, i) for i in range(3)))\n"
        "print(asyncio.run(main()))\n"
        "with concurrent.futures.ThreadPoolExecutor(4) as pool: print(sum(pool.map(abs, range(-5, 5))))\n"
        "with tempfile.NamedTemporaryFile('w') as f: print(f.write('abc'))\n"
        "print(subprocess.run([sys.executable, '-c', 'print(5)'], capture_output=True, text=True).stdout)\n"
        "@dataclasses.dataclass\n"
        "class A:\n    x: int\n"
        "print(A(1), A.__annotations__)\n"
    )
    result = run_python(program)
    assert result.stdout == "[0, 1, 2]\n25\n3\n5\n\nA(x=1) {'x': <class 'int'>}\n", result.stderr


def test_multiprocessing_works_with_namespaces() -> None:
    if isolation().level != "namespaces":
        pytest.skip(isolation().explanation)
    program = (
        "import multiprocessing\ndef square(x): return x * x\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.Pool(2) as pool: print(pool.map(square, [1, 2, 3]))\n"
    )
    result = run_python(program)
    assert result.stdout == "[1, 4, 9]\n", result.stderr


def test_programs_do_not_see_one_another(level: str) -> None:
    leave = "import builtins, math, os, sys\nbuiltins.x = math.x = 1\nsys.modules['y'] = math\nopen('f', 'w').close()\n"
    look = "import builtins, math, os, sys\n"
    look += "print(hasattr(builtins, 'x'), hasattr(math, 'x'), 'y' in sys.modules, os.listdir())"
    run_python(leave, sandbox=level)
    assert run_python(look, sandbox=level).stdout == "False False False ['main.py']\n"


def test_random_numbers_differ_and_the_order_of_sets_does_not() -> None:
    program = "import random\nprint(random.random())\nprint(list({'a', 'b', 'c', 'd', 'e', 'f'}))"
    one, other = (run_python(program).stdout.splitlines() for _ in range(2))
    assert one[0] != other[0]
    assert one[1] == other[1]


def test_texts_that_are_not_utf8_survive() -> None:
    result = run_python("import sys\nsys.stdout.buffer.write(b'\\xff')\nprint(repr('\\udc80'))")
    assert result.stdout.startswith("\N{REPLACEMENT CHARACTER}")


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", ""])
def test_files_outside_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a path below"):
        run_python("", files={name: ""})


def test_limits_that_are_none_are_refused() -> None:
    for bad in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="wall_s"):
            Limits(wall_s=bad)


def test_threads_async_code_and_forked_processes() -> None:
    def double(x: int) -> str:
        return run_python(f"print({x} * 2)").stdout

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(double, range(40))) == [f"{2 * x}\n" for x in range(40)]

    async def main() -> list[str]:
        return await asyncio.gather(*(asyncio.to_thread(double, x) for x in range(5)))

    assert asyncio.run(main()) == [f"{2 * x}\n" for x in range(5)]

    async def directly() -> str:
        return double(4)

    assert asyncio.run(directly()) == "8\n"
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(int, pool.map(_run, ["print(1)", "print(2)", "print(3)"])) == [1, 2, 3]
    assert double(6) == "12\n"


def _run(program: str) -> str:
    return run_python(program).stdout


def test_time_in_the_queue_does_not_count() -> None:
    with ThreadPoolExecutor(12) as threads:
        results = threads.map(lambda _: run_python("import time; time.sleep(0.2)", limits=Limits(wall_s=2)), range(12))
        assert {result.status for result in results} == {"ok"}


def test_a_template_that_was_killed_is_an_infrastructure_failure_and_is_replaced() -> None:
    run_python("")
    (sandbox,) = [s for s in host._registry.sandboxes.values() if s is host._registry.sandboxes.get(isolation().level)]
    threading.Timer(0.3, sandbox.kill).start()
    with pytest.raises(VerifierError, match="sandbox is gone"):
        run_python("import time; time.sleep(10)")
    assert run_python("print(1)").stdout == "1\n"


def test_the_level_has_a_name_and_an_explanation() -> None:
    assert isolation().level in LEVELS
    assert isolation() is isolation()
    assert len(isolation().explanation) > 50


def test_required_isolation_is_not_replaced_by_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_registry", host._Registry())
    host._registry.best = host.Isolation("limits", "nothing else works")
    with pytest.raises(UserError, match="nothing else works"):
        run_python("", sandbox="required")
    with pytest.raises(UserError, match="none of auto, required"):
        run_python("", sandbox="docker")


def test_a_level_that_does_not_work_is_passed_over_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_registry", host._Registry())
    monkeypatch.setattr("shutil.which", lambda name: "/nonexistent/bwrap")
    found = isolation()
    assert found.level != "namespaces"
    assert "cannot start /nonexistent/bwrap" in found.explanation
    for sandbox in host._registry.sandboxes.values():
        sandbox.close()


def test_the_executor_is_free_of_torch() -> None:
    source = "import sys, llmrl.verifiers.code; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", source], check=False).returncode == 0
