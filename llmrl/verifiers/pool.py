"""Processes that run reward functions and can be killed, whatever the function does.

A reward function may loop for ever, crash the interpreter or leave children behind, so it runs in a worker: a
fresh interpreter (not a fork: the trainer holds torch's threads and a GPU) that leads its own session and is
killed with all that belongs to it. Every wait has a deadline.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from llmrl.errors import UserError
from llmrl.rewards import RewardError, RewardSignature

LOAD_LIMIT_S = 60.0
"""For a worker to start and import a reward's module, before the clock of its first call starts."""
REAP_LIMIT_S = 10.0
"""For the system to end a process that was killed."""


class RewardTimeout(RewardError):
    """The call took longer than its limit; the worker was killed."""


class WorkerDied(RewardError):
    """The worker ended in the middle of the call."""


class RewardPool:
    """Up to ``workers`` processes, started when needed, replaced when killed or grown beyond ``worker_memory_mb``.

    Threads may call at the same time; each call has a worker to itself.
    """

    def __init__(self, workers: int, worker_memory_mb: float = math.inf) -> None:
        self._memory_mb = worker_memory_mb
        self._slots = threading.BoundedSemaphore(workers)
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._closed = False

    def load(self, spec: str) -> RewardSignature:
        """How the function is to be called. Raises UserError where it cannot be found or loaded."""
        try:
            return RewardSignature(**self._run(spec, None, LOAD_LIMIT_S))
        except RewardError as error:
            raise UserError(f"reward {spec} does not load: {error}") from error

    def call(self, spec: str, calls: Sequence[Mapping[str, Any]], timeout_s: float) -> list[Any]:
        """The function's result for each set of arguments, as ``llmrl.rewards.evaluate`` gives them.

        The clock starts when a worker that has loaded the function takes the calls. Raises RewardTimeout,
        WorkerDied, or RewardError for an exception in the function.
        """
        return self._run(spec, calls, timeout_s)

    def close(self) -> None:
        """Kill every worker; calls in progress raise WorkerDied."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            for worker in self._busy:
                worker.interrupt()
        for worker in idle:
            worker.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, spec: str, calls: Sequence[Mapping[str, Any]] | None, timeout_s: float) -> Any:
        with self._slots:
            worker = self._take()
            try:
                if calls is not None and spec not in worker.loaded:
                    worker.ask(spec, None, LOAD_LIMIT_S)
                return worker.ask(spec, calls, timeout_s)
            finally:
                self._give_back(worker)

    def _take(self) -> _Worker:
        with self._lock:
            if self._closed:
                raise RuntimeError("the reward pool is closed")
            worker = self._idle.pop() if self._idle else _Worker()
            self._busy.add(worker)
            return worker

    def _give_back(self, worker: _Worker) -> None:
        with self._lock:
            self._busy.remove(worker)
            if worker.usable and not self._closed and worker.memory_mb() <= self._memory_mb:
                self._idle.append(worker)
                return
        worker.end()


class _Worker:
    """One process and the socket to it."""

    def __init__(self) -> None:
        self.loaded: set[str] = set()
        self.usable = True
        self._socket, theirs = socket.socketpair()
        read_end, self._lifeline = os.pipe()
        program = (
            f"import sys; sys.path[:] = {sys.path!r}; "  # what the trainer can import, the worker can
            f"from llmrl.verifiers.worker import main; main({theirs.fileno()}, {read_end})"
        )
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", program],
                stdin=subprocess.DEVNULL,
                stdout=2,  # what a reward function prints goes to the trainer's standard error
                pass_fds=(theirs.fileno(), read_end),
                start_new_session=True,
            )
        finally:
            theirs.close()
            os.close(read_end)

    def ask(self, spec: str, calls: Sequence[Mapping[str, Any]] | None, timeout_s: float) -> Any:
        """The worker's answer. After a RewardTimeout or WorkerDied it is no longer usable."""
        request = pickle.dumps((spec, calls))
        self.usable = False
        try:
            kind, value = self._exchange(request, time.monotonic() + timeout_s)
        except TimeoutError:
            doing = "loading" if calls is None else "the call"
            raise RewardTimeout(f"{doing} took longer than the limit of {timeout_s:g} s") from None
        except (EOFError, ConnectionError):
            raise WorkerDied(f"the worker died with {self.end()}") from None
        except (ValueError, TypeError):
            raise WorkerDied("something else wrote to the worker's channel") from None
        self.usable = True
        if kind == "ok":
            self.loaded.add(spec)
            return value
        raise UserError(value) if kind == "user error" else RewardError(value)

    def memory_mb(self) -> float:
        """What the process itself holds in memory now; 0 where the system does not tell."""
        try:
            pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        except (OSError, IndexError):
            return 0.0
        return int(pages) * os.sysconf("SC_PAGESIZE") / 2**20

    def interrupt(self) -> None:
        """Kill the process and all its children."""
        if self._process.returncode is None:  # once reaped, its number may belong to another
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> str:
        """Kill, reap and close; return how the process ended. May be called again."""
        if self._process.returncode is None:
            self.interrupt()
            self._process.wait(timeout=REAP_LIMIT_S)
            self._socket.close()
            os.close(self._lifeline)
        status = self._process.wait()
        return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"

    def _exchange(self, request: bytes, deadline: float) -> tuple[str, Any]:
        self._socket.settimeout(_until(deadline))
        self._socket.sendall(request)
        size = int.from_bytes(self._receive(8, deadline), "big")
        kind, value = json.loads(self._receive(size, deadline))
        return kind, value

    def _receive(self, size: int, deadline: float) -> bytearray:
        data = bytearray()
        while len(data) < size:
            self._socket.settimeout(_until(deadline))
            chunk = self._socket.recv(min(size - len(data), 1 << 16))
            if not chunk:
                raise EOFError
            data += chunk
        return data


def _until(deadline: float) -> float:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError
    return remaining
