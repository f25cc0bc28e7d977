"""What belongs to a program, how much it uses, and how all of it is ended."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
FEW_FILES, MOST_FILES, LONGEST_PATH, ENDLESS = 16, 10_000, 1024, 1 << 62


@dataclass(frozen=True, slots=True)
class Process:
    """A line of the process table."""

    pid: int
    parent: int
    group: int
    resident: int
    """Bytes, pages shared with others included."""


def table() -> dict[int, Process]:
    """Every process that we can see."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
            found[int(name)] = Process(int(name), int(fields[1]), int(fields[2]), int(fields[21]) * PAGE)
    return found


def threads_of(uid: int) -> int:
    """How many processes and threads a user has."""
    count = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            if os.stat(f"/proc/{name}").st_uid == uid:
                count += len(os.listdir(f"/proc/{name}/task"))
    return count


def members(table: dict[int, Process], first: int) -> list[Process]:
    """The process ``first``, its descendants and its group."""
    known = {first}
    size = 0
    while len(known) > size:
        size = len(known)
        known |= {p.pid for p in table.values() if p.parent in known or p.group == first}
    return [table[pid] for pid in known if pid in table]


def memory(members: list[Process], limit: int) -> int:
    """Bytes in use, pages that they share counted once where that decides whether it is more than ``limit``."""
    resident = sum(process.resident for process in members)
    return resident if resident <= limit else sum(_proportional(process) for process in members)


def _proportional(process: Process) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return process.resident


def disk(folder: str) -> int:
    """Bytes below a folder; one with very many files, very deep, or closed to us counts as endless."""
    total, count, folders = 0, 0, [folder]
    while folders:
        place = folders.pop()
        if len(place) > LONGEST_PATH:
            return ENDLESS
        try:
            entries = list(os.scandir(place))
        except (FileNotFoundError, NotADirectoryError):
            continue  # removed meanwhile
        except OSError:
            return ENDLESS
        for entry in entries:
            with suppress(OSError):
                total += entry.stat(follow_symlinks=False).st_blocks * 512
                folders += [entry.path] if entry.is_dir(follow_symlinks=False) else []
        count += len(entries)
        if count > MOST_FILES:
            return ENDLESS
    return total


def kill_group(group: int, uid: int | None) -> None:
    """Kill a process group, and where its user id is nobody else's, everything that has that id."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    if uid is None:
        return
    killer = os.fork()
    if killer == 0:
        os.setresuid(uid, uid, uid)
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        os._exit(0)
    os.waitpid(killer, 0)


def reap_group(group: int, keep: set[int]) -> None:
    """Wait until a killed group is gone, and end what left it and has become our own child since."""
    while True:
        with suppress(ChildProcessError):
            while os.waitpid(-group, os.WNOHANG)[0]:
                pass
        strays = [pid for pid in _children() if pid not in keep and os.getpgid(pid) not in keep]
        for stray in strays:
            os.kill(stray, signal.SIGKILL)
            os.waitpid(stray, 0)
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            if not strays:
                return
        time.sleep(0.001)


def _children() -> list[int]:
    return list(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()))


def remove_tree(folder: str) -> int | None:
    """Remove a folder, however a program left it; the id of a child that does it where it may take long."""
    with suppress(OSError):
        for name in os.listdir(folder)[:FEW_FILES]:
            os.unlink(f"{folder}/{name}")
        os.rmdir(folder)
        return None
    child = os.fork()
    if child == 0:  # unreadable folders, or a tree deeper than Python can follow
        for command in (["/bin/chmod", "-R", "u+rwx", folder], ["/bin/rm", "-rf", folder]):
            os.spawnv(os.P_WAIT, command[0], command)
        os._exit(0)
    return child
