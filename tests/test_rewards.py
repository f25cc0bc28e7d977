from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrl.errors import UserError
from llmrl.rewards import RewardError, RewardRow, evaluate, per_sample, per_step, signature, split_steps
from llmrl.verifiers.loader import load_function, resolve

PLAIN = RewardRow("2+2?", "is 4", [5, 6], {"answer": "4", "level": 1})
SHIPPED = Path(__file__).parents[1] / "rewards"
CHAT = RewardRow([{"role": "user", "content": "3?"}], "3", [7], {"answer": "3"})


def score(function, rows):
    """What the function says of the rows, called in its own form."""
    described = signature(function)
    return described.read(list(evaluate(function, described.calls(rows))), rows)


def test_plain_form_receives_columns_as_lists() -> None:
    def reward(prompts, completions, completion_ids, answer, **columns):
        assert prompts == ["2+2?", "2+2?"]
        assert completions == ["is 4", "is 4"]
        assert completion_ids == [[5, 6], [5, 6]]
        assert answer == ["4", "4"]
        assert columns == {"level": [1, 1]}
        return [1, None]

    assert score(reward, [PLAIN, PLAIN]) == [1.0, None]


def test_chat_rows_are_lists_of_messages() -> None:
    def reward(prompts, completions, level):
        assert prompts[1] == [{"role": "user", "content": "3?"}]
        assert completions == ["is 4", [{"role": "assistant", "content": "3"}]]
        assert level == [1, None]
        return [0.5, 0.5]

    assert score(reward, [PLAIN, CHAT]) == [0.5, 0.5]


def test_per_sample_form_receives_one_row_s_values_and_the_text() -> None:
    @per_sample
    def reward(completion, answer, completion_ids, prompt):
        assert isinstance(completion, str)
        return len(completion_ids) if answer in completion else 0

    assert score(reward, [PLAIN, CHAT]) == [2.0, 1.0]
    assert reward("4", "4", [1], "") == 1


def test_per_step_form_receives_the_steps() -> None:
    @per_step(separator=" ")
    def reward(steps, answer):
        return [step == answer for step in steps]

    assert score(reward, [PLAIN]) == [[0.0, 1.0]]


def test_async_forms() -> None:
    async def batch(completions):
        return [float(len(c)) for c in completions]

    @per_sample
    async def single(completion):
        return float(len(completion))

    assert score(batch, [PLAIN, CHAT]) == [4.0, 1.0]
    assert score(single, [PLAIN, CHAT]) == [4.0, 1.0]


def test_sampled_names_win_over_columns_of_the_same_name() -> None:
    row = PLAIN._replace(columns={"completion": "column", "completions": "column"})
    assert score(per_sample(lambda completion: float(completion == "is 4")), [row]) == [1.0]
    assert score(lambda completions: [float(c == "is 4") for c in completions], [row]) == [1.0]


def test_callable_objects_and_partials() -> None:
    def power(completions, exponent):
        return [float(len(c) ** exponent) for c in completions]

    assert score(partial(power, exponent=2), [PLAIN]) == [16.0]


def test_numpy_and_torch_values_are_numbers() -> None:
    import numpy
    import torch

    assert score(lambda completions: numpy.ones(len(completions)), [PLAIN, CHAT]) == [1.0, 1.0]
    assert score(lambda completions: torch.ones(len(completions)), [PLAIN, CHAT]) == [1.0, 1.0]
    assert score(per_sample(lambda completion: numpy.float32(0.5)), [PLAIN]) == [0.5]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "1.0", [1.0], {}])
def test_what_is_not_a_finite_number_fails_its_row_only(value) -> None:
    good, bad = score(lambda completions: [1.0, value], [PLAIN, CHAT])
    assert good == 1.0
    assert isinstance(bad, RewardError)
    assert "not a finite number" in str(bad)


@pytest.mark.parametrize(
    ("returned", "reason"),
    [([1.0], "1 values for 2"), (None, "None for 2"), (1.0, r"1\.0 for 2"), ([], "0 values for 2")],
)
def test_the_wrong_number_of_values(returned, reason) -> None:
    with pytest.raises(RewardError, match=f"returned {reason} completions"):
        score(lambda completions: returned, [PLAIN, CHAT])


@pytest.mark.parametrize("returned", [[1.0], 1.0, [1.0, 2.0, float("nan")], [1.0, 2.0, None]])
def test_step_values_must_be_one_number_a_step(returned) -> None:
    [outcome] = score(per_step("s")(lambda steps: returned), [PLAIN._replace(text="1s2s3")])
    assert isinstance(outcome, RewardError)


def test_a_step_reward_may_not_apply() -> None:
    assert score(per_step()(lambda steps: None), [PLAIN]) == [None]


def test_a_missing_column_is_named_with_those_that_exist() -> None:
    def reward(completions, solution, level=None): ...

    with pytest.raises(UserError, match=r"reward 'r' needs 'solution'.*there is: answer, completion_ids"):
        signature(reward).check("r", ["answer"])
    signature(reward).check("r", ["solution"])
    signature(lambda **everything: None).check("r", [])


def test_singular_and_plural_names_belong_to_their_forms() -> None:
    with pytest.raises(UserError, match="'completions'"):
        signature(per_sample(lambda completions: 0)).check("r", [])
    with pytest.raises(UserError, match="'steps'"):
        signature(per_sample(lambda steps: 0)).check("r", [])


def test_steps_end_after_their_separator() -> None:
    assert split_steps("a\nbc\n", "\n") == [("a", 2), ("bc", 5)]
    assert split_steps("a\n\nb", "\n") == [("a", 2), ("", 3), ("b", 4)]
    assert split_steps("", "\n") == []
    assert split_steps("x. y", ". ") == [("x", 3), ("y", 4)]


@given(st.text(alphabet="ab\n"), st.sampled_from(["\n", "ab", "\n\n"]))
def test_steps_cover_the_text(text: str, separator: str) -> None:
    start, pieces = 0, []
    for step, end in split_steps(text, separator):
        assert text[start:end] in (step, step + separator)
        pieces.append(text[start:end])
        start = end
    assert "".join(pieces) == text


def test_a_file_is_loaded_once_and_may_import_its_neighbours(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "neighbour_of_mine.py").write_text("ONE = 1.0\n")
    (tmp_path / "mine.py").write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from neighbour_of_mine import ONE\n"
        "@dataclass\nclass Value:\n    number: float\n"
        "def f():\n    return Value(ONE).number\n"
        "def g(): ...\n"
    )
    monkeypatch.chdir(tmp_path)
    f = load_function("mine.py:f")
    assert f() == 1.0
    assert f is load_function(f"{tmp_path}/mine.py:f")
    assert f.__globals__ is load_function("mine.py:g").__globals__


def test_a_module_is_found_from_the_current_directory(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "package_of_mine").mkdir()
    (tmp_path / "package_of_mine" / "scores.py").write_text("def f(): ...\n")
    monkeypatch.chdir(tmp_path)
    assert load_function("package_of_mine.scores:f").__name__ == "f"
    with pytest.raises(UserError, match="does not load: ModuleNotFoundError"):
        load_function("no_package_of_mine:f")


@pytest.mark.parametrize("spec", ["correct", "file.py", ":f", "file.py:"])
def test_a_spec_names_a_place_and_a_function(spec: str) -> None:
    with pytest.raises(UserError, match="is neither"):
        resolve(spec)


def test_names_that_are_no_functions(tmp_path) -> None:
    (tmp_path / "mine.py").write_text("ONE = 1\ndef correct(): ...\ndef _hidden(): ...\n")
    with pytest.raises(UserError, match="has no function 'ONE'; it has: correct"):
        load_function(f"{tmp_path}/mine.py:ONE")
    with pytest.raises(UserError, match=r"reward file not found: .*none\.py"):
        load_function(f"{tmp_path}/none.py:f")


def shipped(spec: str, text: str, **columns):
    """What a function of the rewards folder, loaded by path, says of one completion."""
    [outcome] = score(load_function(f"{SHIPPED}/{spec}"), [RewardRow("", text, list(range(len(text))), columns)])
    return outcome


def test_every_shipped_reward_is_loadable_and_explained() -> None:
    for file in SHIPPED.glob("*.py"):
        assert len(file.read_text().splitlines()) < 40
        assert file.read_text().startswith('"""')


def test_math_answer() -> None:
    assert shipped("math_answer.py:correct", r"so \boxed{1{,}000}", answer="1000") == 1.0
    assert shipped("math_answer.py:correct", r"so \boxed{0.50}", answer="1/2") == 1.0
    assert shipped("math_answer.py:correct", r"so \boxed{3}", answer="4") == 0.0
    chat = [{"role": "user", "content": "What is 2+3?"}]
    [outcome] = score(
        load_function(f"{SHIPPED}/math_answer.py:correct"), [RewardRow(chat, r"\boxed{2+3}", [], {"answer": "5"})]
    )
    assert outcome == 0.0


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"so \boxed{4}", 1.0),
        ("\\boxed{\\frac{1}{2}}\n ", 1.0),
        (r"\boxed{4}.", 0.0),
        (r"\boxed{}", 0.0),
        (r"\boxed{ }", 0.0),
        (r"\boxed{1} \boxed{2}", 0.0),
        (r"\boxed{\boxed{2}}", 0.0),
        (r"\boxed{4", 0.0),
        ("{4}", 0.0),
        ("", 0.0),
    ],
)
def test_boxed(text: str, value: float) -> None:
    assert shipped("format.py:boxed", text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("<think>2 and 2</think>4", 1.0),
        ("\n<think>\nhm\n</think>\n4\n", 1.0),
        ("<think>hm</think>", 0.0),
        ("<think> </think>4", 0.0),
        ("x<think>hm</think>4", 0.0),
        ("<think>hm</think>4<think>", 0.0),
        ("</think>hm<think>4", 0.0),
        ("hm</think>4", 0.0),
        ("4", 0.0),
    ],
)
def test_think(text: str, value: float) -> None:
    assert shipped("format.py:think", text) == value


@pytest.mark.parametrize(("tokens", "value"), [(0, 0.0), (256, 0.0), (384, -0.5), (512, -1.0), (9999, -1.0)])
def test_short(tokens: int, value: float) -> None:
    assert shipped("length.py:short", "x" * tokens, answer="1") == value


def test_step_check() -> None:
    text = "12 + 30 = 42\n42 * -2 = 84\nso\n7 / 2 = 3\n8/2=4\n1 / 0 = 0\n 1 - 2 = -1 "
    assert shipped("step_check.py:steps", text) == [1.0, -1.0, 0.0, -1.0, 1.0, -1.0, 1.0]
    assert shipped("step_check.py:steps", "9" * 5000 + " + 1 = 2") == [0.0]
