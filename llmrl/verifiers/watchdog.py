"""Calling a reward function in this process, where it can be watched but not killed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from typing import Any

from llmrl.errors import UserError
from llmrl.rewards import RewardError, evaluate, explain


class RewardHang(UserError):
    """A callable in this process ran past its limit, and nothing can stop it."""


def call_here(
    function: Callable[..., Any], calls: Sequence[Mapping[str, Any]], timeout_s: float, name: str
) -> list[Any]:
    """The function's result for each set of arguments, as ``llmrl.rewards.evaluate`` gives them.

    Raises RewardError for an exception in the function, and RewardHang when none comes for ``timeout_s``.
    """
    results: list[Any] = []
    finished: Future[None] = Future()

    def run() -> None:
        try:
            for result in evaluate(function, calls):
                results.append(result)
            finished.set_result(None)
        except BaseException as error:  # SystemExit too, or the caller would wait for nothing
            finished.set_exception(error)

    threading.Thread(target=run, name=f"reward {name}", daemon=True).start()
    before = -1
    while not finished.done() and len(results) > before:
        before = len(results)
        wait([finished], timeout=timeout_s)
    if not finished.done():
        raise RewardHang(
            f"reward {name!r} did not return within {timeout_s:g} s and cannot be stopped in this process; "
            f"give it as path/to/file.py:{name} to have it killed and counted as a failure"
        )
    if (error := finished.exception()) is not None:
        raise RewardError(explain(error)) from error
    return results
