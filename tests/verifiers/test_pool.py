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

from llmrl.errors import UserError
from llmrl.rewards import RewardError
from llmrl.verifiers.pool import RewardPool, RewardTimeout, WorkerDied

NAUGHTY = str(Path(__file__).with_name("naughty.py"))


def call(pool: RewardPool, name: str, *completions: str, timeout_s: float = 10.0):
    return pool.call(f"{NAUGHTY}:{name}", [{"completions": list(completions)}], timeout_s)[0]


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def pool():
    with RewardPool(2) as pool:
        yield pool


def test_a_call_returns_the_function_s_results(pool) -> None:
    assert call(pool, "length", "a", "bcd") == [1.0, 3.0]


def test_results_arrive_as_plain_values(pool) -> None:
    one, two, text, none, other, nested, nan = call(pool, "odd")
    assert (one, two, none, nested) == (1.0, 2.0, None, [1.0])
    assert text == "'0.5'"
    assert other.startswith("<object object")
    assert nan != nan


def test_a_loop_is_killed_at_its_limit_and_the_pool_goes_on(pool) -> None:
    start = time.monotonic()
    with pytest.raises(RewardTimeout, match=r"limit of 0\.3 s"):
        call(pool, "forever", "loop", timeout_s=0.3)
    assert 0.3 <= time.monotonic() - start < 3.0
    assert call(pool, "forever", "stop") == [1.0]


def test_a_loop_that_holds_the_interpreter_is_killed_too(pool) -> None:
    with pytest.raises(RewardTimeout):
        call(pool, "backtrack", "x", timeout_s=0.2)


def test_death_is_told_with_its_exit_status(pool) -> None:
    for _ in range(10):
        with pytest.raises(WorkerDied, match="exit status 3"):
            call(pool, "die", "die")
    with pytest.raises(WorkerDied, match="signal SIGSEGV"):
        call(pool, "crash")
    assert call(pool, "die", "live") == [1.0]


def test_an_exception_is_told_with_its_place_and_the_worker_stays(pool) -> None:
    before = call(pool, "pid", "x")
    with pytest.raises(RewardError, match=r"^ValueError: two lines \(.*naughty\.py:\d+\)$"):
        call(pool, "fail", "fail")
    with pytest.raises(RewardError, match=r"^SystemExit: 4 \("):
        call(pool, "leave")
    assert call(pool, "pid", "x") == before


def test_printing_does_not_disturb_the_answers_and_goes_to_standard_error(pool, capfd) -> None:
    with RewardPool(1) as fresh:  # it inherits the captured descriptors
        assert call(fresh, "talk", "x") == [0.0]
    out, err = capfd.readouterr()
    assert out == ""
    assert "hello from the reward" in err
    assert "and from its child" in err


def test_a_function_that_reads_standard_input_finds_it_empty(pool) -> None:
    assert call(pool, "listen", "x", timeout_s=5) == [0.0]


def test_writing_to_stray_descriptors_is_the_reward_s_failure_only(pool) -> None:
    with pytest.raises(RewardError):
        call(pool, "scribble", "x", timeout_s=1)
    assert call(pool, "length", "ab") == [2.0]


def test_children_die_with_a_call_that_is_killed(pool, tmp_path) -> None:
    with pytest.raises(RewardTimeout):
        call(pool, "breed", str(tmp_path / "pids"), timeout_s=0.5)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 3
    wait_until(lambda: not any(map(is_alive, pids)))


def test_children_do_not_hide_a_death(pool) -> None:
    start = time.monotonic()
    with pytest.raises(WorkerDied, match="exit status 5"):
        call(pool, "breed_and_die", "x")
    assert time.monotonic() - start < 5.0


def test_async_functions_are_gathered(pool) -> None:
    start = time.monotonic()
    calls = [{"completion": "x" * i} for i in range(50)]
    assert pool.call(f"{NAUGHTY}:judge", calls, 5.0) == [float(i) for i in range(50)]
    assert time.monotonic() - start < 3.0


def test_workers_load_nothing_heavy(tmp_path) -> None:
    light = tmp_path / "light.py"
    light.write_text("import sys\ndef f():\n    return [m in sys.modules for m in ('torch', 'numpy', 'asyncio')]\n")
    with RewardPool(1) as pool:
        assert pool.call(f"{light}:f", [{}], 5.0) == [[0.0, 0.0, 0.0]]


def test_loading_is_not_on_the_call_s_clock(tmp_path) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text("import time\ntime.sleep(0.5)\ndef f(completions):\n    return [1.0]\n")
    with RewardPool(1) as pool:
        assert pool.call(f"{slow}:f", [{"completions": ["x"]}], 0.3) == [[1.0]]


def test_waiting_for_a_worker_is_not_on_the_call_s_clock() -> None:
    with RewardPool(1) as pool, ThreadPoolExecutor(3) as threads:
        assert len(list(threads.map(lambda _: call(pool, "sleep", "0.4", timeout_s=1.0), range(3)))) == 3


def test_threads_have_workers_of_their_own() -> None:
    with RewardPool(2) as pool, ThreadPoolExecutor(8) as threads:
        assert len({pid for [pid] in threads.map(lambda _: call(pool, "sleep", "0.01"), range(50))}) == 2


def test_no_such_file_or_function(pool, tmp_path) -> None:
    with pytest.raises(UserError, match=r"reward file not found: .*none\.py"):
        pool.load(f"{tmp_path}/none.py:f")
    with pytest.raises(UserError, match="has no function 'lenght'; it has: length"):
        pool.load(f"{NAUGHTY}:lenght")
    assert pool.load(f"{NAUGHTY}:length").accepted is None


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def f(:", r"SyntaxError: "),
        ("import no_such_module", r"ModuleNotFoundError: .*bad\.py:1"),
        ("import os; os._exit(9)", "the worker died with exit status 9"),
        ("raise SystemExit(2)", r"SystemExit: 2 \(.*bad\.py:1\)"),
    ],
)
def test_a_file_that_does_not_load_is_the_user_s_to_mend(pool, tmp_path, source, reason) -> None:
    (tmp_path / "bad.py").write_text(source)
    with pytest.raises(UserError, match=f"bad.py.* does not load: {reason}"):
        pool.load(f"{tmp_path}/bad.py:f")


def test_close_kills_what_runs_and_refuses_what_comes() -> None:
    pool = RewardPool(1)
    worker = int(call(pool, "pid", "x")[0])
    threading.Timer(0.2, pool.close).start()
    with pytest.raises(WorkerDied, match="SIGKILL"):
        call(pool, "sleep", "100")
    assert not is_alive(worker)
    with pytest.raises(RuntimeError, match="closed"):
        call(pool, "length", "x")


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel kills orphans on Linux only")
@pytest.mark.parametrize("name", ["breed", "backtrack"])
def test_nothing_survives_the_death_of_the_parent(name, tmp_path) -> None:
    pids = tmp_path / "pids"
    program = f"""
import sys, threading, time
sys.path[:] = {sys.path!r}
from llmrl.verifiers.pool import RewardPool
pool = RewardPool(2)
def call(function, timeout):
    return pool.call("{NAUGHTY}:" + function, [{{"completions": ["{pids}"]}}], timeout)
idle = int(call("pid", 5)[0][0])
threading.Thread(target=call, args=("{name}", 100), daemon=True).start()
time.sleep(0.1)
print(idle, *(worker._process.pid for worker in pool._busy), flush=True)
time.sleep(100)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        assert workers
        if name == "breed":
            wait_until(pids.exists)
            wait_until(lambda: len(pids.read_text().split()) == 3)
            workers += map(int, pids.read_text().split())
        assert all(map(is_alive, workers))
        os.kill(parent.pid, signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, workers)))


def test_a_worker_that_has_grown_is_replaced() -> None:
    """The first call leaves 150 MB behind, so the second is another process's."""
    with RewardPool(1, worker_memory_mb=120) as pool:
        first, second, third = (pool.call(f"{NAUGHTY}:pid", [{"completions": ["x"]}], 30)[0] for _ in range(3))
        assert first == second == third
        grown = pool.call(f"{NAUGHTY}:grow", [{"completions": ["x"]}], 30)[0]
        assert grown == third
        assert pool.call(f"{NAUGHTY}:pid", [{"completions": ["x"]}], 30)[0] != grown
