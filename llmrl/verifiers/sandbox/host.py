"""Our side of the template: start it, send it requests, read what came of them."""

from __future__ import annotations

import atexit
import base64
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from llmrl.errors import UserError, VerifierError
from llmrl.verifiers.sandbox.execution import ExecutionResult, Limits, judge_end
from llmrl.verifiers.sandbox.levels import EXPLANATIONS, LEVELS, Level, Start, starts

PATIENCE_S = 20.0
"""How long after a program's own limit the template may take to answer before it counts as broken."""
PROGRAMS_A_CORE = 2
"""At the same time: short programs wait for processes to start and to end as long as they run."""
_PROBE = "import cmath, colorsys\nprint(6 * 7)"
"""Modules that the template has not loaded: the program has to find them itself."""


@dataclass(frozen=True, slots=True)
class Isolation:
    """How far programs are kept from the machine."""

    level: Level
    explanation: str


class Sandbox:
    """A template process, and the programs that it is running for us. Threads may use it at the same time."""

    def __init__(self, start: Start) -> None:
        self._owner = os.getpid()
        self._sending = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the process)
        try:
            self._process = subprocess.Popen(
                start.command(theirs.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._log,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                cwd="/",
                env={"PYTHONHASHSEED": "0"},  # the same program gets the same verdict; and nothing of ours to read
            )
        except OSError as error:
            self._control.close()
            self._log.close()
            raise VerifierError(f"cannot start {error.filename}: {error.strerror}") from None
        finally:
            theirs.close()

    @property
    def usable(self) -> bool:
        """Whether this process started it and it has not ended."""
        return self._owner == os.getpid() and self._process.poll() is None

    def start(
        self,
        program: str,
        limits: Limits,
        *,
        stdin: str = "",
        files: Mapping[str, str] | None = None,
        tests: Mapping[str, Any] | None = None,
    ) -> Pending:
        """Begin to run a program, as a script, or as a module against ``tests``; ``files`` are base64."""
        reply, theirs = socket.socketpair()
        inputs = [_memory_file(json.dumps({"program": program, "files": files or {}}).encode())]
        inputs += [_memory_file(stdin.encode("utf-8", "surrogatepass"))]
        outputs = [_memory_file(b""), _memory_file(b"")]
        judging = [] if tests is None else [_memory_file(json.dumps(tests).encode()), _memory_file(b"")]
        request = json.dumps({"limits": asdict(limits)}).encode()
        try:
            with self._sending:
                socket.send_fds(self._control, [request], [theirs.fileno(), *inputs, *outputs, *judging])
        except OSError as error:
            reply.close()
            _close([*outputs, *judging[1:]])
            raise VerifierError(f"the sandbox is gone: {error}; it said: {self.said()}") from None
        finally:
            theirs.close()
            _close([*inputs, *judging[:1]])
        return Pending(self, reply, [*outputs, *judging[1:]], limits)

    def said(self) -> str:
        """The end of what the template wrote to its standard error, in one line."""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - 500))
        return " ".join(self._log.read().decode("utf-8", "replace").split()) or "nothing"

    def close(self) -> None:
        """End everything that runs in it."""
        self._control.close()
        if self._owner == os.getpid():
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.kill()
        self._log.close()

    def kill(self) -> None:
        """The same, without asking the template."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Pending:
    """A program that was sent to a sandbox."""

    def __init__(self, sandbox: Sandbox, reply: socket.socket, outputs: list[int], limits: Limits) -> None:
        self._sandbox, self._reply, self._outputs, self._limits = sandbox, reply, outputs, limits

    def result(self) -> tuple[ExecutionResult, bytes]:
        """Wait until it and all it started is gone: its end, and the verdict if there were tests. Raises VerifierError.

        To be called once.
        """
        try:
            with self._reply:
                answer = self._answer()
            longest = (self._limits.output_kb << 10) + 1
            stdout, stderr = (os.pread(output, longest, 0) for output in self._outputs[:2])
            verdict = b"".join(os.pread(output, os.fstat(output).st_size, 0) for output in self._outputs[2:])
        finally:
            _close(self._outputs)
        if "failure" in answer:
            raise VerifierError(f"the sandbox failed: {answer['failure']}")
        if not answer["ready"]:
            raise VerifierError(f"the sandbox could not confine a program: {stderr[:500].decode(errors='replace')}")
        return judge_end(answer, stdout, stderr, self._limits), verdict

    def _answer(self) -> dict[str, Any]:
        self._reply.settimeout(self._limits.wall_s + PATIENCE_S)
        try:
            data = self._reply.recv(1 << 16)
        except TimeoutError:
            self._sandbox.kill()
            raise VerifierError("the sandbox does not answer") from None
        except OSError as error:
            raise VerifierError(f"the sandbox is gone: {error}") from None
        if not data:
            raise VerifierError(f"the sandbox is gone; it said: {self._sandbox.said()}")
        return json.loads(data)


class _Registry:
    """This process's sandboxes, at most one a level; started when needed, replaced when gone."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.slots = threading.BoundedSemaphore(PROGRAMS_A_CORE * (os.cpu_count() or 1))
        self.sandboxes: dict[Level, Sandbox] = {}
        self.ways: dict[Level, Start] = {}
        self.best: Isolation | None = None


_registry = _Registry()


def _forget() -> None:
    """A forked child has none of its parent's sandboxes."""
    global _registry
    _registry = _Registry()


os.register_at_fork(after_in_child=_forget)


def isolation() -> Isolation:
    """The strongest level that works here, found by running a program at it; the explanation says what was missing."""
    with _registry.lock:
        if _registry.best is None:
            missing = []
            for level in LEVELS:
                try:
                    _started(level)
                except VerifierError as error:
                    missing.append(f"; {level} is not available: {error}")
                    continue
                _registry.best = Isolation(level, EXPLANATIONS[level] + "".join(missing))
                break
            else:
                raise VerifierError("no program can be run here" + "".join(missing))
        return _registry.best


@contextmanager
def sandbox_for(choice: str) -> Iterator[Sandbox]:
    """A sandbox at the level that was asked for, and a place in its queue.

    ``auto`` is the strongest level, ``required`` the same if it isolates at all; else a level's name. Raises UserError.
    """
    if choice not in ("auto", "required", *LEVELS):
        raise UserError(
            f"sandbox {choice!r} is none of auto, required, {', '.join(LEVELS)} and the address of a server"
        )
    with _registry.slots:
        with _registry.lock:
            found = isolation() if choice in ("auto", "required") else None
            if choice == "required" and found is not None and found.level == "limits":
                raise UserError(f"no isolation here, and sandbox is 'required': {found.explanation}")
            sandbox = _started(found.level if found is not None else next(x for x in LEVELS if x == choice))
        yield sandbox


def _started(level: Level) -> Sandbox:
    if sys.platform != "linux":
        raise VerifierError("programs can be run on Linux only")
    sandbox = _registry.sandboxes.get(level)
    if sandbox is not None and sandbox.usable:
        return sandbox
    reasons = []
    for start in [_registry.ways[level]] if level in _registry.ways else starts(level):
        try:
            sandbox = _registry.sandboxes[level] = _tried(start)
        except VerifierError as error:
            reasons.append(str(error))
            continue
        _registry.ways[level] = start
        return sandbox
    raise VerifierError(" / ".join(reasons))


def _tried(start: Start) -> Sandbox:
    """A sandbox that has shown that it works."""
    sandbox = Sandbox(start)
    try:
        result, _ = sandbox.start(_PROBE, Limits(wall_s=20)).result()
        if result.stdout != "42\n":
            raise VerifierError(f"a first program ended with {result.status}: {result.stderr[-300:]}")
    except VerifierError:
        sandbox.close()
        raise
    atexit.register(sandbox.close)
    return sandbox


def pack_files(files: Mapping[str, str | bytes] | None) -> dict[str, str]:
    """Files by relative path, as a request carries them. Raises ValueError for a path that leads elsewhere."""
    packed = {}
    for name, data in (files or {}).items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise ValueError(f"file {name!r}: not a path below the program's folder")
        packed[name] = base64.b64encode(data.encode() if isinstance(data, str) else data).decode()
    return packed


def _memory_file(data: bytes) -> int:
    """A file without a name that holds these bytes; writing to it appends."""
    descriptor = os.memfd_create("llmrl")
    if data:
        os.pwrite(descriptor, data, 0)
    else:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_APPEND)
    return descriptor


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
