"""From a trusted child of the template to a process that untrusted code may have.

With namespaces a keeper stands between the two: it is the first process of its own PID namespace, so that the
kernel ends every descendant of the program when the keeper ends. Without, the program belongs to a process group that
it cannot leave (by seccomp), and the group is killed.
"""

from __future__ import annotations

import os
import resource
import signal
from dataclasses import dataclass
from pathlib import Path

from . import kernel, landlock, seccomp

BOX, SHARED_MEMORY = "/tmp", "/dev/shm"
NOBODY = 65534
MB = 1 << 20
USER_IDS = 1 << 10
"""How many user ids a template may give away, half of them to programs and half to their judges."""
FIRST_TO_GO = "1000"
"""Where the machine runs out of memory, the program dies and not the trainer."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How one program is confined."""

    namespaces: bool
    filter: seccomp.Filter | None
    """For seccomp."""
    readable: tuple[str, ...]
    """What Landlock leaves readable; nothing: Landlock is not used."""
    folder: str
    """The program's own and only writable place, and its current directory."""
    uid: int | None
    """A user id that nothing else on the machine has; None: stay who we are."""
    cpu_s: float
    memory_mb: int
    disk_mb: int
    processes: int
    others: int
    """Processes and threads that count against the same limit: all of the user's, where the program is one of them."""
    open_files: int


def enter_namespaces(plan: Plan) -> None:
    """Become the first process of the namespaces that the program will live in."""
    if plan.uid is None:
        _own_user_namespace()
    else:
        kernel.unshare(kernel.CLONE_NEWNS)
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO)
    _private_file_system(plan)


def lock(plan: Plan) -> None:
    """Give up everything for good; what runs afterwards may be hostile."""
    os.chdir(plan.folder)
    os.umask(0o077)
    if plan.namespaces:
        os.setsid()  # or a signal to "my process group" would reach beyond the namespace
    if plan.uid is not None:
        os.setgroups([])
        os.setresgid(plan.uid, plan.uid, plan.uid)
        os.setresuid(plan.uid, plan.uid, plan.uid)
    _limit_resources(plan)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    kernel.drop_capabilities()
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    if plan.readable:
        landlock.restrict(plan.readable, (plan.folder, "/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"))
        if not landlock.confines_signals():
            seccomp.signals_only_to(os.getpid()).install()
    if plan.filter is not None:
        plan.filter.install()


def _own_user_namespace() -> None:
    """New user and mount namespaces in which we are nobody; a limit on processes then counts this program's own."""
    kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # or the next three files would belong to root
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{NOBODY} 0 1")
    Path("/proc/self/gid_map").write_text(f"{NOBODY} 0 1")
    Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)


def _private_file_system(plan: Plan) -> None:
    """An empty writable folder of limited size, shared memory inside it, and no ``/proc``."""
    options = f"size={plan.disk_mb}m,nr_inodes=16384,mode=1777"
    flags = kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("tmpfs", BOX, "tmpfs", flags, options)
    kernel.mount(BOX, SHARED_MEMORY, "", kernel.MS_BIND)
    kernel.mount("tmpfs", "/proc", "tmpfs", flags | kernel.MS_RDONLY, "nr_inodes=1")


def _limit_resources(plan: Plan) -> None:
    cpu = max(1, int(plan.cpu_s + 0.999))
    limits = {
        resource.RLIMIT_CPU: (cpu, cpu + 1),
        resource.RLIMIT_AS: (plan.memory_mb * MB,) * 2,
        resource.RLIMIT_FSIZE: (plan.disk_mb * MB,) * 2,
        resource.RLIMIT_NPROC: (plan.processes + plan.others,) * 2,
        resource.RLIMIT_NOFILE: (plan.open_files,) * 2,
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_MEMLOCK: (0, 0),
    }
    for name, (soft, hard) in limits.items():
        _, ceiling = resource.getrlimit(name)
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        resource.setrlimit(name, (soft, hard))
