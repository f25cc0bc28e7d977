"""A child of the template on its way to the program: confined, and where needed split in two.

Where there are namespaces or tests, the child forks once more. Its child becomes the program; it itself stays trusted,
runs the tests, if any, against the program, and reports how the program ended. The tests are read after that fork, so
the program's process has never held them.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

from . import jail, judge, kernel, runner

READY = b"+"
"""What the child reports before the program has a chance to: it is confined."""
_FIRST_FREE, _MOST = 3, 1 << 16
PATIENCE_S = 0.25
"""How long a program that has hung up on its judge may take to end."""
_JUDGES_OWN_CPU_S, _JUDGES_OWN_MEMORY_MB = 5.0, 512


def run(plan: jail.Plan, descriptors: Sequence[int], status: int) -> NoReturn:
    """Confine this process and run what the request's descriptors hold; report to the descriptor ``status``."""
    _, program, *standard = descriptors[:5]
    tests = descriptors[5:]
    try:
        if plan.namespaces:
            jail.enter_namespaces(plan)
        else:
            os.setsid()
        here, there = [end.detach() for end in socket.socketpair()] if tests else (-1, -1)
        if (plan.namespaces or tests) and (other := os.fork()):
            _stay(plan, other, status, here, tests)
        for number, descriptor in enumerate(standard):
            os.dup2(descriptor, number)
        jail.lock(plan)
        os.write(status, READY)
        program, channel = _keep_only([program, there] if tests else [program, -1])
    except BaseException as error:
        os.write(standard[2], f"{type(error).__name__}: {error}".encode())
        os._exit(1)
    runner.run(program, channel)


def _stay(plan: jail.Plan, program: int, status: int, channel: int, tests: Sequence[int]) -> NoReturn:
    """Judge, if there are tests, and report how the program ended if that was before its judge did."""
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    status, *judging = _keep_only([status, *tests, channel] if tests else [status])
    ended_first = not judging or _judge(plan, *judging)
    patience_s = PATIENCE_S if judging else float("inf")
    os.write(status, struct.pack("i", _wait(program, patience_s) if ended_first else 0))
    os._exit(0)


def _judge(plan: jail.Plan, tests: int, verdict: int, channel: int) -> bool:
    """Run the tests, with a user id of our own where we may choose one; whether the program hung up."""
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    with open(tests, "rb") as file:
        content = json.load(file)
    uid = None if plan.uid is None else plan.uid + jail.USER_IDS // 2
    cpu_s, memory_mb = plan.cpu_s + _JUDGES_OWN_CPU_S, plan.memory_mb + _JUDGES_OWN_MEMORY_MB
    jail.lock(replace(plan, uid=uid, cpu_s=cpu_s, memory_mb=memory_mb))
    return judge.run(content, channel, verdict)


def _wait(program: int, patience_s: float = float("inf")) -> int:
    """How the program ended, as ``os.wait`` gives it; as if with exit code 1 where that takes too long."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        ended, code = os.waitpid(-1, 0 if patience_s == float("inf") else os.WNOHANG)
        if ended == program:
            return code
        if not ended:
            time.sleep(0.002)
    return 1 << 8


def _keep_only(kept: Sequence[int]) -> list[int]:
    """Close every descriptor but the standard ones and these; return the numbers that they now have (-1 stays)."""
    numbers = iter(range(_FIRST_FREE, _MOST))
    end = _FIRST_FREE + len(kept)
    away = [-1 if descriptor < 0 else fcntl.fcntl(descriptor, fcntl.F_DUPFD, end) for descriptor in kept]
    moved = [-1 if d < 0 else os.dup2(d, next(numbers), inheritable=False) for d in away]
    os.closerange(next(numbers), _MOST)
    return moved
