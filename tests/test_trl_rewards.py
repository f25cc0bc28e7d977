"""Rewards written for TRL's trainer run here as they are."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

from llmrl.prompts import DataConfig, load_prompts
from llmrl.scoring import Scorer
from llmrl.types import Completion, Group, Prompt

ROWS = (
    '{"prompt": [{"role": "user", "content": "2+3?"}], "solution": "5", "difficulty": 1}\n'
    '{"prompt": [{"role": "user", "content": "2*4?"}], "solution": "8", "difficulty": 2}\n'
)


# In the style of TRL's documentation: completions are lists of messages, columns come as keyword arguments.


def format_reward(completions, **kwargs):
    contents = [completion[0]["content"] for completion in completions]
    return [1.0 if re.match(r"^<think>.*?</think>", content) else 0.0 for content in contents]


def accuracy_reward(completions: list[list[dict[str, str]]], solution: list[str], **kwargs) -> list[float | None]:
    contents = [completion[0]["content"] for completion in completions]
    return [float(content.endswith(sol)) for content, sol in zip(contents, solution, strict=True)]


def by_difficulty(prompts, completions, difficulty, **kwargs):
    assert all(prompt[0]["role"] == "user" for prompt in prompts)
    return [None if level > 1 else 0.5 for level in difficulty]


async def slow_judge(prompts, completions, **kwargs):
    async def judge(completion):
        await asyncio.sleep(0.01)
        return float(len(completion[0]["content"]))

    return await asyncio.gather(*(judge(completion) for completion in completions))


def by_tokens(completion_ids, **kwargs):
    return [len(ids) / 10 for ids in completion_ids]


def groups(folder: Path) -> list[Group]:
    (folder / "rows.jsonl").write_text(ROWS)
    prompts = load_prompts(DataConfig(name=str(folder / "rows.jsonl"), answer_column="solution"))
    texts = ("<think>easy</think>5", "7")
    return [group(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]


def group(prompt: Prompt, text: str) -> Group:
    return Group(prompt, [1], (Completion([1, 2, 3], [0.0] * 3, [True] * 3, text, "stop", [0] * 3),))


def values(scored: Sequence[Group], name: str) -> list[float | None]:
    return [group.parts[name][0] for group in scored]


def test_in_this_process(tmp_path: Path) -> None:
    functions = (format_reward, accuracy_reward, by_difficulty, slow_judge, by_tokens)
    with Scorer(dict.fromkeys(functions, 1.0)) as scorer:
        some = groups(tmp_path)
        scorer.check([group.prompt for group in some])
        scored = scorer(some)
    assert values(scored, "format_reward") == [1, 0]
    assert values(scored, "accuracy_reward") == [1, 0]
    assert values(scored, "by_difficulty") == [0.5, None]
    assert values(scored, "slow_judge") == [20, 1]
    assert values(scored, "by_tokens") == [0.3, 0.3]
    assert [group.rewards[0] for group in scored] == [1 + 1 + 0.5 + 20 + 0.3, 0 + 0 + 1 + 0.3]


def test_in_a_worker(tmp_path: Path) -> None:
    names = ("format_reward", "accuracy_reward", "slow_judge")
    with Scorer({f"{__file__}:{name}": 1.0 for name in names}) as scorer:
        scored = scorer(groups(tmp_path))
    assert [values(scored, name) for name in names] == [[1, 0], [1, 0], [20, 1]]


def test_string_prompts_give_string_completions(tmp_path: Path) -> None:
    """As in TRL, whatever the model's chat template makes of them."""

    def lengths(prompts, completions, **kwargs):
        assert prompts == ["2+3?"]
        return [float(len(completion)) for completion in completions]

    (tmp_path / "rows.jsonl").write_text('{"prompt": "2+3?", "answer": "5"}\n')
    (prompt,) = load_prompts(DataConfig(name=str(tmp_path / "rows.jsonl")))
    with Scorer({lengths: 1.0}) as scorer:
        assert scorer([group(prompt, "it is 5")])[0].rewards == (7.0,)
