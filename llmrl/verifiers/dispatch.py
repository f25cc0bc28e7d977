"""One reward function on many completions: in batches, side by side, until it is known which rows fail."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from llmrl.rewards import Outcome, RewardError, RewardRow, RewardSignature, signature
from llmrl.verifiers.pool import RewardPool
from llmrl.verifiers.watchdog import call_here

RewardFunction = str | Callable[..., Any]
"""A callable runs in this process; ``path/to/file.py:name`` or ``package.module:name`` in a worker."""


@dataclass(frozen=True, slots=True)
class Reward:
    """A reward function, ready to be called."""

    name: str
    function: RewardFunction
    signature: RewardSignature


class Dispatcher:
    """Calls reward functions, each call within ``timeout_s``, in ``workers`` processes or in this one."""

    def __init__(self, workers: int, timeout_s: float) -> None:
        self._pool = RewardPool(workers)
        self._workers = workers
        self._timeout_s = timeout_s

    def load(self, function: RewardFunction) -> Reward:
        """The reward, described. Raises UserError where it cannot be loaded."""
        described = self._pool.load(function) if isinstance(function, str) else signature(function)
        return Reward(name_of(function), function, described)

    def outcomes(self, reward: Reward, groups: Sequence[Sequence[RewardRow]]) -> Generator[tuple[int, Outcome]]:
        """The outcome on each row, by its position among the rows of all groups, as they come.

        A batch that fails is called again row by row, which shows whose fault it was. Raises RewardHang.
        Closing the generator early closes the dispatcher.
        """
        rows = [row for group in groups for row in group]
        lane = ThreadPoolExecutor(self._workers if isinstance(reward.function, str) else 1)
        pending: dict[Future[list[Outcome] | None], Sequence[int]] = {}

        def submit(batch: Sequence[int]) -> None:
            pending[lane.submit(self._attempt, reward, [rows[i] for i in batch])] = batch

        try:
            for batch in self._batches(reward, [len(group) for group in groups]):
                submit(batch)
            while pending:
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    batch = pending.pop(future)
                    found = future.result()
                    if found is not None:
                        yield from zip(batch, found, strict=True)
                        continue
                    for i in batch:
                        submit([i])
        except BaseException:  # an early leave included: kill what runs, so as not to wait for it
            self.close()
            raise
        finally:
            lane.shutdown(cancel_futures=True)

    def close(self) -> None:
        """End the worker processes."""
        self._pool.close()

    def _batches(self, reward: Reward, sizes: Sequence[int]) -> Iterator[Sequence[int]]:
        """Rows that a job takes: all in this process; in a worker a single one or a share of whole groups."""
        rows = range(sum(sizes))
        if not isinstance(reward.function, str):
            yield rows
        elif reward.signature.one_by_one:
            yield from ([i] for i in rows)
        else:
            ends = [0, *accumulate(sizes)]
            cuts = [ends[len(sizes) * i // self._workers] for i in range(self._workers + 1)]
            yield from (rows[start:end] for start, end in pairwise(cuts) if start < end)

    def _attempt(self, reward: Reward, rows: Sequence[RewardRow]) -> list[Outcome] | None:
        """The outcome on each row; None where several rows failed together."""
        calls = reward.signature.calls(rows)
        try:
            if isinstance(reward.function, str):
                results = self._pool.call(reward.function, calls, self._timeout_s)
            else:
                results = call_here(reward.function, calls, self._timeout_s, reward.name)
            return reward.signature.read(results, rows)
        except RewardError as error:
            return [error] if len(rows) == 1 else None


def name_of(function: RewardFunction) -> str:
    """The name of the reward's metrics."""
    if isinstance(function, str):
        return function.rpartition(":")[2]
    return getattr(function, "__name__", type(function).__name__)
