"""The tests' side: runs their source against stand-ins for what the program defines, and writes the verdict.

The program runs in another process. A name that the tests use and do not define stands for the program's object
of that name; calling it sends the arguments there and brings the result back as plain data, so every comparison
takes place here, between values that have no code of the program's in them.
"""

from __future__ import annotations

import builtins
import json
import os
import weakref
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

from . import wire


class Line:
    """The connection to the program."""

    def __init__(self, channel: int) -> None:
        self.broken: str | None = None
        """Why nothing can be asked any more."""
        self.gone = False
        """Whether that is because the program ended."""
        self._channel = channel
        self._functions: list[Callable[..., Any]] = []
        self._remotes: weakref.WeakValueDictionary[int, Remote] = weakref.WeakValueDictionary()

    def wait_until_loaded(self) -> bool:
        """Whether the program ran to its end."""
        try:
            return wire.receive(self._channel) == "ready"
        except (wire.Broken, OSError):
            return False

    def ask(self, operation: str, *arguments: Any, **named: Any) -> Any:
        """The result of an operation on the program's objects; raises what it raised, or Broken."""
        if operation == "name":
            return self._exchange([operation, *arguments], ())
        return self._exchange([operation, *(wire.encode(p, self._refer) for p in (list(arguments), named))], arguments)

    def _exchange(self, request: list[Any], arguments: tuple[Any, ...]) -> Any:
        if self.broken:
            raise wire.Broken(self.broken)
        try:
            wire.send(self._channel, request)
            while (message := wire.receive(self._channel))[0] == "callback":
                wire.send(self._channel, self._call_back(*message[1:]))
            return self._read(message, arguments)
        except _Raised as error:
            raise error.original from None
        except Exception as error:
            self.broken = f"{type(error).__name__}: {error}"
            self.gone = isinstance(error, wire.Gone | OSError)
            raise wire.Broken(self.broken) from None

    def _read(self, message: Any, arguments: tuple[Any, ...]) -> Any:
        kind, *content = message
        if kind == "error":
            raise _Raised(wire.restore(*content))
        if len(content) > 1:
            for old, new in zip(arguments[1:], wire.decode(content[1], self._resolve), strict=True):
                _update(old, new)
        return wire.decode(content[0], self._resolve)

    def _call_back(self, number: int, arguments: Any, named: Any) -> list[Any]:
        parts = wire.decode(arguments, self._resolve), wire.decode(named, self._resolve)
        try:
            return ["result", wire.encode(self._functions[number](*parts[0], **parts[1]), self._refer)]
        except Exception as error:
            return ["error", *wire.describe(error)]

    def _refer(self, value: object) -> dict[str, Any]:
        if isinstance(value, Remote):
            return {"object": object.__getattribute__(value, "_number")}
        if not callable(value):
            raise TypeError(f"a test cannot hand over an object of type {type(value).__name__}")
        self._functions.append(value)
        return {"callback": len(self._functions) - 1}

    def _resolve(self, tag: str, content: Any) -> Remote:
        if tag != "object" or type(content) is not int:
            raise wire.Broken(f"a reference of kind {tag!r}")
        remote = self._remotes.get(content)
        if remote is None:
            remote = self._remotes[content] = Remote(self, content)
        return remote


class _Raised(Exception):
    """Carries an exception of the program's past the handling of our own."""

    def __init__(self, original: Exception) -> None:
        self.original = original


class Remote:
    """Stands for an object of the program's.

    It compares by identity and takes part in no arithmetic: an operation that would show the program the other
    operand, which may be the expected value, does not exist.
    """

    __slots__ = ("__weakref__", "_line", "_number")

    def __init__(self, line: Line, number: int) -> None:
        object.__setattr__(self, "_line", line)
        object.__setattr__(self, "_number", number)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the program's function, over there."""
        return self._line.ask("call", self, *arguments, **named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__name__":
            raise AttributeError(name)
        return self._line.ask("get", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._line.ask("set", self, name, value)

    def __getitem__(self, key: Any) -> Any:
        return self._line.ask("item", self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._line.ask("set_item", self, key, value)

    def __delitem__(self, key: Any) -> None:
        self._line.ask("delete_item", self, key)

    def __iter__(self) -> Iterator[Any]:
        iterator = self._line.ask("iterate", self)
        return iterator if isinstance(iterator, Remote) else iter(iterator)

    def __next__(self) -> Any:
        return self._line.ask("next", self)

    def __len__(self) -> int:
        return self._line.ask("length", self)

    def __str__(self) -> str:
        return self._line.ask("text", self)

    def __repr__(self) -> str:
        return self._line.ask("representation", self)

    def __bool__(self) -> bool:
        return self._line.ask("truth", self)

    def __int__(self) -> int:
        return self._line.ask("int", self)

    def __float__(self) -> float:
        return self._line.ask("float", self)

    def __index__(self) -> int:
        return self._line.ask("index", self)


class _Names(dict[str, Any]):
    """The tests' global names; one that they do not define is a module of Python's, or the program's."""

    def __init__(self, line: Line, modules: set[str], shadowed: set[str]) -> None:
        super().__init__(__builtins__=builtins, __name__="tests")
        self._line, self._modules, self._shadowed = line, modules, shadowed

    def __missing__(self, name: str) -> Any:
        if hasattr(builtins, name) and name not in self._shadowed:
            raise KeyError(name)
        if name in self._modules:
            return import_module(name)
        return self._line.ask("name", name)


def run(content: Mapping[str, Any], channel: int, verdict: int) -> bool:
    """Run the tests and write a line of JSON for each to the descriptor ``verdict``.

    The first line says whether the program could be loaded. Returns whether the program is gone before its time.
    """
    line = Line(channel)
    loaded = line.wait_until_loaded()
    _write(verdict, loaded)
    if not loaded:
        return True
    names = _Names(line, set(content["modules"]), set(content["shadowed"]))
    problem = _attempt(line, lambda: _set_up(names, line, content))
    for source in content["tests"]:
        outcome = problem or _attempt(line, lambda source=source: _execute(source, names))
        _write(verdict, outcome or ["passed", ""])
    return line.gone


def _set_up(names: _Names, line: Line, content: Mapping[str, Any]) -> None:
    for source in content["setup"]:
        _execute(source, names)
    if entry_point := content["entry_point"]:
        names[entry_point] = names["candidate"] = line.ask("name", entry_point)


def _execute(source: str, names: dict[str, Any]) -> None:
    exec(compile(source, "<tests>", "exec", dont_inherit=True), names)


def _attempt(line: Line, work: Callable[[], None]) -> list[str] | None:
    """What went wrong, as an outcome; None where nothing did."""
    try:
        work()
    except AssertionError as error:
        outcome = ["failed", str(error)]
    except BaseException as error:
        outcome = ["error", f"{type(error).__name__}: {error}"]
    else:
        outcome = None
    if line.broken:  # whatever the test has caught
        outcome = ["error", line.broken]
    return outcome


def _write(verdict: int, content: Any) -> None:
    os.write(verdict, json.dumps(content).encode() + b"\n")


def _update(old: Any, new: Any) -> None:
    """Make a list, dictionary, set or byte array of the tests what the program made of its copy."""
    if type(old) is not type(new) or not isinstance(old, list | dict | set | bytearray):
        return
    if isinstance(old, list | bytearray):
        old[:] = new
    else:
        old.clear()
        old.update(new)
