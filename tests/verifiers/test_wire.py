"""What crosses between a program and its judge: every plain value whole, and no message that does harm."""

from __future__ import annotations

import os
import socket
import threading
from collections import Counter, OrderedDict, deque
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrl.verifiers.sandbox.inside import wire
from llmrl.verifiers.sandbox.inside.judge import Line, Remote

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=2**4000, max_value=2**5000),
    st.floats(),
    st.text(),
    st.binary(),
    st.complex_numbers(allow_nan=False),
    st.decimals(allow_nan=False),
    st.fractions(),
    st.dates(),
    st.datetimes(),
    st.timedeltas(),
)
HASHABLE = st.recursive(SCALARS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=4)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.lists(inner, max_size=4).map(deque),
        st.sets(HASHABLE, max_size=4),
        st.dictionaries(HASHABLE, inner, max_size=4),
        st.dictionaries(HASHABLE, inner, max_size=4).map(OrderedDict),
        st.lists(HASHABLE, max_size=4).map(Counter),
    ),
    max_leaves=12,
)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from([*wire._DECODERS, "int", "type", "object", "callback", "x"]), inner, max_size=2
        ),
    ),
    max_leaves=8,
)


def refuse(*_: object) -> Any:
    raise TypeError("not plain data")


def same(one: Any, other: Any) -> bool:
    """Equal with equal types all through; NaN is itself."""
    return type(one) is type(other) and repr(one) == repr(other)


@settings(deadline=None)
@given(VALUES)
def test_a_value_comes_out_as_it_went_in(value: Any) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire.send(ours.fileno(), wire.encode(value, refuse))
        received = wire.decode(wire.receive(theirs.fileno()), refuse)
    if isinstance(value, set | frozenset | dict):
        assert type(received) is type(value)
        assert received == value or repr(sorted(map(repr, received))) == repr(sorted(map(repr, value)))
    else:
        assert same(received, value) or received == value


@pytest.mark.parametrize("value", [object(), object, len, Exception(), iter([]), [object()], {1: refuse}])
def test_what_is_not_plain_data_is_referred_to(value: Any) -> None:
    with pytest.raises(TypeError, match="not plain data"):
        wire.encode(value, refuse) if value is not object else wire.encode(Remote, refuse)


@settings(deadline=None, max_examples=300)
@given(TREES)
def test_no_answer_does_harm_to_the_judge(tree: Any) -> None:
    """Any JSON for an answer: the result is plain data or a stand-in, or the connection counts as broken."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        line = Line(ours.fileno())
        wire.send(theirs.fileno(), ["value", tree])
        try:
            result = line.ask("name", "f")
        except wire.Broken:
            assert line.broken
        else:
            assert only_plain(result)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=40), TREES)
def test_no_message_does_harm_to_the_judge(data: bytes, tree: Any) -> None:
    for message in (data, len(data).to_bytes(4, "big") + data):
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                theirs.sendall(message)
            with pytest.raises(wire.Broken):
                Line(ours.fileno()).ask("name", "f")
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            wire.send(theirs.fileno(), tree)
        line = Line(ours.fileno())
        with pytest.raises(wire.Broken):
            line.ask("name", "f")
        assert line.broken


def test_only_functions_that_were_handed_over_can_be_called_back() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        line = Line(ours.fileno())

        def program() -> None:
            with theirs:
                wire.receive(theirs.fileno())
                wire.send(theirs.fileno(), ["callback", 1, [], {"dict": []}])
                wire.receive(theirs.fileno())

        thread = threading.Thread(target=program)
        thread.start()
        with pytest.raises(wire.Broken):
            line.ask("call", Remote(line, 1), len)
        ours.close()
        thread.join()


def test_a_message_that_is_too_long_is_neither_sent_nor_read() -> None:
    reader, writer = os.pipe()
    with pytest.raises(ValueError, match="8 MB"):
        wire.send(writer, "x" * (9 << 20))
    os.write(writer, b"\xff" * 8)
    with pytest.raises(wire.Broken, match="longer than allowed"):
        wire.receive(reader)
    os.close(reader)
    os.close(writer)


PLAIN = (bool, int, float, complex, str, bytes, bytearray, Decimal, Fraction, range, slice, type(...), type(None))


def only_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(only_plain(item) for pair in value.items() for item in pair)
    if isinstance(value, list | tuple | set | frozenset | deque):
        return all(map(only_plain, value))
    plain = type(value) in PLAIN or type(value).__module__ == "datetime"
    return plain or value in wire._TYPES.values() or type(value) is Remote
