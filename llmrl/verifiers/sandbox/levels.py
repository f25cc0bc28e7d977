"""The levels of isolation, and the command that starts a template at each."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Level = Literal["namespaces", "landlock", "limits"]
LEVELS: tuple[Level, ...] = get_args(Level)
"""The strongest first."""

EXPLANATIONS: dict[Level, str] = {
    "namespaces": "bubblewrap: own PID, mount, network, IPC and user namespaces or user id; a bare read-only system, "
    "a private folder of limited size, no /proc, no network, no sockets; seccomp; resource limits; "
    "the kernel ends everything that a program leaves behind",
    "landlock": "Landlock and seccomp: no files but Python's own and a private folder can be opened, no sockets, "
    "no signals to others, no leaving the process group; resource limits. What files exist elsewhere can still be seen",
    "limits": "resource limits and a process group only: files, network and processes of this user are NOT protected",
}
_HARNESS = Path(__file__).parent / "inside"
_UNIQUE_UIDS = 1 << 30
"""First of the user ids given to programs where we may choose them; no account of a system lies there."""


@dataclass(frozen=True, slots=True)
class Start:
    """How to start one kind of template."""

    level: Level
    identity: Literal["user id", "user namespace", "ours"]
    """What programs run as: only root can give them user ids of their own, which the kernel can count by."""

    def command(self, control: int) -> list[str]:
        """The command line of a template whose control socket is the descriptor ``control``."""
        packages = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
        harness, prefix = _HARNESS.parent, []
        if self.level == "namespaces":
            places = [f"/packages/{i}" for i in range(len(packages))]
            prefix = self._bubblewrap([*zip(packages, places, strict=True), (str(_HARNESS), "/harness/inside")])
            packages, harness = places, Path("/harness")
        uid = _UNIQUE_UIDS + (os.getpid() % (1 << 20) << 10) if self.identity == "user id" else None
        readable = [*_system(), *packages] if self.level == "landlock" else []
        temporary = "/tmp" if self.level == "namespaces" else tempfile.gettempdir()
        namespaces, filtered = self.level == "namespaces", self.level != "limits"
        call = f"main({control}, {namespaces}, {filtered}, {uid}, {readable}, {temporary!r})"
        program = (
            f"import sys; sys.path.append({str(harness)!r}); from inside.template import main; "
            f"sys.path[-1:] = {packages}; {call}"
        )
        return [*prefix, _python(), "-s", "-S", "-P", "-B", "-X", "utf8", "-c", program]

    def _bubblewrap(self, places: list[tuple[str, str]]) -> list[str]:
        user = ["--unshare-user", "--uid", "0", "--gid", "0"] if self.identity == "user namespace" else []
        folders = []
        for path in ("/lib", "/lib64", "/lib32", "/bin", "/sbin"):
            if os.path.islink(path):
                folders += ["--symlink", os.readlink(path), path]
            else:
                folders += ["--ro-bind-try", path, path]
        for path in _system():
            for parent in reversed(Path(path).parents[:-1]):
                folders += ["--dir", str(parent)]  # or it would be closed to all but its owner
            folders += ["--ro-bind-try", path, path]
        for source, target in places:
            folders += ["--ro-bind", source, target]
        return [
            *[shutil.which("bwrap") or "bwrap", *user, "--unshare-pid", "--unshare-net", "--unshare-ipc"],
            *["--unshare-uts", "--unshare-cgroup-try", "--as-pid-1", "--cap-add", "ALL", *folders],
            *["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"],
            *["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/"],
        ]


def starts(level: Level) -> list[Start]:
    """The ways to reach a level, the better one first."""
    ways = [Start(level, "user namespace" if level == "namespaces" else "ours")]
    return [Start(level, "user id"), *ways] if os.geteuid() == 0 else ways


def _python() -> str:
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def _system() -> list[str]:
    """Where Python and the libraries that it needs lie."""
    prefixes = {sys.base_prefix, sys.base_exec_prefix, os.path.dirname(os.path.dirname(_python()))}
    outside = sorted(prefix for prefix in prefixes if not prefix.startswith("/usr"))
    return ["/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", *outside]
