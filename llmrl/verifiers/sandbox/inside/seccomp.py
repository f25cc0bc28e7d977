"""A seccomp filter: which system calls no program needs and every escape begins with."""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from collections.abc import Iterator

from . import kernel

# name: (x86-64, arm64); None where an architecture has no such call
_FORBIDDEN = {
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    # sockets reach hosts and services; a pair of connected ones is free to have
    "socket": (41, 198),
    # namespaces and mounts
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # memory and messages that outlive a process, or that no limit counts
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # doors into the kernel that a Python program has no use for
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "modify_ldt": (154, None),
    # the machine itself
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "acct": (163, 89),
    "syslog": (103, 116),
    "quotactl": (179, 60),
}
_LEAVES_ITS_GROUP = {"setsid": (112, 157), "setpgid": (109, 154)}
"""Forbidden where killing the process group has to reach every descendant."""

_ONLY_ON_ITSELF = {
    "prlimit64": (302, 261, 0),
    "sched_setaffinity": (203, 122, 0),
    "sched_setscheduler": (144, 119, 0),
    "sched_setparam": (142, 118, 0),
    "sched_setattr": (314, 274, 0),
    "setpriority": (141, 140, 1),
    "ioprio_set": (251, 30, 1),
}
"""And the position of the argument that has to be 0, which means the caller."""

_SIGNALS = {"kill": (62, 129), "tgkill": (234, 131), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138)}
_SIGNALS_OTHERWISE = {"rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424)}
_CLONE, _CLONE3 = (56, 220), 435
_NEW_NAMESPACES = 0x7E020080

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_LOAD, _EQUAL, _ABOVE, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_X32 = 0x40000000


def available() -> bool:
    """Whether the filter knows this machine's system calls."""
    return platform.machine() in _ARCHITECTURES


def general(*, keep_group: bool) -> Filter:
    """The filter that every program gets; with ``keep_group`` its processes cannot leave their process group."""
    column, architecture = _ARCHITECTURES[platform.machine()]
    calls = _FORBIDDEN | (_LEAVES_ITS_GROUP if keep_group else {})
    code = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        *_unless(_EQUAL, architecture, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        *_when(_ABOVE, _X32, _KILL),
        *_when(_EQUAL, _CLONE3, _REFUSE | errno.ENOSYS),  # its flags lie in memory, out of sight; libc then uses clone
    ]
    for numbers in calls.values():
        if (number := numbers[column]) is not None:
            code += _when(_EQUAL, number, _REFUSE | errno.EPERM)
    for *numbers, position in _ONLY_ON_ITSELF.values():
        code += _argument(numbers[column], position, _unless(_EQUAL, 0, _REFUSE | errno.EPERM))
    code += _argument(_CLONE[column], 0, _when(_ANY_BIT, _NEW_NAMESPACES, _REFUSE | errno.EPERM))
    return Filter(code)


def signals_only_to(process: int) -> Filter:
    """A filter that lets no signal be sent but to this process, for kernels whose Landlock does not see to it."""
    column, _ = _ARCHITECTURES[platform.machine()]
    code = [(_LOAD, 0, 0, _NUMBER)]
    for numbers in _SIGNALS_OTHERWISE.values():
        code += _when(_EQUAL, numbers[column], _REFUSE | errno.EPERM)
    for numbers in _SIGNALS.values():
        code += _argument(numbers[column], 0, _unless(_EQUAL, process, _REFUSE | errno.EPERM))
    return Filter(code)


class Filter:
    """A filter ready to be put on a process."""

    def __init__(self, code: list[tuple[int, int, int, int]]) -> None:
        program = b"".join(struct.pack("HBBI", *line) for line in [*code, (_RETURN, 0, 0, _ALLOW)])
        self._program = ctypes.create_string_buffer(program, len(program))
        header = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(self._program))
        self._header = ctypes.create_string_buffer(header, len(header))
        self._address = ctypes.addressof(self._header)

    def install(self) -> None:
        """Put this process and all its descendants under the filter, for good. Needs no_new_privs."""
        kernel.prctl(kernel.PR_SET_SECCOMP, 2, self._address)


def _when(test: int, value: int, verdict: int) -> Iterator[tuple[int, int, int, int]]:
    yield from ((test, 0, 1, value), (_RETURN, 0, 0, verdict))


def _unless(test: int, value: int, verdict: int) -> Iterator[tuple[int, int, int, int]]:
    yield from ((test, 1, 0, value), (_RETURN, 0, 0, verdict))


def _argument(
    number: int, position: int, check: Iterator[tuple[int, int, int, int]]
) -> Iterator[tuple[int, int, int, int]]:
    """Apply ``check`` to the low half of an argument of one call, then let the call pass or go on to the next."""
    body = [(_LOAD, 0, 0, _ARGUMENTS + 8 * position), *check, (_RETURN, 0, 0, _ALLOW)]
    yield from ((_EQUAL, 0, len(body), number), *body)
