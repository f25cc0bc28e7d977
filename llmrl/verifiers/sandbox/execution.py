"""What a program may use, and what came of running it."""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["ok", "error", "crash", "timeout", "memory", "processes", "disk", "output"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program, with all processes that it starts, may use."""

    wall_s: float = 10.0
    """Seconds from the moment when the program's own process begins; time spent in a queue does not count."""
    cpu_s: float = 10.0
    """Seconds of processor time, of each process; rounded up to whole seconds."""
    memory_mb: int = 1024
    """Address space of each process, and memory in use by all of them together."""
    disk_mb: int = 64
    """The private folder's size; without namespaces looked after twenty times a second. Also each file's."""
    output_kb: int = 1024
    """Longest standard output, and longest standard error; more is cut, and its status is ``output``."""
    processes: int = 32
    """Processes and threads at the same time."""
    open_files: int = 64
    """Open files of each process."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"the limit {name} must be a positive number, not {value}")


@dataclass(frozen=True, slots=True)
class ExecutionResult:
    """How a program ended."""

    status: Status
    """``ok``: exit code 0. ``error``: another one. ``crash``: ended by a signal. The rest: the limit reached."""
    stdout: str
    stderr: str
    exit_code: int
    """Negative: the signal that ended it."""
    wall_s: float
    cpu_s: float
    """Of all its processes that were waited for."""
    peak_memory_mb: float
    """Resident, of its largest process; never less than the interpreter itself."""

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with exit code 0, within all limits."""
        return self.status == "ok"


def judge_end(answer: Mapping[str, Any], stdout: bytes, stderr: bytes, limits: Limits) -> ExecutionResult:
    """The result from what the template says and what the program wrote."""
    longest = limits.output_kb << 10
    return ExecutionResult(
        status=_status(answer, max(len(stdout), len(stderr)) > longest, stderr, limits),
        stdout=stdout[:longest].decode("utf-8", "replace"),
        stderr=stderr[:longest].decode("utf-8", "replace"),
        exit_code=answer["code"],
        wall_s=answer["wall_s"],
        cpu_s=answer["cpu_s"],
        peak_memory_mb=answer["peak_memory_mb"],
    )


def _status(answer: Mapping[str, Any], flooded: bool, stderr: bytes, limits: Limits) -> Status:
    code = answer["code"]
    if answer["reason"] is not None:
        return answer["reason"]
    if code == -signal.SIGXCPU or (code == -signal.SIGKILL and answer["cpu_s"] >= limits.cpu_s):
        return "timeout"
    if flooded:
        return "output"
    if code > 0 and stderr.rstrip().rpartition(b"\n")[2].startswith(b"MemoryError"):
        return "memory"
    return "crash" if code < 0 else "error" if code > 0 else "ok"
