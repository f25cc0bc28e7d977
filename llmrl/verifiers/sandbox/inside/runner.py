"""In the confined child: the program, as Python runs it."""

from __future__ import annotations

import atexit
import base64
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from .candidate import Candidate


def run(program: int, channel: int) -> NoReturn:
    """Run what the file ``program`` holds, as a script, or where there is a channel as a module that answers on it."""
    with open(program, "rb") as file:
        content = json.load(file)
    atexit._clear()
    _open_standard_streams()
    for name, data in content["files"].items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(data))
    if channel < 0:
        _leave(lambda: _execute(content["program"], "main.py", "__main__"))
    _leave(lambda: Candidate(channel, _execute(content["program"], "program.py", "program")).serve())


def _open_standard_streams() -> None:
    """As Python opens them for files, over the descriptors 0, 1 and 2."""
    reader, writer, log = (io.FileIO(number, mode, closefd=False) for number, mode in enumerate("rww"))
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(io.BufferedReader(reader), "utf-8", "surrogateescape")
    sys.stdout = sys.__stdout__ = io.TextIOWrapper(io.BufferedWriter(writer), "utf-8", "surrogateescape")
    sys.stderr = sys.__stderr__ = io.TextIOWrapper(
        io.BufferedWriter(log), "utf-8", "backslashreplace", line_buffering=True
    )


def _execute(source: str, file: str, name: str) -> dict[str, Any]:
    """Run source as a module of this name; return its names."""
    path = os.path.abspath(file)
    Path(path).write_text(source, "utf-8", "surrogatepass")
    module = sys.modules[name] = ModuleType(name)
    module.__file__ = path
    sys.argv = [path]
    sys.path.insert(0, os.path.dirname(path))
    exec(compile(source, path, "exec", dont_inherit=True), vars(module))
    return vars(module)


def _leave(work: Callable[[], object]) -> NoReturn:
    """Do the work, then end the process as Python ends a script, without taking the interpreter apart."""
    code = 0
    try:
        work()
    except SystemExit as error:
        code = _exit_code(error.code)
    except BaseException as error:
        code = 1
        traceback = error.__traceback__
        for _ in range(3):  # our own frames
            traceback = traceback.tb_next if traceback is not None and traceback.tb_next is not None else traceback
        sys.excepthook(type(error), error.with_traceback(traceback), traceback)
    try:
        if threading := sys.modules.get("threading"):
            threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        code = code or 120  # as Python does where standard output cannot be written
    os._exit(code)


def _exit_code(value: object) -> int:
    if value is None or isinstance(value, int):
        return int(value or 0) & 0xFF
    print(value, file=sys.stderr)
    return 1
