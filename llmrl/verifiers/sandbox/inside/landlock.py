"""Landlock: which parts of the file system a process and its descendants may touch, without any privilege."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable

from . import kernel

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_READ = 0b1101  # execute, read files, list directories
_ALL_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_SCOPE_SINCE, _SCOPES = 6, 0b11  # abstract sockets and signals
_FILE_RIGHTS = 0b111 | 1 << 14  # execute, write, read, truncate: what a rule on a file may hold


def version() -> int:
    """The kernel's Landlock ABI; 0 where it has none."""
    try:
        return kernel.syscall(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    except OSError:
        return 0


def confines_signals() -> bool:
    """Whether a restricted process cannot signal others."""
    return version() >= _SCOPE_SINCE


def restrict(read: Iterable[str], write: Iterable[str]) -> None:
    """Allow reading and executing below ``read``, everything below ``write``, and nothing else, for good.

    Needs no_new_privs. Paths that do not exist are left out.
    """
    abi = version()
    rights = (1 << _ALL_RIGHTS.get(abi, 16)) - 1
    scopes = _SCOPES if confines_signals() else 0
    size = 24 if scopes else 8
    attributes = ctypes.create_string_buffer(struct.pack("QQQ", rights, 0, scopes), 24)
    rules = kernel.syscall(_CREATE, attributes, ctypes.c_size_t(size), ctypes.c_uint32(0))
    for paths, granted in ((read, _READ), (write, rights)):
        for path in paths:
            _allow(rules, path, granted & rights)
    kernel.syscall(_RESTRICT, rules, ctypes.c_uint32(0))
    os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH)
    except FileNotFoundError:
        return
    if not os.path.isdir(path):
        rights &= _FILE_RIGHTS
    rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, place), 12)
    kernel.syscall(_ADD_RULE, rules, ctypes.c_uint32(1), rule, ctypes.c_uint32(0))
    os.close(place)
