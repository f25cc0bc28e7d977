"""One reward function on many completions: in batches, side by side, until it is known which rows fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
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
    """Calls reward functions, each call within ``timeout_s``: up to ``workers`` at a time in processes of their own,
    and one at a time of each function in this process.
    """

    def __init__(self, workers: int, timeout_s: float, worker_memory_mb: float) -> None:
        self._pool = RewardPool(workers, worker_memory_mb)
        self._workers = workers
        self._timeout_s = timeout_s
        self._in_workers = ThreadPoolExecutor(workers)
        self._here: dict[str, ThreadPoolExecutor] = {}

    def load(self, function: RewardFunction) -> Reward:
        """The reward, described. Raises UserError where it cannot be loaded."""
        described = self._pool.load(function) if isinstance(function, str) else signature(function)
        return Reward(name_of(function), function, described)

    def start(self, reward: Reward, groups: Sequence[Sequence[RewardRow]]) -> Job:
        """Begin to score the rows of these groups, and do not wait for it."""
        job = Job([row for group in groups for row in group], partial(self._submit, reward))
        for batch in self._batches(reward, [len(group) for group in groups]):
            job.submit(batch)
        return job

    def close(self) -> None:
        """End the worker processes and forget what waits for one."""
        for lane in (self._in_workers, *self._here.values()):
            lane.shutdown(wait=False, cancel_futures=True)
        self._pool.close()

    def _submit(self, reward: Reward, rows: Sequence[RewardRow]) -> Future[list[Outcome] | None]:
        if isinstance(reward.function, str):
            return self._in_workers.submit(self._attempt, reward, rows)
        lane = self._here.setdefault(reward.name, ThreadPoolExecutor(1))
        return lane.submit(self._attempt, reward, rows)

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


class Job:
    """One reward's work on some rows."""

    def __init__(
        self,
        rows: Sequence[RewardRow],
        submit: Callable[[Sequence[RewardRow]], Future[list[Outcome] | None]],
    ) -> None:
        self._rows = rows
        self._submit = submit
        self._pending: dict[Future[list[Outcome] | None], Sequence[int]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def submit(self, batch: Sequence[int]) -> None:
        """Have these rows scored in one call, or each in its own where the function takes one at a time."""
        self._pending[self._submit([self._rows[i] for i in batch])] = batch

    def outcomes(self) -> Iterator[tuple[int, Outcome]]:
        """Position and outcome of each row, as they come.

        A batch that fails is called again row by row, which shows whose fault it was. Raises RewardHang.
        """
        while self._pending:
            for future in wait(self._pending, return_when=FIRST_COMPLETED).done:
                batch = self._pending.pop(future)
                found = future.result()
                if found is not None:
                    yield from zip(batch, found, strict=True)
                    continue
                for i in batch:
                    self.submit([i])


def name_of(function: RewardFunction) -> str:
    """The name of the reward's metrics."""
    if isinstance(function, str):
        return function.rpartition(":")[2]
    return getattr(function, "__name__", type(function).__name__)
