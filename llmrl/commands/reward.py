"""``llmrl reward FILE:NAME --data rows.jsonl``: what does a reward say of real rows, before any training?"""

from __future__ import annotations

import json
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from llmrl.config import check_output, parse_options
from llmrl.errors import UserError
from llmrl.prompts import DataConfig, load_prompts, load_rows
from llmrl.rewards import Outcome, RewardError, RewardRow
from llmrl.verifiers.dispatch import name_of
from llmrl.verifiers.loader import resolve
from llmrl.verifiers.pool import RewardPool

BINS = 10
BAR = 40


@dataclass(frozen=True)
class RewardConfig:
    """The rows and how they are read."""

    data: str = ""
    """File or data set with one completion a row."""
    prompt_column: str = "prompt"
    """Column of the prompt: a string or chat messages."""
    completion_column: str = "completion"
    """Column of the completion that is scored."""
    answer_column: str = "answer"
    """Column of the reference answer, where there is one."""
    extract_answer: bool = False
    """As `data.extract_answer` in training."""
    tokenizer: str | None = None
    """Model whose tokenizer makes `completion_ids`; needed by rewards that ask for them."""
    limit: int = 1000
    """Most rows that are scored."""
    timeout_s: float = 30.0
    """Longest time a row may take."""
    show: int = 10
    """Rows that are printed."""
    output: str | None = None
    """File for every row's score, as jsonl."""

    def __post_init__(self) -> None:
        if self.limit < 1 or self.timeout_s <= 0:
            raise ValueError("limit must be at least 1, timeout_s above 0")


class Scored(NamedTuple):
    """What the reward said of a row, and how long it took."""

    row: RewardRow
    outcome: Outcome
    seconds: float


def main(arguments: Sequence[str]) -> None:
    """Score every row by itself and print scores, times, failures and a histogram."""
    if not arguments or arguments[0].startswith("-"):
        parse_options(RewardConfig, [a for a in arguments if a in ("-h", "--help")], RewardConfig())
        raise UserError("name the reward first: llmrl reward path/to/file.py:name --data rows.jsonl")
    config = parse_options(RewardConfig, arguments[1:], RewardConfig())
    if not config.data:
        raise UserError("--data names no rows to score")
    check_output(config.output)
    spec = resolve(arguments[0])
    scored = score(spec, read_rows(config), config)
    print(summary(name_of(spec), scored, config.show))
    if config.output:
        lines = [json.dumps(_record(one), ensure_ascii=False) + "\n" for one in scored]
        Path(config.output).write_text("".join(lines))


def read_rows(config: RewardConfig) -> list[RewardRow]:
    """The data's rows as a reward gets them in training; without a tokenizer, ``completion_ids`` are empty."""
    first = load_rows(config.data)[0]
    for option in ("prompt_column", "completion_column"):
        if (column := getattr(config, option)) not in first:
            name = option.replace("_", "-")
            raise UserError(f"{config.data} has no column {column!r}; --{name} takes one of {', '.join(first)}")
    data = DataConfig(
        name=config.data,
        prompt_column=config.prompt_column,
        answer_column=config.answer_column if config.answer_column in first else None,
        extract_answer=config.extract_answer,
    )
    prompts = load_prompts(data)[: config.limit]
    texts = [_text(p.columns[config.completion_column], p.id) for p in prompts]
    shown = [p.content if isinstance(p.content, str) else [dict(m) for m in p.content] for p in prompts]
    rows = zip(shown, texts, _tokens(config.tokenizer, texts), [p.columns for p in prompts], strict=True)
    return [RewardRow(*row) for row in rows]


def score(spec: str, rows: Sequence[RewardRow], config: RewardConfig) -> list[Scored]:
    """Each row by itself in a killable worker, as in training where a batch fails."""
    timeout_s = config.timeout_s
    with RewardPool(1) as pool:
        signature = pool.load(spec)
        if "completion_ids" in signature.required and config.tokenizer is None:
            raise UserError(f"reward {name_of(spec)!r} asks for completion_ids: name a model with --tokenizer")
        signature.check(name_of(spec), {name for row in rows for name, v in row.columns.items() if v is not None})
        pool.call(spec, [], timeout_s)  # the worker is up before the first clock starts
        return [_score(pool, spec, signature, row, timeout_s) for row in rows]


def summary(name: str, scored: Sequence[Scored], show: int) -> str:
    """What a person wants to know before training with the reward."""
    values = [value for one in scored if (value := _value(one.outcome)) is not None]
    failures = [one for one in scored if isinstance(one.outcome, RewardError)]
    silent = sum(one.outcome is None for one in scored)
    times = sorted(one.seconds for one in scored)
    lines = [
        *[f"{_shown(one.outcome):>9}  {one.seconds * 1e3:8.2f} ms  {one.row.text[-100:]!r}" for one in scored[:show]],
        "" if show else None,
        f"{name}: {len(scored):,} rows, {len(values):,} scored, {silent:,} where it does not apply, "
        f"{len(failures):,} failed",
        f"time a row: median {statistics.median(times) * 1e3:.2f} ms, longest {times[-1] * 1e3:.2f} ms",
    ]
    if values:
        spread = statistics.pstdev(values)
        lines.append(
            f"score: mean {statistics.fmean(values):.4g}, std {spread:.4g}, from {min(values):.4g} to {max(values):.4g}"
        )
        lines += histogram(values)
        if spread == 0 and len(values) > 1:
            lines.append("every row got the same score: there would be nothing to learn from")
    for reason, count in Counter(str(one.outcome) for one in failures).most_common(5):
        lines.append(f"failed {count} times: {reason}")
    return "\n".join(line for line in lines if line is not None)


def histogram(values: Sequence[float]) -> list[str]:
    """A line for each distinct score, or for each of ten equal ranges where there are more."""
    if len(set(values)) <= BINS:
        counts = {f"{value:.4g}": count for value, count in sorted(Counter(values).items())}
    else:
        low, width = min(values), (max(values) - min(values)) / BINS
        bins = Counter(min(int((value - low) / width), BINS - 1) for value in values)
        counts = {f"{low + i * width:.4g} …": bins[i] for i in range(BINS)}
    label, most = max(map(len, counts)), max(counts.values())
    return [f"  {name:>{label}}  {'█' * round(BAR * count / most):{BAR}}  {count:,}" for name, count in counts.items()]


def _score(pool: RewardPool, spec: str, signature: Any, row: RewardRow, timeout_s: float) -> Scored:
    begin = time.perf_counter()
    try:
        (outcome,) = signature.read(pool.call(spec, signature.calls([row]), timeout_s), [row])
    except RewardError as error:
        outcome = error
    return Scored(row, outcome, time.perf_counter() - begin)


def _tokens(tokenizer: str | None, texts: Sequence[str]) -> list[list[int]]:
    if tokenizer is None:
        return [[] for _ in texts]
    from llmrl.policies.loading import load_tokenizer

    encode = load_tokenizer(tokenizer).encode
    return [encode(text, add_special_tokens=False) for text in texts]


def _text(completion: Any, row: str) -> str:
    """Of a chat, what the last message says."""
    text = completion[-1].get("content") if isinstance(completion, list) and completion else completion
    if not isinstance(text, str):
        raise UserError(f"the completion of {row} must be a text or a list of messages, not {completion!r}")
    return text


def _value(outcome: Outcome) -> float | None:
    return sum(outcome) if isinstance(outcome, list) else outcome if isinstance(outcome, float) else None


def _shown(outcome: Outcome) -> str:
    value = _value(outcome)
    return "failed" if isinstance(outcome, RewardError) else "-" if value is None else f"{value:.4g}"


def _record(one: Scored) -> dict[str, Any]:
    reason = str(one.outcome) if isinstance(one.outcome, RewardError) else None
    return {"completion": one.row.text, "score": _value(one.outcome), "failure": reason, "seconds": one.seconds}
