"""Data sets to prompts, prompts to token ids, and the order in which training sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from llmrl.errors import UserError
from llmrl.types import Prompt

FORMATS = {".json": "json", ".jsonl": "json", ".gz": "json", ".csv": "csv", ".parquet": "parquet"}


@dataclass(frozen=True)
class DataConfig:
    """The problems to train and to evaluate on."""

    name: str = "data/arithmetic/train.jsonl"
    """Training problems: a json, jsonl, csv or parquet file, or a data set on the Hub."""
    heldout: str = "data/arithmetic/heldout.jsonl"
    """Problems that are only evaluated on."""
    split: str = "train"
    """Split of a data set from the Hub for training."""
    heldout_split: str = "test"
    """Split of a data set from the Hub for evaluation."""
    prompt_column: str = "prompt"
    """Column of the question: a string or a list of chat messages."""
    answer_column: str = "answer"
    """Column of the reference answer, passed to rewards as `answer`."""
    chat: bool = True
    """Whether string prompts become a user message in the model's chat template."""
    system: str | None = None
    """System message put before string prompts."""
    max_prompt_tokens: int = 512
    """Longest prompt in tokens."""
    on_long_prompt: Literal["error", "drop", "truncate"] = "error"
    """What happens to longer prompts: stop, leave them out and count, or cut their beginning."""


def load_prompts(config: DataConfig, *, heldout: bool = False) -> list[Prompt]:
    """The prompts of a data set; UserError names the file and row of whatever is missing."""
    name, split = (config.heldout, config.heldout_split) if heldout else (config.name, config.split)
    rows = load_rows(name, split)
    for column in (config.prompt_column, config.answer_column):
        if column not in rows[0]:
            raise UserError(f"{name} has no column {column!r}; it has {', '.join(rows[0])}")
    return [_prompt(row, index, name, config) for index, row in enumerate(rows)]


def load_rows(name: str, split: str = "train") -> list[dict[str, Any]]:
    """The rows of a local file or of a data set on the Hub; never empty."""
    import datasets

    datasets.disable_progress_bars()
    path = Path(name)
    kind = FORMATS.get(path.suffix)
    if kind and not path.is_file():
        raise UserError(f"data file not found: {name}")
    try:
        data = (
            datasets.load_dataset(kind, data_files=name, split="train")
            if kind
            else datasets.load_dataset(name, split=split)
        )
    except Exception as error:  # the library raises its own many kinds; the cause is what the user needs
        raise UserError(f"cannot read the data set {name}: {' '.join(str(error).split())[:200]}") from error
    rows = [dict(row) for row in data]
    if not rows:
        raise UserError(f"the data set {name} is empty")
    return rows


def make_encoder(tokenizer: Any, config: DataConfig) -> Callable[[Prompt], list[int]]:
    """A function from prompts to token ids, through the chat template where the prompt is a chat."""

    def encode(prompt: Prompt) -> list[int]:
        if isinstance(prompt.content, str):
            ids = tokenizer.encode(prompt.content)
        else:
            messages = [dict(message) for message in prompt.content]
            ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        return list(ids[-config.max_prompt_tokens :]) if config.on_long_prompt == "truncate" else list(ids)

    return encode


def fit_prompts(
    prompts: Sequence[Prompt], encode: Callable[[Prompt], list[int]], config: DataConfig
) -> tuple[list[Prompt], int]:
    """The prompts that are short enough, and how many were dropped; raises UserError if none may be.

    A prompt without any token is an error too: the tokenizer is not the one that the text was written for.
    """
    lengths = {p.id: len(encode(p)) for p in prompts}
    empty = next((name for name, length in lengths.items() if length == 0), None)
    if empty is not None:
        raise UserError(f"prompt {empty} becomes no token at all: is this the tokenizer that the model was made with?")
    long = [name for name, length in lengths.items() if length > config.max_prompt_tokens]
    if long and config.on_long_prompt == "error":
        raise UserError(
            f"{len(long)} of {len(prompts)} prompts are longer than data.max_prompt_tokens="
            f"{config.max_prompt_tokens} (first: {long[0]}); raise it, or set data.on_long_prompt to drop or truncate"
        )
    dropped = set(long)
    kept = [p for p in prompts if p.id not in dropped]
    if not kept:
        raise UserError(f"every prompt is longer than data.max_prompt_tokens={config.max_prompt_tokens}")
    return kept, len(dropped)


class PromptStream:
    """An endless, shuffled pass over the prompts whose whole state is one number.

    Each epoch is a permutation drawn from (seed, epoch), so that the order depends on nothing that ran before.
    """

    def __init__(self, prompts: Sequence[Prompt], seed: int) -> None:
        self.prompts = prompts
        self.seed = seed
        self.cursor = 0

    @property
    def epoch(self) -> float:
        """Passes over the data so far."""
        return self.cursor / len(self.prompts)

    def take(self, count: int) -> list[Prompt]:
        """The next ``count`` prompts."""
        positions = range(self.cursor, self.cursor + count)
        self.cursor += count
        return [self.prompts[i] for i in self._order(positions)]

    def _order(self, positions: Sequence[int]) -> Iterator[int]:
        size, order, current = len(self.prompts), None, -1
        for position in positions:
            epoch, offset = divmod(position, size)
            if epoch != current:
                order, current = np.random.default_rng((self.seed, epoch)).permutation(size), epoch
            assert order is not None
            yield int(order[offset])


def _prompt(row: Mapping[str, Any], index: int, name: str, config: DataConfig) -> Prompt:
    content, answer = row[config.prompt_column], row[config.answer_column]
    if content is None or not len(content):
        raise UserError(f"{name} row {index + 1}: empty {config.prompt_column!r}")
    if answer is None or str(answer).strip() == "":
        raise UserError(f"{name} row {index + 1}: no answer in {config.answer_column!r}")
    extra = {k: v for k, v in row.items() if k not in (config.prompt_column, config.answer_column, "id")}
    return Prompt(
        id=str(row.get("id", f"{Path(name).stem}-{index}")),
        content=_content(content, config),
        answer=str(answer),
        extra=extra,
    )


def _content(content: Any, config: DataConfig) -> str | tuple[dict[str, str], ...]:
    if not isinstance(content, str):
        return tuple(dict(message) for message in content)
    if not config.chat:
        return content
    system = [{"role": "system", "content": config.system}] if config.system else []
    return (*system, {"role": "user", "content": content})
