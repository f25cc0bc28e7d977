"""A reward tried on rows."""

import json
from pathlib import Path

import pytest
from conftest import ROOT

from llmrl.commands.reward import histogram, main
from llmrl.errors import UserError

CORRECT = str(ROOT / "rewards" / "math_answer.py:correct")


@pytest.fixture
def rows(tmp_path: Path) -> str:
    rows = [
        {"prompt": "1+1?", "completion": r"\boxed{2}", "answer": "2"},
        {"prompt": "1+2?", "completion": r"\boxed{4}", "answer": "3"},
        {"prompt": "1+3?", "completion": r"\boxed{4}", "answer": "4"},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(tmp_path / "rows.jsonl")


def test_scores_times_and_a_histogram(rows: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([CORRECT, "--data", rows, "--output", str(tmp_path / "scores.jsonl")])
    shown = capsys.readouterr().out
    assert "correct: 3 rows, 3 scored, 0 where it does not apply, 0 failed" in shown
    assert "mean 0.6667" in shown
    assert [line.split()[0] for line in shown.splitlines()[:3]] == ["1", "0", "1"]
    scores = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    assert [row["score"] for row in scores] == [1, 0, 1]
    assert all(row["failure"] is None and row["seconds"] > 0 for row in scores)


def test_failures_are_told_apart_from_wrong_answers(
    rows: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.py").write_text(
        "import time\nfrom llmrl import per_sample\n\n\n"
        "@per_sample\ndef odd(prompt, completion):\n"
        "    if '2' in prompt:\n        raise KeyError('two')\n"
        "    if '3' in prompt:\n        time.sleep(60)\n"
        "    return None\n"
    )
    main([f"{tmp_path / 'r.py'}:odd", "--data", rows, "--timeout-s", "0.5"])
    shown = capsys.readouterr().out
    assert "odd: 3 rows, 0 scored, 1 where it does not apply, 2 failed" in shown
    assert "KeyError: 'two'" in shown
    assert "longer than the limit of 0.5 s" in shown


def test_a_chat_s_completion_is_its_last_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"prompt": "q", "completion": [{"role": "assistant", "content": r"\boxed{7}"}], "answer": "7"}
    (tmp_path / "chat.jsonl").write_text(json.dumps(row) + "\n")
    main([CORRECT, "--data", str(tmp_path / "chat.jsonl")])
    assert "mean 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "names no rows"),
        (["--completion-column", "text"], "--completion-column takes one of prompt, completion, answer"),
        (["--prompt-column", "text"], "--prompt-column takes one of"),
    ],
)
def test_what_is_wrong_is_one_line(rows: str, options: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        main([CORRECT, *(["--data", rows] if options else []), *options])
    with pytest.raises(UserError, match="asks for completion_ids: name a model with --tokenizer"):
        main([str(ROOT / "rewards" / "length.py:short"), "--data", rows])


def test_token_rewards_get_their_tokens(rows: str, model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(ROOT / "rewards" / "length.py:short"), "--data", rows, "--tokenizer", str(model_dir)])
    assert "short: 3 rows, 3 scored" in capsys.readouterr().out


def test_histograms_count_every_value_once() -> None:
    few, many = histogram([0.0, 1.0, 1.0]), histogram([i / 99 for i in range(100)])
    assert [line.split()[-1] for line in few] == ["1", "2"]
    assert len(many) == 10
    assert sum(int(line.split()[-1]) for line in many) == 100
