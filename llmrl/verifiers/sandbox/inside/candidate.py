"""The program's side of a test: run it, then do with its objects what the judge asks, until the judge hangs up.

Arguments come in and results go out as plain data. Whatever a program does to this module, it can only change what
values it gives, which is what it is judged by; what is expected of it never comes here.
"""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from . import wire

_OPERATIONS: dict[str, Callable[..., Any]] = {
    "get": getattr,
    "set": setattr,
    "item": operator.getitem,
    "set_item": operator.setitem,
    "delete_item": operator.delitem,
    "length": len,
    "iterate": iter,
    "next": next,
    "text": str,
    "representation": repr,
    "truth": bool,
    "int": int,
    "float": float,
    "index": operator.index,
}
_IN_PLACE = (list, dict, set, bytearray)


class Candidate:
    """Answers the judge's requests; keeps the objects that the judge has references to."""

    def __init__(self, channel: int, names: dict[str, Any]) -> None:
        self._channel = channel
        self._names = names
        self._objects: dict[int, Any] = {}

    def serve(self) -> NoReturn:
        """Until the judge hangs up, which ends the process."""
        wire.send(self._channel, "ready")
        try:
            while True:
                self._answer(wire.receive(self._channel))
        except (wire.Broken, OSError):
            sys.stdout.flush()
            os._exit(0)

    def _answer(self, request: Any) -> None:
        try:
            reply = ["value", *self._perform(request)]
        except Exception as error:
            reply = ["error", *wire.describe(error)]
        try:
            wire.send(self._channel, reply)
        except ValueError as error:
            wire.send(self._channel, ["error", *wire.describe(error)])

    def _perform(self, request: Any) -> list[Any]:
        """The result, and where it is None the arguments as the call left them: it may have worked in place."""
        operation, *content = request
        if operation == "name":
            value = self._name(content[0])
            return [self._refer(value) if callable(value) else wire.encode(value, self._refer)]
        arguments, named = (wire.decode(part, self._resolve) for part in content)
        if operation != "call":
            return [wire.encode(_OPERATIONS[operation](*arguments), self._refer)]
        function, *arguments = arguments
        result = function(*arguments, **named)
        encoded = wire.encode(result, self._refer)
        if result is not None or not any(type(argument) in _IN_PLACE for argument in arguments):
            return [encoded]
        return [encoded, wire.encode(arguments, self._refer)]

    def _name(self, name: str) -> Any:
        if name not in self._names:
            raise NameError(f"name {name!r} is not defined")
        return self._names[name]

    def _refer(self, value: object) -> dict[str, Any]:
        self._objects[id(value)] = value
        return {"object": id(value)}

    def _resolve(self, tag: str, content: Any) -> Any:
        if tag == "object":
            return self._objects[content]
        return self._callback(content)

    def _callback(self, number: int) -> Callable[..., Any]:
        """A function of the judge's, called over there."""

        def call(*arguments: Any, **named: Any) -> Any:
            parts = [wire.encode(part, self._refer) for part in (list(arguments), named)]
            wire.send(self._channel, ["callback", number, *parts])
            while (message := wire.receive(self._channel))[0] not in ("result", "error"):
                self._answer(message)
            if message[0] == "error":
                raise wire.restore(*message[1:])
            return wire.decode(message[1], self._resolve)

        return call
