"""Data sets to prompts, prompts to token ids, and the order in which training sees them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any, Literal, NamedTuple

import numpy as np

from llmrl.errors import UserError
from llmrl.types import Prompt
from llmrl.verifiers.math import extract_answer

FORMATS = {".json": "json", ".jsonl": "json", ".csv": "csv", ".parquet": "parquet"}
"""Endings of files, also before ``.gz``."""
FINAL = ("####", "\\boxed")
"""What marks the final answer of a worked solution."""


@dataclass(frozen=True)
class DataConfig:
    """The problems to train and to evaluate on."""

    name: str = "data/arithmetic/train.jsonl"
    """Training problems: a json, jsonl, csv or parquet file (also .gz), or a data set on the Hub."""
    subset: str | None = None
    """Configuration of a data set from the Hub, such as `main`."""
    split: str = "train"
    """Split of a data set from the Hub for training."""
    heldout: str | None = None
    """Problems that are only evaluated on: a file or a data set. Unset: `heldout_split` of a data set from the Hub;
    of a file called `train…`, the one called `heldout…` or `test…` beside it; of any other, a tenth of its rows and
    at most `heldout_rows`, which are then not trained on."""
    heldout_split: str = "test"
    """Split of a data set from the Hub for evaluation."""
    heldout_rows: int = 500
    """Most rows of a training file that are held out where `heldout` is unset."""
    prompt_column: str = "prompt"
    """Column of the question: a string or a list of chat messages."""
    answer_column: str | None = "answer"
    """Column of the reference answer, passed to rewards as `answer`; null (on the command line None) where no reward
    needs one."""
    extract_answer: bool = False
    """Whether the answer column may hold worked solutions, of which the final answer (after `####` or in `\\boxed{}`)
    is what counts."""
    on_missing_answer: Literal["error", "drop"] = "error"
    """What happens to rows without an answer: stop, or leave them out and count."""
    chat: bool = True
    """Whether the model sees string prompts as a user message in its chat template; rewards see the string."""
    system: str | None = None
    """System message put before string prompts."""
    template: str = "{prompt}"
    """What a string prompt is put into; other columns may be named too."""
    max_prompt_tokens: int = 512
    """Longest prompt in tokens."""
    on_long_prompt: Literal["error", "drop", "truncate"] = "error"
    """What happens to longer prompts: stop, leave them out and count, or cut their beginning."""

    def __post_init__(self) -> None:
        if self.max_prompt_tokens < 1 or self.heldout_rows < 1:
            raise ValueError("max_prompt_tokens and heldout_rows must be at least 1")
        if "prompt" not in [name for _, name, _, _ in Formatter().parse(self.template)]:
            raise ValueError(f"template {self.template!r} has no place for {{prompt}}")


class Problems(NamedTuple):
    """The two sides of a data set, and how many of their rows were left out for want of an answer."""

    train: list[Prompt]
    heldout: list[Prompt]
    unanswered: int


def load_problems(config: DataConfig) -> Problems:
    """The prompts to train on and the held-out ones; UserError names the file and row of whatever is missing."""
    prompts, missing = _load(config, heldout=False)
    if _has_heldout_side(config):
        heldout, more = _load(config, heldout=True)
        return Problems(prompts, heldout, missing + more)
    count = min(config.heldout_rows, len(prompts) // 10)
    order = np.random.default_rng(0).permutation(len(prompts))  # files are often sorted by subject or difficulty
    train, heldout = sorted(order[count:]), sorted(order[:count])
    return Problems([prompts[i] for i in train], [prompts[i] for i in heldout], missing)


def load_heldout(config: DataConfig) -> list[Prompt]:
    """The held-out prompts alone."""
    return _load(config, heldout=True)[0] if _has_heldout_side(config) else load_problems(config).heldout


def describe_heldout(config: DataConfig) -> str:
    """Where the held-out problems come from, in words."""
    if config.heldout is not None:
        return config.heldout
    if not is_file(config.name):
        return f"{config.name} ({config.heldout_split})"
    return _beside(config.name) or f"{config.name} (the rows that are held out of it)"


def load_prompts(config: DataConfig) -> list[Prompt]:
    """All prompts of the data set ``config.name``."""
    return _load(config, heldout=False)[0]


def is_file(name: str) -> bool:
    """Whether a data set's name means a local file rather than one on the Hub."""
    return _format(name) is not None


def load_rows(name: str, split: str = "train", subset: str | None = None) -> list[dict[str, Any]]:
    """The rows of a local file or of a data set on the Hub; never empty."""
    if is_file(name) and not Path(name).is_file():
        raise UserError(f"data file not found: {name}")
    try:
        rows = _json_rows(Path(name)) if _format(name) == "json" else _table_rows(name, split, subset)
    except Exception as error:  # the library raises its own many kinds; the cause is what the user needs
        cause = str(error.__cause__ or "") or str(error)
        raise UserError(f"cannot read the data set {name}: {' '.join(cause.split())[:200]}") from error
    if not rows:
        raise UserError(f"the data set {name} is empty")
    return rows


def make_encoder(tokenizer: Any, config: DataConfig) -> Callable[[Prompt], list[int]]:
    """A function from prompts to token ids, through the chat template where the prompt is a chat."""

    def encode(prompt: Prompt) -> list[int]:
        plain = isinstance(prompt.content, str) and not config.chat
        ids = tokenizer.encode(prompt.content) if plain else _chat_ids(tokenizer, prompt, config.system)
        return list(ids[-config.max_prompt_tokens :]) if config.on_long_prompt == "truncate" else list(ids)

    return encode


def fit_prompts(
    prompts: Sequence[Prompt], encode: Callable[[Prompt], list[int]], config: DataConfig
) -> tuple[list[Prompt], int]:
    """The prompts that are short enough, and how many were dropped; raises UserError if none may be.

    A prompt without any token is an error too: the tokenizer is not the one that the text was written for.
    """
    lengths = [len(encode(prompt)) for prompt in prompts]
    if 0 in lengths:
        empty = prompts[lengths.index(0)].id
        raise UserError(f"prompt {empty} becomes no token at all: is this the tokenizer that the model was made with?")
    limit = config.max_prompt_tokens
    long = [prompt for prompt, length in zip(prompts, lengths, strict=True) if length > limit]
    if long and config.on_long_prompt == "error":
        raise UserError(
            f"{len(long)} of {len(prompts)} prompts are longer than data.max_prompt_tokens={limit} "
            f"(first: {long[0].id}); raise it, or set data.on_long_prompt to drop or truncate"
        )
    kept = [prompt for prompt, length in zip(prompts, lengths, strict=True) if length <= limit]
    if prompts and not kept:
        raise UserError(f"every prompt is longer than data.max_prompt_tokens={limit}")
    return kept, len(long)


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


def _chat_ids(tokenizer: Any, prompt: Prompt, system: str | None) -> list[int]:
    if tokenizer.chat_template is None:
        raise UserError("the model's tokenizer has no chat template; with --data.no-chat it is given plain text")
    try:
        return tokenizer.apply_chat_template(_messages(prompt, system), add_generation_prompt=True, return_dict=False)
    except Exception as error:  # a template is a program of the model's maker
        raise UserError(f"the model's chat template refuses prompt {prompt.id}: {error}") from error


def _messages(prompt: Prompt, system: str | None) -> list[dict[str, str]]:
    """A chat as it is; a string as what a user says."""
    if not isinstance(prompt.content, str):
        return [dict(message) for message in prompt.content]
    first = [{"role": "system", "content": system}] if system else []
    return [*first, {"role": "user", "content": prompt.content}]


def _has_heldout_side(config: DataConfig) -> bool:
    return config.heldout is not None or not is_file(config.name) or _beside(config.name) is not None


def _load(config: DataConfig, *, heldout: bool) -> tuple[list[Prompt], int]:
    """The prompts of one data set, and how many of its rows were dropped."""
    name = (config.heldout or _beside(config.name) or config.name) if heldout else config.name
    rows = load_rows(name, config.heldout_split if heldout else config.split, config.subset)
    for column in filter(None, (config.prompt_column, config.answer_column)):
        if column not in rows[0]:
            raise UserError(f"{name} has no column {column!r}; it has {', '.join(rows[0])}")
    kept = [index for index, row in enumerate(rows) if not _is_dropped(row, config)]
    if not kept:
        raise UserError(f"no row of {name} has an answer in {config.answer_column!r}")
    ids = _ids(rows, name)
    return [_prompt(rows[i], ids[i], f"{name} row {i + 1}", config) for i in kept], len(rows) - len(kept)


def _ids(rows: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    """The column ``id`` where it tells all rows apart, else the file's name and the row's number."""
    given = [row.get("id") for row in rows]
    if None not in given and len(set(map(str, given))) == len(given):
        return [str(identity) for identity in given]
    return [f"{Path(name).stem}-{index}" for index in range(len(rows))]


def _beside(name: str) -> str | None:
    """The held-out file that lies beside a training file, if there is one."""
    path = Path(name)
    if not is_file(name) or not path.name.startswith("train"):
        return None
    candidates = [path.with_name(path.name.replace("train", word, 1)) for word in ("heldout", "test")]
    return next((str(candidate) for candidate in candidates if candidate.is_file()), None)


def _is_dropped(row: Mapping[str, Any], config: DataConfig) -> bool:
    return config.on_missing_answer == "drop" and config.answer_column is not None and not _cell(row, config)


def _cell(row: Mapping[str, Any], config: DataConfig) -> str:
    """What stands in the answer column; "" for nothing."""
    answer = row.get(config.answer_column or "")
    if isinstance(answer, list | dict):
        raise UserError(f"an answer must be a text or a number, not {str(answer)[:60]}")
    return "" if answer is None or answer != answer else str(answer).strip()


def _format(name: str) -> str | None:
    """The kind of file that a name ends in, be it packed or not; None where it is no file's."""
    path = Path(name.lower())
    return FORMATS.get(Path(path.stem).suffix if path.suffix == ".gz" else path.suffix)


def _json_rows(path: Path) -> list[dict[str, Any]]:
    """As Python reads JSON: Arrow would turn texts that look like dates into dates."""
    data = gzip.decompress(path.read_bytes()) if path.suffix.lower() == ".gz" else path.read_bytes()
    text = data.decode()
    if text.lstrip().startswith("["):
        return json.loads(text)
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def _table_rows(name: str, split: str, subset: str | None) -> list[dict[str, Any]]:
    """A csv or parquet file, or a data set on the Hub."""
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # or it prints the traceback of what is raised anyway
    kind = _format(name)
    if kind is None:
        return [dict(row) for row in datasets.load_dataset(name, subset, split=split)]
    if not Path(name).stat().st_size:
        return []
    words: dict[str, Any] = {"keep_default_na": False} if kind == "csv" else {}  # an answer may be NA
    return [dict(row) for row in datasets.load_dataset(kind, data_files=name, split="train", **words)]


def _prompt(row: Mapping[str, Any], identity: str, where: str, config: DataConfig) -> Prompt:
    content = row.get(config.prompt_column)
    if not content:
        raise UserError(f"{where}: empty {config.prompt_column!r}")
    if not isinstance(content, str | list):
        raise UserError(f"{where}: {config.prompt_column!r} must be a text or a list of messages, not {content!r}")
    return Prompt(
        id=identity,
        content=_content(content, row, where, config),
        answer=_answer(row, where, config),
        extra={k: v for k, v in row.items() if k not in (config.prompt_column, "answer")},
    )


def _answer(row: Mapping[str, Any], where: str, config: DataConfig) -> str | None:
    """The reference answer, which may be the last word of a worked solution."""
    if config.answer_column is None:
        return None
    text = _cell(row, config)
    if not text:
        raise UserError(f"{where}: no answer in {config.answer_column!r}")
    is_solution = config.extract_answer and any(mark in text for mark in FINAL)
    final = extract_answer(text) if is_solution else text
    if not final or (config.extract_answer and not is_solution and "\n" in text):
        raise UserError(f"{where}: no final answer in {config.answer_column!r}: {text[-60:]!r}")
    return final


def _content(
    content: str | list[Any], row: Mapping[str, Any], where: str, config: DataConfig
) -> str | tuple[dict[str, str], ...]:
    if not isinstance(content, str):
        return tuple(_message(message, where) for message in content)
    try:
        return config.template.format(**{**row, "prompt": content})
    except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{where}: data.template cannot be filled: {type(error).__name__} {error}") from error


def _message(message: Any, where: str) -> dict[str, str]:
    if not isinstance(message, Mapping) or not all(isinstance(message.get(k), str) for k in ("role", "content")):
        raise UserError(f"{where}: a chat message needs role and content, not {str(message)[:60]!r}")
    return {"role": message["role"], "content": message["content"]}
