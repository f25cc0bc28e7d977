"""Rows to prompts, prompts to ids, and an order that depends on nothing but the seed."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from llmrl.errors import UserError
from llmrl.prompts import DataConfig, PromptStream, fit_prompts, load_heldout, load_problems, load_prompts, make_encoder
from llmrl.types import Prompt


def write(folder: Path, rows: list[dict[str, object]], name: str = "rows.jsonl") -> DataConfig:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return DataConfig(name=str(folder / name), heldout=str(folder / name))


def test_columns_become_prompt_answer_and_extra(tmp_path: Path) -> None:
    config = write(tmp_path, [{"id": 7, "prompt": "1+1?", "answer": 2, "level": "easy"}])
    (prompt,) = load_prompts(config)
    assert prompt.id == "7"
    assert prompt.content == "1+1?"
    assert prompt.columns == {"answer": "2", "id": 7, "level": "easy"}


def test_messages_are_taken_as_they_are_and_strings_stay_strings_for_rewards(tmp_path: Path, model_dir: Path) -> None:
    chat = [{"role": "user", "content": "1+"}]
    rows: list[dict[str, object]] = [{"prompt": chat, "answer": "x"}, {"prompt": "1+", "answer": "x"}]
    config = write(tmp_path, rows)
    messages, text = load_prompts(config)
    assert messages.content == tuple(chat)
    assert text.content == "1+"
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'][0] }}={{ m['content'] }}{% endfor %}"

    def seen(**options: object) -> list[str]:
        encode = make_encoder(tokenizer, replace(config, **options))  # type: ignore[arg-type]
        return [tokenizer.decode(encode(prompt)) for prompt in (messages, text)]

    assert seen() == ["?=1+", "?=1+"]
    assert seen(system="ab") == ["?=1+", "?=ab?=1+"]
    assert seen(chat=False) == ["?=1+", "1+"]


def test_ids_that_do_not_tell_rows_apart_are_replaced(tmp_path: Path, model_dir: Path) -> None:
    rows: list[dict[str, object]] = [{"id": "same", "prompt": "1" * size, "answer": "1"} for size in (9, 2)]
    config = replace(write(tmp_path, rows), chat=False, max_prompt_tokens=5, on_long_prompt="drop")
    prompts = load_prompts(config)
    assert [p.id for p in prompts] == ["rows-0", "rows-1"]
    encode = make_encoder(AutoTokenizer.from_pretrained(model_dir), config)
    assert [p.id for p in fit_prompts(prompts, encode, config)[0]] == ["rows-1"]


def test_a_heldout_file_beside_the_training_file_is_found(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"prompt": f"q{i}", "answer": "1"} for i in range(20)]
    config = replace(write(tmp_path, rows, "train.jsonl"), heldout=None)
    write(tmp_path, rows[:3], "test.jsonl")
    assert [len(side) for side in load_problems(config)[:2]] == [20, 3]
    write(tmp_path, rows[:2], "heldout.jsonl")
    assert [len(side) for side in load_problems(config)[:2]] == [20, 2]


def test_answers_are_read_as_they_stand(tmp_path: Path) -> None:
    answers = ["2024-01-01", "NA", "1e-5", "007"]
    config = write(tmp_path, [{"prompt": "q", "answer": answer} for answer in answers])
    assert [p.answer for p in load_prompts(config)] == answers
    (tmp_path / "rows.csv").write_text("prompt,answer\n" + "".join(f"q,{a}\n" for a in ("NA", "x", "None")))
    assert [p.answer for p in load_prompts(DataConfig(name=str(tmp_path / "rows.csv")))] == ["NA", "x", "None"]
    with pytest.raises(UserError, match="must be a text or a number"):
        load_prompts(write(tmp_path, [{"prompt": "q", "answer": ["1", "2"]}]))


def test_the_answer_column_keeps_its_own_name_for_rewards(tmp_path: Path) -> None:
    config = replace(write(tmp_path, [{"prompt": "1+1?", "solution": "so 2\n#### 2"}]), answer_column="solution")
    assert load_prompts(config)[0].columns == {"answer": "so 2\n#### 2", "solution": "so 2\n#### 2"}
    extracted = load_prompts(replace(config, extract_answer=True))[0]
    assert extracted.columns == {"answer": "2", "solution": "so 2\n#### 2"}


def test_rows_without_an_answer_can_be_dropped_and_are_counted(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"prompt": "q", "answer": a} for a in ("1", None, " ", "4")]
    config = replace(write(tmp_path, rows), on_missing_answer="drop", heldout_rows=1, heldout=None)
    train, heldout, unanswered = load_problems(config)
    assert [p.answer for p in train + heldout] == ["1", "4"]
    assert [p.id for p in train] == ["rows-0", "rows-3"]
    assert unanswered == 2
    with pytest.raises(UserError, match=r"no row of .* has an answer"):
        load_problems(replace(write(tmp_path, rows[1:2]), on_missing_answer="drop"))


def test_answers_are_optional_where_no_column_is_named(tmp_path: Path) -> None:
    config = replace(write(tmp_path, [{"prompt": "say something"}]), answer_column=None)
    assert load_prompts(config)[0].answer is None


@pytest.mark.parametrize(
    ("cell", "answer"),
    [
        ("She has 3 * 4 = 12.\n#### 1,200", "1,200"),
        (r"So it is $\boxed{\frac{1}{2}}$.", r"\frac{1}{2}"),
        (r"\frac{3}{4}", r"\frac{3}{4}"),
        ("72", "72"),
        ("(2, 3)", "(2, 3)"),
    ],
)
def test_the_final_answer_of_a_solution_is_extracted_and_a_plain_answer_kept(
    tmp_path: Path, cell: str, answer: str
) -> None:
    config = replace(write(tmp_path, [{"prompt": "q", "answer": cell}]), extract_answer=True)
    assert load_prompts(config)[0].answer == answer


def test_a_template_is_filled_from_the_row(tmp_path: Path) -> None:
    config = write(tmp_path, [{"prompt": "2+2?", "answer": "4", "unit": "apples"}])
    config = replace(config, template="{prompt} Answer in {unit}.", chat=False)
    assert load_prompts(config)[0].content == "2+2? Answer in apples."


def test_a_tenth_of_a_file_without_a_heldout_side_is_held_out(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"id": i, "prompt": f"q{i}", "answer": "1"} for i in range(50)]
    config = replace(write(tmp_path, rows), heldout=None)
    train, heldout, _ = load_problems(config)
    assert (len(train), len(heldout)) == (45, 5)
    assert sorted(int(p.id) for p in train + heldout) == list(range(50))
    assert load_heldout(config) == heldout
    assert [int(p.id) for p in heldout] != list(range(45, 50))
    assert len(load_problems(replace(config, heldout_rows=2))[1]) == 2
    assert load_problems(write(tmp_path, rows))[0] == load_prompts(config)


def test_packed_files_of_every_kind(tmp_path: Path) -> None:
    import gzip

    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"prompt": "q", "answer": "1"}\n'))
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(b"prompt,answer\nq,1\n"))
    for name in ("a.jsonl.gz", "b.csv.gz"):
        assert load_prompts(DataConfig(name=str(tmp_path / name)))[0].answer == "1"


REAL = {
    "gsm8k/train.jsonl.gz": ("question", "72", 7473),
    "gsm8k/test.jsonl.gz": ("question", "18", 1319),
    "math/math500_test.jsonl.gz": ("problem", r"\left( 3, \frac{\pi}{2} \right)", 500),
    "math/math_train_answers.jsonl.gz": ("problem", "0", 7470),
    "svamp/svamp.jsonl.gz": ("question", "51", 1000),
    "mawps/mawps.jsonl.gz": ("question", "43", 2065),
}


@pytest.mark.skipif("LLMRL_DATASETS" not in os.environ, reason="LLMRL_DATASETS names no folder of real data sets")
@pytest.mark.parametrize("name", REAL)
def test_real_data_sets_are_read_whole(name: str) -> None:
    column, first, count = REAL[name]
    path = Path(os.environ["LLMRL_DATASETS"]) / name
    config = DataConfig(name=str(path), prompt_column=column, extract_answer=True, on_missing_answer="drop")
    prompts = load_prompts(config)
    assert len(prompts) == count
    assert prompts[0].answer == first
    assert all(prompt.answer for prompt in prompts)


@pytest.mark.skipif("LLMRL_DATASETS" not in os.environ, reason="LLMRL_DATASETS names no folder of real data sets")
def test_a_solution_s_own_final_answer_is_the_data_s() -> None:
    path = Path(os.environ["LLMRL_DATASETS"]) / "gsm8k" / "train.jsonl.gz"
    config = DataConfig(name=str(path), prompt_column="question", answer_column="solution", extract_answer=True)
    given = load_prompts(replace(config, answer_column="answer"))
    assert all(
        one.answer.replace(",", "") == other.answer  # type: ignore[union-attr]
        for one, other in zip(load_prompts(config), given, strict=True)
    )


def test_csv_and_parquet_are_read_too(tmp_path: Path) -> None:
    import pandas

    frame = pandas.DataFrame({"prompt": ["a", "b"], "answer": ["1", "2"]})
    frame.to_csv(tmp_path / "rows.csv", index=False)
    frame.to_parquet(tmp_path / "rows.parquet")
    for name in ("rows.csv", "rows.parquet"):
        assert [p.answer for p in load_prompts(DataConfig(name=str(tmp_path / name)))] == ["1", "2"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"question": "q", "answer": "1"}], "no column 'prompt'; it has question, answer"),
        ([{"prompt": "q"}], "no column 'answer'"),
        ([{"prompt": "q", "answer": "1"}, {"prompt": "q", "answer": None}], "row 2: no answer"),
        ([{"prompt": "", "answer": "1"}], "row 1: empty 'prompt'"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, rows: list[dict[str, object]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_prompts(write(tmp_path, rows))


def test_missing_empty_and_broken_files_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="data file not found"):
        load_prompts(DataConfig(name=str(tmp_path / "none.jsonl")))
    for name, text in (("empty.jsonl", ""), ("broken.jsonl", "{not json")):
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError) as caught:
            load_prompts(DataConfig(name=str(tmp_path / name)))
        assert "\n" not in str(caught.value)


def test_what_happens_to_long_prompts_is_a_choice(model_dir: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    prompts = [Prompt(str(i), "1" * size) for i, size in enumerate((3, 9, 4))]

    def fit(choice: str, limit: int = 5) -> tuple[list[int], int]:
        config = DataConfig(chat=False, max_prompt_tokens=limit, on_long_prompt=choice)  # type: ignore[arg-type]
        encode = make_encoder(tokenizer, config)
        kept, dropped = fit_prompts(prompts, encode, config)
        return [len(encode(p)) for p in kept], dropped

    with pytest.raises(UserError, match="1 of 3 prompts are longer"):
        fit("error")
    assert fit("drop") == ([3, 4], 1)
    assert fit("truncate") == ([3, 5, 4], 0)
    with pytest.raises(UserError, match="every prompt"):
        fit("drop", 2)


def test_a_prompt_without_tokens_is_an_error() -> None:
    with pytest.raises(UserError, match="prompt 7 becomes no token"):
        fit_prompts([Prompt("7", "text")], lambda prompt: [], DataConfig())


def test_truncation_keeps_the_end(model_dir: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    encode = make_encoder(tokenizer, DataConfig(chat=False, max_prompt_tokens=2, on_long_prompt="truncate"))
    assert tokenizer.decode(encode(Prompt("0", "123"))) == "23"


def test_the_stream_visits_every_prompt_once_an_epoch_in_another_order() -> None:
    prompts = [Prompt(str(i), "x") for i in range(10)]
    stream = PromptStream(prompts, seed=1)
    first, second = (sorted(p.id for p in stream.take(10)) for _ in range(2))
    assert first == second == sorted(p.id for p in prompts)
    again = PromptStream(prompts, seed=1)
    whole = [p.id for p in again.take(20)]
    assert whole[:10] != whole[10:]
    assert again.epoch == 2.0


def test_the_streams_whole_state_is_its_cursor() -> None:
    prompts = [Prompt(str(i), "x") for i in range(7)]
    one, other = PromptStream(prompts, seed=1), PromptStream(prompts, seed=1)
    one.take(5)
    expected = one.take(9)
    other.cursor = 5
    assert other.take(9) == expected
    assert PromptStream(prompts, seed=2).take(7) != PromptStream(prompts, seed=1).take(7)
