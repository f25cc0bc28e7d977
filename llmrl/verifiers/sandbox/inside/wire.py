"""How values cross from one process to another: as plain data of exact types, and references to all else.

JSON carries None, bool, int, float, str and list as themselves. Every other type that is plain data is an object with
one key, its tag. Of a class derived from a plain type only the plain part is sent, so that no method of a program's own
(``__eq__`` above all) ever reaches the side that compares.
"""

from __future__ import annotations

import builtins
import json
import os
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

LONGEST = 8 << 20
"""Bytes of a message."""
_LONG_INT = 1 << 4096

Refer = Callable[[object], dict[str, Any]]
"""The reference that stands for something that is not plain data, or TypeError."""

_TYPES = {
    kind.__name__: kind
    for kind in (bool, bytearray, bytes, complex, dict, float, frozenset, int, list, object, range, set, str, tuple)
}
_BASES: tuple[Any, ...] = (int, float, complex, str, bytes, bytearray, tuple, list, dict, set, frozenset)


class Broken(Exception):
    """What the other side sent is no message."""


class Gone(Broken):
    """The other side has hung up."""


def encode(value: Any, refer: Refer) -> Any:
    """The JSON tree of a value. Raises TypeError or RecursionError for what cannot be sent."""
    kind = type(value)
    if value is None or kind in (bool, float, str):
        return value
    if kind is int:
        return value if -_LONG_INT < value < _LONG_INT else {"int": hex(value)}
    if kind is list:
        return [encode(item, refer) for item in value]
    if kind in _ENCODERS:
        tag, parts = _ENCODERS[kind]
        return {tag: encode(parts(value), refer)}
    if kind is type and value is _TYPES.get(value.__name__):
        return {"type": value.__name__}
    for base in _BASES:
        if isinstance(value, base):
            return encode(base(value), refer)
    if kind.__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        return encode(value.item(), refer)
    return refer(value)


def decode(tree: Any, resolve: Callable[[str, Any], Any]) -> Any:
    """The value of a tree; ``resolve(tag, content)`` supplies what references stand for."""
    if isinstance(tree, list):
        return [decode(item, resolve) for item in tree]
    if not isinstance(tree, dict):
        return tree
    ((tag, content),) = tree.items()
    if tag == "int":
        return int(content, 16)
    if tag == "type":
        return _TYPES[content]
    if tag in _DECODERS:
        return _DECODERS[tag](decode(content, resolve))
    return resolve(tag, content)


def send(descriptor: int, tree: Any) -> None:
    """Write one message. Raises ValueError where it is too long, OSError where nobody reads."""
    data = json.dumps(tree, separators=(",", ":")).encode()
    if len(data) > LONGEST:
        raise ValueError(f"more than {LONGEST >> 20} MB of data")
    view = memoryview(len(data).to_bytes(4, "big") + data)
    while view:
        view = view[os.write(descriptor, view) :]


def receive(descriptor: int) -> Any:
    """Read one message. Raises Broken."""
    size = int.from_bytes(_read(descriptor, 4), "big")
    if size > LONGEST:
        raise Broken("a message longer than allowed")
    try:
        return json.loads(_read(descriptor, size))
    except (ValueError, RecursionError) as error:
        raise Broken(f"not a message: {error}") from None


def _read(descriptor: int, size: int) -> bytearray:
    data = bytearray()
    while len(data) < size:
        chunk = os.read(descriptor, min(size - len(data), 1 << 18))
        if not chunk:
            raise Gone("the program is gone")
        data += chunk
    return data


def describe(error: BaseException) -> list[Any]:
    """An exception as plain data: the names of its built-in classes, the nearest first, and its message."""
    names = [kind.__name__ for kind in type(error).__mro__ if getattr(builtins, kind.__name__, None) is kind]
    return [names[:-2], str(error)[:2000]]  # without BaseException and object


def restore(names: Any, message: Any) -> Exception:
    """The nearest built-in exception to one that was described."""
    for name in names:
        kind = getattr(builtins, name, None)
        if isinstance(kind, type) and issubclass(kind, Exception):
            try:
                return kind(message)
            except TypeError:
                continue
    return Exception(message)


def _pairs(value: Any) -> list[Any]:
    return list(dict.items(value))


_ENCODERS: dict[type, tuple[str, Callable[[Any], Any]]] = {
    tuple: ("tuple", list),
    set: ("set", list),
    frozenset: ("frozenset", list),
    dict: ("dict", _pairs),
    OrderedDict: ("OrderedDict", _pairs),
    Counter: ("Counter", _pairs),
    defaultdict: ("dict", _pairs),
    deque: ("deque", lambda value: [list(value), value.maxlen]),
    bytes: ("bytes", bytes.hex),
    bytearray: ("bytearray", bytearray.hex),
    complex: ("complex", lambda value: [value.real, value.imag]),
    range: ("range", lambda value: [value.start, value.stop, value.step]),
    slice: ("slice", lambda value: [value.start, value.stop, value.step]),
    Decimal: ("Decimal", str),
    Fraction: ("Fraction", lambda value: [value.numerator, value.denominator]),
    datetime: ("datetime", lambda value: [value.isoformat(), value.fold]),
    date: ("date", date.isoformat),
    time: ("time", lambda value: [value.isoformat(), value.fold]),
    timedelta: ("timedelta", lambda value: [value.days, value.seconds, value.microseconds]),
    type(...): ("Ellipsis", lambda value: None),
}
_DECODERS: dict[str, Callable[[Any], Any]] = {
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "dict": dict,
    "OrderedDict": OrderedDict,
    "Counter": lambda pairs: Counter(dict(pairs)),
    "deque": lambda parts: deque(*parts),
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "complex": lambda parts: complex(*parts),
    "range": lambda parts: range(*parts),
    "slice": lambda parts: slice(*parts),
    "Decimal": Decimal,
    "Fraction": lambda parts: Fraction(*parts),
    "datetime": lambda parts: datetime.fromisoformat(parts[0]).replace(fold=parts[1]),
    "date": date.fromisoformat,
    "time": lambda parts: time.fromisoformat(parts[0]).replace(fold=parts[1]),
    "timedelta": lambda parts: timedelta(*parts),
    "Ellipsis": lambda content: ...,
}
