"""The child's side of the reward pool: load the functions it is told to, call them, answer.

Requests are pickles and come from the trainer. Answers are JSON, so that nothing a reward function does, or
lets a completion do, can run code in the trainer.
"""

from __future__ import annotations

import fcntl
import json
import os
import pickle
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from llmrl.errors import UserError
from llmrl.rewards import evaluate, explain, signature
from llmrl.verifiers.loader import load_function


def main(channel: int, lifeline: int) -> None:
    """Serve requests from the socket ``channel`` until the other side closes it."""
    for descriptor in (channel, lifeline):
        os.set_inheritable(descriptor, False)
    die_with_parent(lifeline)
    functions: dict[str, Callable[..., Any]] = {}
    with open(channel, "rb") as reader, open(os.dup(channel), "wb") as writer:
        # A child of a reward function must not keep the channel open after the worker's death.
        os.register_at_fork(after_in_child=lambda: (reader.close(), writer.close()))
        while reader.peek(1):
            spec, calls = pickle.load(reader)
            answer = json.dumps(_answer(functions, spec, calls)).encode()
            writer.write(len(answer).to_bytes(8, "big") + answer)
            writer.flush()


def _answer(functions: dict[str, Callable[..., Any]], spec: str, calls: list[Any] | None) -> tuple[str, Any]:
    """``calls`` None: load the function and describe it."""
    try:
        if calls is None:
            functions[spec] = load_function(spec)
            return "ok", asdict(signature(functions[spec]))
        return "ok", list(evaluate(functions[spec], calls))
    except UserError as error:
        return "user error", str(error)
    except BaseException as error:  # SystemExit too: the worker is not the reward's to end
        return "error", explain(error)


def die_with_parent(lifeline: int) -> None:
    """Have the kernel kill the worker's group when the trainer, which holds the pipe's other end, is gone.

    A thread waiting on the pipe would not do: a regular expression can hold the interpreter's lock for ever.
    Nor would PR_SET_PDEATHSIG, which fires when the thread that started the worker ends.
    """
    if sys.platform == "linux":
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
