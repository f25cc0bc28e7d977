"""The system calls that Python's ``os`` lacks, and their constants (Linux)."""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x00020000, 0x10000000, 0x20000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_BIND = 1, 2, 4, 4096
PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 4, 22, 36, 38
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
# Made once, before any fork: to make a type of ctypes costs a child more than the call it is for.
_CAPABILITY_HEADER = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
_NO_CAPABILITIES = (ctypes.c_uint32 * 6)()


def _checked(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def unshare(flags: int) -> None:
    """Leave the namespaces named by ``flags`` for new ones (a new PID namespace starts with the next child)."""
    _checked(_libc.unshare(flags), "unshare")


def setns(descriptor: int, kind: int) -> None:
    """Enter the namespace behind the descriptor."""
    _checked(_libc.setns(descriptor, kind), "setns")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount a file system."""
    strings = [text.encode() for text in (source, target, kind)]
    _checked(_libc.mount(*strings, flags, options.encode()), "mount")


def prctl(option: int, value: int, address: int = 0) -> None:
    """Set an attribute of this process."""
    _checked(_libc.prctl(option, value, address, 0, 0), "prctl")


def syscall(number: int, *arguments: object) -> int:
    """Any other call, by number."""
    return _checked(_libc.syscall(number, *arguments), "system call")


def drop_capabilities() -> None:
    """Give up every capability in this process's user namespace."""
    _checked(_libc.capset(_CAPABILITY_HEADER, _NO_CAPABILITIES), "capset")
