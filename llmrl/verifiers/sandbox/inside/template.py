"""The template: a small warm interpreter that forks a confined child for every request and never runs one itself.

A request is one packet on the control socket: JSON with the limits, and the descriptors ``reply, program, stdin,
stdout, stderr`` and, for tests, ``tests`` and ``verdict``. What is to be run lies in files that only the child reads.
The answer goes to ``reply`` when the program and every process that it started are gone. When the
other side of ``reply`` hangs up the program is ended, and when that of the control socket does, everything is.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType

from . import child, jail, kernel, processes, seccomp

WATCH_S = 0.05
"""How often the memory of a running program's processes is added up."""
COUNT_S = 0.5
"""For how long a count of the user's processes is good."""
_WARM = """
    abc array bisect collections.abc contextlib copy datetime decimal enum fractions functools heapq io itertools json
    math operator re string textwrap time traceback types typing
"""
"""Modules that programs like to import. Not ``threading`` and ``random``, nor what imports them: what they have Python
do after each fork costs more than the fork."""


@dataclass(slots=True)
class _Run:
    """A program on its way."""

    reply: socket.socket
    pid: int
    handle: int
    """Readable when the process, and with namespaces all that it started, is gone."""
    status: int
    plan: jail.Plan
    began: float
    deadline: float
    reason: str | None = None
    """Why the template ended it."""
    wanted: bool = True
    """Whether the other side still waits for it to end by itself."""


def main(control: int, namespaces: bool, filtered: bool, uid: int | None, readable: list[str], temporary: str) -> None:
    """Serve until the control socket is closed, in a new folder below ``temporary``.

    ``filtered``: by seccomp. ``uid``: the first of the user ids that programs get, where we may choose. ``readable``:
    what Landlock leaves readable, if it is to be used.
    """
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the first process of a namespace then ignores it
    signal.signal(signal.SIGTERM, _leave)
    for name in _WARM.split():
        importlib.import_module(name)
    os.environ.clear()
    gc.collect()
    gc.freeze()
    folder = f"{temporary}/llmrl-{os.urandom(8).hex()}"
    os.mkdir(folder, 0o711)
    Template(socket.socket(fileno=control), folder, namespaces, filtered, uid, tuple(readable)).serve()


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


class Template:
    """The loop: requests in, children out, an eye on the clock and on memory."""

    def __init__(
        self,
        control: socket.socket,
        folder: str,
        namespaces: bool,
        filtered: bool,
        uid: int | None,
        readable: tuple[str, ...],
    ) -> None:
        self._control = control
        self._folder = folder
        self._namespaces = namespaces
        self._uid, self._readable = uid, readable
        self._filter = seccomp.general(keep_group=not namespaces) if filtered else None
        self._own_pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY) if namespaces else -1
        self._runs: dict[int, _Run] = {}
        self._sweepers: set[int] = set()
        self._count = 0
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._next_watch = 0.0
        self._counted, self._count_of_others = float("-inf"), 0

    def serve(self) -> None:
        """Until the control socket hangs up; then end what still runs."""
        try:
            while self._step():
                pass
        finally:
            for run in list(self._runs.values()):
                self._end(run, "cancelled")
                self._finish(run)
            self._sweep(self._folder)
            for sweeper in self._sweepers:
                os.waitpid(sweeper, 0)

    def _step(self) -> bool:
        runs = {run.handle: run for run in self._runs.values()} | {r.reply.fileno(): r for r in self._runs.values()}
        for descriptor, _ in self._poll.poll(self._patience()):
            run = runs.get(descriptor)
            if run is None:
                if not self._accept():
                    return False
            elif run.pid in self._runs and descriptor == run.handle:
                self._finish(run)
            elif run.pid in self._runs:
                self._poll.unregister(descriptor)
                run.wanted = False
                self._end(run, "cancelled")
        self._look_after_runs()
        return True

    def _patience(self) -> float | None:
        """Milliseconds until something has to be looked at; None: for ever."""
        if not self._runs:
            return None
        moment = min([self._next_watch, *(run.deadline for run in self._runs.values() if run.reason is None)])
        return max(0.0, (moment - time.monotonic()) * 1e3 + 0.5)

    def _accept(self) -> bool:
        message, descriptors, _, _ = socket.recv_fds(self._control, 1 << 16, 8)
        if not message:
            return False
        request = json.loads(message)
        self._count += 1
        plan = self._plan(request["limits"])
        try:
            pid, status = self._fork(plan, descriptors)
        except OSError as error:
            socket.socket(fileno=descriptors[0]).send(json.dumps({"failure": str(error)}).encode())
            _close(descriptors[1:])
            return True
        _close(descriptors[1:])
        reply, handle, now = socket.socket(fileno=descriptors[0]), os.pidfd_open(pid), time.monotonic()
        self._runs[pid] = _Run(reply, pid, handle, status, plan, now, now + request["limits"]["wall_s"])
        self._poll.register(handle, select.POLLIN)
        self._poll.register(reply, select.POLLIN)
        if len(self._runs) == 1:
            self._next_watch = now + WATCH_S
        return True

    def _plan(self, limits: dict[str, float]) -> jail.Plan:
        return jail.Plan(
            namespaces=self._namespaces,
            filter=self._filter,
            readable=self._readable,
            folder=jail.BOX if self._namespaces else f"{self._folder}/{self._count}",
            uid=None if self._uid is None else self._uid + self._count % (jail.USER_IDS // 2),
            cpu_s=limits["cpu_s"],
            memory_mb=int(limits["memory_mb"]),
            disk_mb=int(limits["disk_mb"]),
            processes=int(limits["processes"]),
            others=self._others(),
            open_files=int(limits["open_files"]),
        )

    def _others(self) -> int:
        if self._namespaces or self._uid is not None:
            return 0
        if time.monotonic() > self._counted + COUNT_S:
            self._counted, self._count_of_others = time.monotonic(), processes.threads_of(os.getuid())
        return self._count_of_others

    def _fork(self, plan: jail.Plan, descriptors: list[int]) -> tuple[int, int]:
        """The child's id, and the pipe from which its report is to be read."""
        if plan.namespaces:
            kernel.setns(self._own_pid_namespace, kernel.CLONE_NEWPID)  # what the last program's unshare has changed
            kernel.unshare(kernel.CLONE_NEWPID)
        else:
            os.mkdir(plan.folder, 0o700)
            if plan.uid is not None:
                os.chown(plan.folder, plan.uid, plan.uid)
        report, ours = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(report)
            child.run(plan, descriptors, ours)
        os.close(ours)
        return pid, report

    def _look_after_runs(self) -> None:
        now = time.monotonic()
        for run in self._runs.values():
            if run.reason is None and now >= run.deadline:
                self._end(run, "timeout")
        if self._runs and now >= self._next_watch:
            table = processes.table()
            for run in self._runs.values():
                if run.reason is None and (excess := self._excess(run, table)):
                    self._end(run, excess)
            self._next_watch = time.monotonic() + WATCH_S

    def _excess(self, run: _Run, table: dict[int, processes.Process]) -> str | None:
        """What all processes of a run together have too much of."""
        members = processes.members(table, run.pid)
        if len(members) > run.plan.processes + 1:  # where the kernel does not count, as it does not for root
            return "processes"
        if processes.memory(members, limit := run.plan.memory_mb * jail.MB) > limit:
            return "memory"
        if not run.plan.namespaces and processes.disk(run.plan.folder) > run.plan.disk_mb * jail.MB:
            return "disk"
        return None

    def _sweep(self, folder: str) -> None:
        self._sweepers = {pid for pid in self._sweepers if not os.waitpid(pid, os.WNOHANG)[0]}
        sweeper = processes.remove_tree(folder)
        if sweeper is not None:
            self._sweepers.add(sweeper)

    def _end(self, run: _Run, reason: str) -> None:
        run.reason = run.reason or reason
        if run.plan.namespaces:
            os.kill(run.pid, signal.SIGKILL)  # the first of its namespace: the kernel takes the others along
        else:
            os.kill(run.pid, signal.SIGKILL)
            processes.kill_group(run.pid, None if run.plan.filter else run.plan.uid)

    def _finish(self, run: _Run) -> None:
        del self._runs[run.pid]
        _, code, usage = os.wait4(run.pid, 0)
        wall_s = time.monotonic() - run.began
        if not run.plan.namespaces:
            processes.kill_group(run.pid, None if run.plan.filter else run.plan.uid)
            processes.reap_group(run.pid, keep={*self._runs, *self._sweepers})
            self._sweep(run.plan.folder)
        report = os.read(run.status, 5)
        if len(report) == 5:
            (code,) = struct.unpack("i", report[1:])
        answer = {
            "ready": report.startswith(child.READY),
            "code": os.waitstatus_to_exitcode(code),
            "reason": run.reason,
            "wall_s": wall_s,
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "peak_memory_mb": usage.ru_maxrss / 1024,
        }
        self._poll.unregister(run.handle)
        if run.wanted:
            self._poll.unregister(run.reply)
        _close([run.handle, run.status])
        with run.reply, suppress(BrokenPipeError):  # nobody may want to know any more
            run.reply.send(json.dumps(answer).encode())


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
