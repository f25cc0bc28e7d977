"""How a reward function is written and called. Free of torch: the reward workers import this module.

A reward function is called by name with what it asks for, in one of three forms:

- plain: ``f(prompts, completions, completion_ids, **columns) -> list[float | None]``, once for a batch; every
  column of the data set is a list, ``answer`` among them;
- ``@per_sample``: ``f(prompt, completion, completion_ids, <columns>) -> float | None``, once for each
  completion, which is always its text;
- ``@per_step()``: ``f(steps, …) -> list[float] | None``, once for each completion, one score for each step.

Any of them may be ``async def``. ``None`` means that the reward does not apply to the row. With chat prompts,
``prompts`` are lists of messages and the plain form's ``completions`` are lists of one assistant message.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

from llmrl.errors import UserError

F = TypeVar("F", bound=Callable[..., Any])
Form = Literal["batch", "sample", "step"]

_MARK = "__llmrl_form__"
_GIVEN: Mapping[Form, tuple[str, ...]] = {
    "batch": ("prompts", "completions", "completion_ids"),
    "sample": ("prompt", "completion", "completion_ids"),
    "step": ("prompt", "completion", "completion_ids", "steps"),
}


class RewardError(Exception):
    """A reward function failed; the message is the reason in one line."""


Outcome = float | list[float] | RewardError | None
"""One reward on one completion: its value, its steps' values, why it failed, or None: it does not apply."""


class RewardRow(NamedTuple):
    """One completion, as reward functions know it."""

    prompt: str | list[dict[str, str]]
    """Plain text, or chat messages."""
    text: str
    tokens: list[int]
    columns: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RewardSignature:
    """How a reward function is called and its results are read."""

    form: Form
    separator: str
    """Where a per-step reward's completions are split."""
    is_async: bool
    required: Sequence[str]
    accepted: Sequence[str] | None
    """None: everything, through ``**kwargs``."""

    @property
    def one_by_one(self) -> bool:
        """Whether a call takes one completion and the next call has to wait for it."""
        return self.form != "batch" and not self.is_async

    def check(self, name: str, columns: Collection[str]) -> None:
        """Raise UserError where the reward called ``name`` requires what is neither given nor a column."""
        known = {*_GIVEN[self.form], *columns}
        missing = next((argument for argument in self.required if argument not in known), None)
        if missing is not None:
            raise UserError(
                f"reward {name!r} needs {missing!r}, and no row of the data has that column; "
                f"there is: {', '.join(sorted(known))}"
            )

    def calls(self, rows: Sequence[RewardRow]) -> list[dict[str, Any]]:
        """The arguments of each call that it takes to score these rows; a column that a row lacks is None."""
        calls = [self._batch(rows)] if self.form == "batch" else [self._single(row) for row in rows]
        if self.accepted is None:
            return calls
        return [{name: call[name] for name in self.accepted if name in call} for call in calls]

    def read(self, results: Sequence[Any], rows: Sequence[RewardRow]) -> list[Outcome]:
        """Each row's outcome from the calls' results. Raises RewardError where their number is wrong."""
        values = results[0] if self.form == "batch" else results
        if not isinstance(values, list) or len(values) != len(rows):
            raise RewardError(f"returned {_count(values)} for {len(rows)} completions")
        return [self._read(value, row) for value, row in zip(values, rows, strict=True)]

    def _batch(self, rows: Sequence[RewardRow]) -> dict[str, Any]:
        names = dict.fromkeys(name for row in rows for name in row.columns)
        batch: dict[str, Any] = {name: [row.columns.get(name) for row in rows] for name in names}
        batch["prompts"] = [row.prompt for row in rows]
        batch["completions"] = [
            row.text if isinstance(row.prompt, str) else [{"role": "assistant", "content": row.text}] for row in rows
        ]
        batch["completion_ids"] = [row.tokens for row in rows]
        return batch

    def _single(self, row: RewardRow) -> dict[str, Any]:
        given = {"prompt": row.prompt, "completion": row.text, "completion_ids": row.tokens}
        if self.form == "step":
            given["steps"] = [step for step, _ in split_steps(row.text, self.separator)]
        return {**row.columns, **given}

    def _read(self, value: Any, row: RewardRow) -> Outcome:
        try:
            if value is None or self.form != "step":
                return None if value is None else _number(value)
            count = len(split_steps(row.text, self.separator))
            if not isinstance(value, list) or len(value) != count:
                raise RewardError(f"returned {_count(value)} for {count} steps")
            return [_number(item) for item in value]
        except RewardError as error:
            return error


def per_sample(function: F) -> F:
    """Mark a reward that scores one completion at a time: ``f(completion, answer) -> float``."""
    setattr(function, _MARK, ("sample", ""))
    return function


def per_step(separator: str = "\n") -> Callable[[F], F]:
    """Mark a process reward: ``f(steps, answer) -> list[float]``, a step being the text up to a separator."""

    def mark(function: F) -> F:
        setattr(function, _MARK, ("step", separator))
        return function

    return mark


def split_steps(text: str, separator: str) -> list[tuple[str, int]]:
    """Each step of ``text`` and the character where it ends; a separator belongs to the step that it ends."""
    steps, end = [], 0
    for step in text.split(separator):
        end = min(end + len(step) + len(separator), len(text))
        steps.append((step, end))
    return steps if steps[-1][0] else steps[:-1]


def signature(function: Callable[..., Any]) -> RewardSignature:
    """What a reward function's marks and parameters say."""
    form, separator = getattr(function, _MARK, ("batch", ""))
    parameters = inspect.signature(function).parameters.values()
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return RewardSignature(
        form=form,
        separator=separator,
        is_async=inspect.iscoroutinefunction(function),
        required=[p.name for p in named if p.default is p.empty],
        accepted=None if any(p.kind is p.VAR_KEYWORD for p in parameters) else [p.name for p in named],
    )


def evaluate(function: Callable[..., Any], calls: Sequence[Mapping[str, Any]]) -> Iterator[Any]:
    """The result of each call, in floats, lists and None; what is none of these becomes its ``repr``."""
    if inspect.iscoroutinefunction(function):
        yield from map(_plain, _gather(function, calls))
    else:
        yield from (_plain(function(**call)) for call in calls)


def explain(error: BaseException) -> str:
    """The error's type, message and place in one line."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return text
    return f"{text} ({traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno})"


def _gather(function: Callable[..., Any], calls: Sequence[Mapping[str, Any]]) -> list[Any]:
    import asyncio  # slow to import, and a worker without async rewards does not need it

    async def gather() -> list[Any]:
        return await asyncio.gather(*(function(**call) for call in calls))

    return asyncio.run(gather())


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, int | float):
        return None if value is None else float(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    to_list = getattr(value, "tolist", None)  # numpy and torch
    return _plain(to_list()) if to_list is not None else repr(value)[:200]


def _number(value: Any) -> float:
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise RewardError(f"returned {value}, which is not a finite number")


def _count(value: Any) -> str:
    return f"{len(value)} values" if isinstance(value, list) else str(value)
