"""The process behind the math checker: killed at its limit, replaced, shared by threads, gone with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmrl.errors import VerifierError
from llmrl.verifiers.answers.process import Allowance, Symbolic
from llmrl.verifiers.math import Options, is_equivalent, verify
from llmrl.verifiers.pool import RewardPool

ROOT = Path(__file__).resolve().parents[2]
STALLS = r"\gcd(9^{9^{9}},3)"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pids: list[int], within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(alive, pids))


@pytest.fixture(scope="module")
def symbolic():
    checker = Symbolic()
    yield checker
    checker.close()


def test_what_takes_too_long_is_a_wrong_answer_and_the_next_question_gets_a_clean_process(symbolic: Symbolic) -> None:
    assert symbolic.ask("value", r"\sin(2x)", r"2\sin(x)\cos(x)", Allowance(5.0))
    before = symbolic._child
    start = time.monotonic()
    assert not symbolic.ask("value", STALLS, "x", Allowance(0.5))
    assert time.monotonic() - start < 1.0
    assert symbolic.ask("value", r"\sin(2x)", r"2\sin(x)\cos(x)", Allowance(5.0))
    assert symbolic._child != before
    assert before is not None
    assert gone([before])


def test_a_reference_that_takes_too_long_is_an_error(symbolic: Symbolic) -> None:
    with pytest.raises(VerifierError, match="reference answer took longer"):
        symbolic.ask("value", "x", r"\gcd(9^{9^{9}},3)", Allowance(0.5))


def test_a_process_that_was_killed_from_outside_is_replaced(symbolic: Symbolic) -> None:
    assert symbolic.ask("value", "x+x", "2x", Allowance(5.0))
    assert symbolic._child is not None
    os.kill(symbolic._child, signal.SIGKILL)
    assert symbolic.ask("value", "x+x", "2x", Allowance(5.0))
    assert symbolic._process is not None
    os.killpg(symbolic._process.pid, signal.SIGKILL)
    assert symbolic.ask("value", "x+x", "2x", Allowance(5.0))


def test_closing_leaves_nothing_behind(symbolic: Symbolic) -> None:
    assert symbolic.ask("value", "x+x", "2x", Allowance(5.0))
    assert symbolic._process is not None
    assert symbolic._child is not None
    pids = [symbolic._process.pid, symbolic._child]
    symbolic.close()
    assert gone(pids)
    assert symbolic.ask("value", "x+x", "2x", Allowance(5.0))


def test_an_interrupt_in_the_middle_of_a_question_does_not_answer_the_next_one(symbolic: Symbolic) -> None:
    assert not symbolic.ask("value", "x", "y", Allowance(5.0))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGUSR1, interrupt)
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            symbolic.ask("value", STALLS, "x", Allowance(30.0))
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, old)
    assert symbolic.ask("value", "x+x", "2x", Allowance(2.0))


def test_threads_take_turns() -> None:
    def check(i: int) -> bool:
        return is_equivalent(rf"\sin({i}x)^2", rf"1-\cos({i}x)^2") and not is_equivalent(rf"\sin({i}x)", rf"\cos({i}x)")

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(check, range(1, 40)))


def test_the_limit_does_not_count_the_time_in_the_queue() -> None:
    options = Options(time_limit_s=0.4)
    with ThreadPoolExecutor(6) as threads:
        stalls = [threads.submit(verify, rf"\boxed{{{STALLS} + {i}}}", "x", options=options) for i in range(4)]
        assert threads.submit(is_equivalent, r"\cos(2x)", r"1-2\sin^2 x", options=options).result()
        assert not any(stall.result() for stall in stalls)


def test_a_forked_child_has_a_process_of_its_own() -> None:
    assert is_equivalent(r"\tan x", r"\frac{\sin x}{\cos x}")
    child = os.fork()
    if child == 0:
        right = is_equivalent(r"\sec x", r"\frac{1}{\cos x}") and not is_equivalent(r"\sec x", r"\csc x")
        os._exit(0 if right else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert is_equivalent(r"\csc x", r"\frac{1}{\sin x}")


@pytest.mark.parametrize("question", ["x+x", STALLS])
def test_it_dies_with_its_parent_even_after_kill_9(question: str) -> None:
    program = (
        "from llmrl.verifiers.answers.process import SYMBOLIC as s, Allowance; "
        "s.ask('value', 'x+x', '2x', Allowance(9.0)); "
        f"print(s._process.pid, s._child, flush=True); s.ask('value', {question!r}, 'x', Allowance(60.0)); input()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=_environment()
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2
    time.sleep(0.2)
    parent.kill()
    parent.communicate()
    assert gone(pids)


def test_it_works_inside_the_reward_pool_and_dies_with_it() -> None:
    spec = f"{ROOT}/rewards/math_answer.py:correct"
    calls = [
        {"prompt": "", "completion": rf"\boxed{{{a}}}", "answer": r"2\sin(x)\cos(x)"} for a in (r"\sin(2x)", r"\sin(x)")
    ]
    mine = set(_questioned())
    with RewardPool(1) as pool:
        assert pool.call(spec, calls, 20.0) == [1.0, 0.0]
        pids = [pid for pid in _questioned() if pid not in mine]
        assert pids
    assert gone(pids)


def _questioned() -> list[int]:
    """The processes below this one that evaluate expressions."""
    return [pid for pid in _descendants(os.getpid()) if "answers.questions" in _command(pid)]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except FileNotFoundError:
        return ""


def _descendants(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*")
    children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    return [*children, *(d for child in children for d in _descendants(child))]
