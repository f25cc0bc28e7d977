"""Completions in, rewards out: call the reward functions, weigh their values, record every failure."""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import accumulate
from typing import Self

from llmrl.errors import UserError
from llmrl.rewards import Outcome, RewardError, RewardRow, split_steps
from llmrl.types import Completion, Group, Prompt, RewardFailure, StepReward
from llmrl.verifiers.dispatch import Dispatcher, Job, Reward, RewardFunction, name_of
from llmrl.verifiers.loader import resolve
from llmrl.verifiers.pool import RewardTimeout


class RewardsFailing(UserError):
    """A reward failed on more completions than the user allows."""


class Scorer:
    """Fills the rewards of groups of completions.

    ``functions`` gives each reward function its weight: a callable, or ``path/to/file.py:name`` or
    ``package.module:name``, which runs in worker processes that can be killed. A row's reward is the sum of
    weight times value over the functions that apply to it, and NaN where none applies or one failed.

    A process reward's values go to ``steps`` and their sum into the reward: what falls on the last token is
    the reward minus the ``steps``.

    ``timeout_s`` limits one call: of a batch, or of one completion where the function takes one at a time. A
    batch that fails is called again row by row, so that only the guilty rows fail; a function's value for a
    row must hence not depend on the other rows. A worker that has grown beyond ``worker_memory_mb`` is replaced
    before its next call. ``token_ends`` gives the character of ``completion.text``
    where each token ends; process rewards need it to place their steps.
    """

    def __init__(
        self,
        functions: Mapping[RewardFunction, float],
        *,
        timeout_s: float = 10.0,
        max_failure_share: float = 0.1,
        workers: int = 4,
        worker_memory_mb: float = 2048.0,
        token_ends: Callable[[Completion], list[int]] | None = None,
    ) -> None:
        self._functions = [resolve(f) if isinstance(f, str) else f for f in functions]
        self._weights = {name_of(f): weight for f, weight in functions.items()}
        self._max_failure_share = max_failure_share
        self._token_ends = token_ends
        self._dispatcher = Dispatcher(workers, timeout_s, worker_memory_mb)
        if not functions:
            raise UserError("there is no reward function to score with")
        name, count = Counter(map(name_of, functions)).most_common(1)[0]
        if count > 1:
            raise UserError(f"{count} rewards are called {name!r}: their metrics need different names")

    def check(self, prompts: Sequence[Prompt]) -> None:
        """Raise UserError, before any work, where a function does not load or needs what the data lacks."""
        filled = {name for p in prompts for name, value in p.columns.items() if value is not None}
        for reward in self._rewards:
            reward.signature.check(reward.name, filled)

    def __call__(self, groups: Sequence[Group]) -> list[Group]:
        """The groups with ``rewards``, ``parts``, ``steps`` and ``failures`` filled in.

        Raises RewardsFailing when more than ``max_failure_share`` of the completions failed one reward, and
        RewardHang when a callable does not return.
        """
        scoring = self.start()
        scoring.add(groups)
        return scoring.result()

    def start(self) -> Scoring:
        """Scoring of groups that come in pieces, each scored while the next is still being made."""
        return Scoring(self)

    def submit(self, groups: Sequence[Group]) -> dict[str, Job]:
        """Each reward's work on the completions of these groups, begun."""
        rows = [[_row(group.prompt, completion) for completion in group.completions] for group in groups]
        return {reward.name: self._dispatcher.start(reward, rows) for reward in self._rewards}

    def collect(self, groups: Sequence[Group], jobs: Sequence[Mapping[str, Job]]) -> list[Group]:
        """The groups filled in, once all of their work is done."""
        try:
            names = [reward.name for reward in self._rewards]
            outcomes = {name: self._outcomes(name, [of[name] for of in jobs], groups) for name in names}
        except BaseException:  # kill what runs, so as not to wait for it
            self.close()
            raise
        scored, start = [], 0
        for group in groups:
            end = start + len(group.completions)
            scored.append(self._fill(group, {name: of[start:end] for name, of in outcomes.items()}))
            start = end
        return scored

    def close(self) -> None:
        """End the worker processes."""
        self._dispatcher.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def _rewards(self) -> list[Reward]:
        rewards = [self._dispatcher.load(function) for function in self._functions]
        process = [reward.name for reward in rewards if reward.signature.form == "step"]
        if len(process) > 1:
            raise UserError(f"only one reward can be per step, not {' and '.join(process)}")
        if process and self._token_ends is None:
            raise UserError(f"per-step reward {process[0]!r} needs a trainer that knows where tokens end")
        return rewards

    def _outcomes(self, name: str, jobs: Sequence[Job], groups: Sequence[Group]) -> list[Outcome]:
        """One reward's outcome on each completion of all groups."""
        starts = [0, *accumulate(map(len, jobs))]
        outcomes: list[Outcome] = [None] * starts[-1]
        allowed, failed = self._max_failure_share * len(outcomes), 0
        for start, job in zip(starts, jobs, strict=False):
            for i, outcome in job.outcomes():
                outcomes[start + i] = outcome
                failed += isinstance(outcome, RewardError)
                if failed > allowed:
                    raise self._failing(name, outcomes, groups)
        return outcomes

    def _failing(self, name: str, outcomes: Sequence[Outcome], groups: Sequence[Group]) -> RewardsFailing:
        flat = [(group.prompt, completion) for group in groups for completion in group.completions]
        failed = [(row, o) for row, o in zip(flat, outcomes, strict=True) if isinstance(o, RewardError)]
        (prompt, completion), reason = failed[0]
        return RewardsFailing(
            f"reward {name!r} failed on {len(failed)} of {len(flat)} completions, more than the "
            f"{self._max_failure_share:.0%} allowed; prompt {prompt.id!r}: {reason}; "
            f"its completion begins {completion.text[:80]!r}"
        )

    def _fill(self, group: Group, outcomes: Mapping[str, Sequence[Outcome]]) -> Group:
        failures = [
            RewardFailure(
                name,
                group.prompt.id,
                sample,
                str(outcome),
                group.completions[sample].text,
                timed_out=isinstance(outcome, RewardTimeout),
            )
            for name, of in outcomes.items()
            for sample, outcome in enumerate(of)
            if isinstance(outcome, RewardError)
        ]
        samples = range(len(group.completions))
        return replace(
            group,
            rewards=tuple(self._total({name: of[i] for name, of in outcomes.items()}) for i in samples),
            parts={name: tuple(map(_value, of)) for name, of in outcomes.items()},
            steps=self._steps(group, outcomes),
            failures=tuple(failures),
        )

    def _total(self, outcomes: Mapping[str, Outcome]) -> float:
        """One completion's reward."""
        values = {name: _value(outcome) for name, outcome in outcomes.items()}
        terms = [self._weights[name] * value for name, value in values.items() if value is not None]
        failed = any(isinstance(outcome, RewardError) for outcome in outcomes.values())
        return math.fsum(terms) if terms and not failed else math.nan

    def _steps(self, group: Group, outcomes: Mapping[str, Sequence[Outcome]]) -> tuple[tuple[StepReward, ...], ...]:
        """Each completion's weighted process rewards, at the token that completes the step."""
        process = [reward for reward in self._rewards if reward.signature.form == "step"]
        if not process or self._token_ends is None:
            return ()
        name, separator = process[0].name, process[0].signature.separator
        return tuple(
            _place(split_steps(c.text, separator), scores, self._weights[name], self._token_ends(c))
            if isinstance(scores, list)
            else ()
            for c, scores in zip(group.completions, outcomes[name], strict=True)
        )


class Scoring:
    """The groups of one step on their way through the rewards."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._groups: list[Group] = []
        self._jobs: list[Mapping[str, Job]] = []

    def add(self, groups: Sequence[Group]) -> None:
        """Begin to score these too, and do not wait for it."""
        self._groups += groups
        self._jobs.append(self._scorer.submit(groups))

    def result(self) -> list[Group]:
        """All groups, scored; raises as the scorer does."""
        return self._scorer.collect(self._groups, self._jobs)


def reward_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """Of scored groups, under the names that TRL users know; rows without a valid reward are left out.

    ``reward_std`` is over all completions (ddof 1), ``frac_reward_zero_std`` the share of groups whose
    rewards are all the same. Also ``rewards/{name}/mean``, ``…/std`` (ddof 1), ``…/failed``, a count, and
    ``…/timeout``, how many of the failed ran out of time.
    """
    valid = [[reward for reward in group.rewards if not math.isnan(reward)] for group in groups]
    valid = [rewards for rewards in valid if rewards]
    everything = [reward for rewards in valid for reward in rewards]
    metrics = {
        "reward": _mean(everything),
        "reward_std": _std(everything),
        "frac_reward_zero_std": _mean([float(max(rewards) - min(rewards) < 1e-8) for rewards in valid]),
    }
    failed = Counter(failure.reward for group in groups for failure in group.failures)
    timeout = Counter(failure.reward for group in groups for failure in group.failures if failure.timed_out)
    for name in groups[0].parts if groups else ():
        values = [value for group in groups for value in group.parts[name] if value is not None]
        metrics[f"rewards/{name}/mean"] = _mean(values)
        metrics[f"rewards/{name}/std"] = _std(values)
        metrics[f"rewards/{name}/failed"] = float(failed[name])
        metrics[f"rewards/{name}/timeout"] = float(timeout[name])
    return metrics


def _row(prompt: Prompt, completion: Completion) -> RewardRow:
    """Copies, so that no reward function can change the record."""
    content = prompt.content
    shown = content if isinstance(content, str) else [dict(message) for message in content]
    return RewardRow(shown, completion.text, list(completion.tokens), prompt.columns)


def _value(outcome: Outcome) -> float | None:
    if isinstance(outcome, list):
        return math.fsum(outcome)
    return None if isinstance(outcome, RewardError) else outcome


def _place(
    steps: Iterable[tuple[str, int]], scores: Iterable[float], weight: float, token_ends: Sequence[int]
) -> tuple[StepReward, ...]:
    """Each step's weighted score at the first token that reaches the step's end."""
    last = len(token_ends) - 1
    return tuple(
        StepReward(min(bisect_left(token_ends, end), last), weight * score)
        for (_, end), score in zip(steps, scores, strict=True)
    )


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else math.nan


def _std(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else math.nan
