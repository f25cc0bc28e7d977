"""The parent's side of the symbolic stage: one process that can be killed, started when it is first needed.

Every question has a deadline that starts when the process takes it; at the deadline the process is killed and a
clean one takes its place. Threads take turns. A forked child of this process starts a process of its own.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from llmrl.errors import VerifierError

START_LIMIT_S = 120.0
"""For the process to start and import sympy, before the clock of its first question starts."""


@dataclass(slots=True)
class Allowance:
    """Seconds that one check may still take; what is spent on its questions comes off."""

    seconds: float


class _Died(Exception):
    """The process ended while it had the question."""


class Symbolic:
    """Asks whether two expressions are equal."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._child: int | None = None
        self._buffer = b""
        self._count = 0

    def ask(self, kind: str, pred: str, gold: str, allowance: Allowance, **more: str) -> bool:
        """The verdict of ``symbolic`` on a question of this kind.

        False where only the prediction took too long or too much; raises VerifierError where the gold did, or the
        process cannot be kept alive. The time in the queue behind other threads is not counted.
        """
        if allowance.seconds <= 0:
            return False
        question = {"kind": kind, "pred": pred, "gold": gold, **more}
        with self._lock:
            for _ in range(2):  # a process that was killed from outside gets a second chance
                try:
                    return self._ask(question, allowance)
                except _Died:
                    continue
        if self._gold_done:
            return False
        raise VerifierError("the process that evaluates expressions died twice on the reference answer")

    def close(self) -> None:
        """End the process; the next question starts another."""
        process, self._process, self._child, self._buffer = self._process, None, None, b""
        if process is not None:
            self._socket.close()
            os.close(self._lifeline)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def forget(self) -> None:
        """In a forked child: the process belongs to the parent, so only let go of it."""
        self._lock = threading.Lock()
        process, self._process, self._child, self._buffer = self._process, None, None, b""
        if process is not None:
            self._socket.close()
            os.close(self._lifeline)
            process.returncode = 0  # not this process's child, and not its to wait for

    def _ask(self, question: dict[str, str], allowance: Allowance) -> bool:
        self._ready()
        self._count += 1
        self._gold_done = False
        start, limit_s = time.monotonic(), allowance.seconds
        try:
            self._socket.sendall(json.dumps({"id": self._count, **question}).encode() + b"\n")
            return self._verdict(start + limit_s)
        except TimeoutError:
            self._kill_child()
            if self._gold_done:
                return False
            raise VerifierError(f"the reference answer took longer to evaluate than the {limit_s:.3g} s left") from None
        except OSError:
            self.close()
            raise _Died from None
        except VerifierError:
            raise
        except BaseException:
            self._kill_child()
            raise
        finally:
            allowance.seconds -= time.monotonic() - start

    def _verdict(self, deadline: float) -> bool:
        while True:
            message = self._message(deadline)
            if "died" in message:
                self._child = None
                raise _Died
            if message.get("gold") == self._count:
                self._gold_done = True
            if message.get("id") == self._count:
                if "verdict" in message:
                    return message["verdict"]
                raise VerifierError(message["gold"])

    def _ready(self) -> None:
        if self._process is None:
            self._start()
        deadline = time.monotonic() + START_LIMIT_S
        try:
            while self._child is None:
                self._child = self._message(deadline).get("ready")
        except OSError as error:
            self.close()
            raise VerifierError(f"the process that evaluates expressions does not start ({error})") from None

    def _start(self) -> None:
        self._socket, theirs = socket.socketpair()
        read_end, self._lifeline = os.pipe()
        program = (
            f"import sys; sys.path[:] = {sys.path!r}; "
            f"from llmrl.verifiers.answers.questions import main; main({theirs.fileno()}, {read_end})"
        )
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", program],
                stdin=subprocess.DEVNULL,
                stdout=2,
                pass_fds=(theirs.fileno(), read_end),
                start_new_session=True,
            )
        finally:
            theirs.close()
            os.close(read_end)

    def _message(self, deadline: float) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError
            self._socket.settimeout(remaining)
            chunk = self._socket.recv(1 << 16)
            if not chunk:
                raise ConnectionError("it ended")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def _kill_child(self) -> None:
        if self._child is not None:
            with suppress(ProcessLookupError):
                os.kill(self._child, signal.SIGKILL)
        self._child = None


SYMBOLIC = Symbolic()
"""One for each process."""

atexit.register(SYMBOLIC.close)
os.register_at_fork(after_in_child=SYMBOLIC.forget)
