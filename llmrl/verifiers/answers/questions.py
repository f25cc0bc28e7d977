"""The child's side of the symbolic stage: a template that imports sympy once and forks the process that answers.

The template never reads a question, so the child that follows a killed one starts clean and within milliseconds.
Questions and answers are lines of JSON.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import socket
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from typing import Any

from llmrl.verifiers.answers import symbolic
from llmrl.verifiers.worker import die_with_parent

MEMORY = 2 << 30
"""Bytes of address space of the child; beyond it an evaluation ends with MemoryError."""
QUESTIONS = 20_000
"""That one child answers before a fresh one takes over, so that sympy's caches cannot grow without bound."""

_WARM_UP = (
    r"\frac{1+\sqrt{5}}{2}", "x^{2}+2x+1", r"\{1,2\}", r"(1,\infty)", r"2\sin(x)+\ln{y}", r"|x-1|", r"\log_{2}{8}",
    r"(a_{1}+1)^{n}", r"e^{i\pi}", "3*4/5", r"\sqrt[3]{2}\pi", "f(x)", "-7!", r"x(x+1)(x-2)", r"10^{-3}",
)  # fmt: skip


def main(channel: int, lifeline: int) -> None:
    """Fork children that answer the questions from the socket ``channel``, one after the other, until it closes."""
    for descriptor in (channel, lifeline):
        os.set_inheritable(descriptor, False)
    die_with_parent(lifeline)
    for text in _WARM_UP:  # the parser learns its grammar on the way
        with suppress(symbolic.Unreadable):
            symbolic.parse(text)
    gc.freeze()
    connection = socket.socket(fileno=channel)
    while True:
        child = os.fork()
        if child == 0:
            _serve(connection)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
            with suppress(BlockingIOError):
                if connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b"":
                    return
        _send(connection, {"died": status})


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")


def _serve(connection: socket.socket) -> None:
    """Answer questions until the other side closes or their number is reached."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    reader = connection.makefile("rb", buffering=0)
    _send(connection, {"ready": os.getpid()})
    for _ in range(QUESTIONS):
        line = reader.readline()
        if not line:
            return
        question = json.loads(line)
        _send(
            connection,
            {"id": question["id"], **_answer(question, lambda q=question: _send(connection, {"gold": q["id"]}))},
        )


def _answer(question: dict[str, Any], gold_is_fine: Callable[[], None]) -> dict[str, Any]:
    """``verdict``, or ``gold``: why the reference answer cannot be judged by."""
    try:
        _check_gold(question["kind"], question["gold"])
    except symbolic.Unreadable:
        return {"verdict": False}  # it is compared as text only
    except (symbolic.TooLarge, MemoryError, RecursionError) as error:
        return {"gold": f"the reference answer is too large to evaluate ({type(error).__name__})"}
    except Exception:
        return {"verdict": False}
    gold_is_fine()
    try:
        return {"verdict": _verdict(question)}
    except Exception:  # whatever sympy raises on a strange answer, the answer is not equal
        return {"verdict": False}


def _check_gold(kind: str, gold: str) -> None:
    if kind == "near":
        return
    tree = symbolic.parse(gold)
    if kind == "value" and not getattr(tree, "free_symbols", None):
        with suppress(ZeroDivisionError, ValueError, TypeError, AttributeError):
            symbolic.evaluate(tree, {})


def _verdict(question: dict[str, Any]) -> bool:
    pred, gold = question["pred"], question["gold"]
    match question["kind"]:
        case "value":
            return symbolic.same_value(pred, gold)
        case "near":
            return symbolic.near(pred, Fraction(gold), Fraction(question["tolerance"]))
        case "relation":
            return symbolic.same_relation(pred, question["pred_sign"], gold, question["gold_sign"])
        case "set":
            return symbolic.same_set(pred, gold)
        case kind:
            raise ValueError(kind)
