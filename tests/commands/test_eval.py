"""The evaluator: what it counts, and that it always counts the same."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from llmrl.commands.eval import EvalConfig, EvalSection, evaluate, main, measure
from llmrl.errors import UserError
from llmrl.prompts import DataConfig
from llmrl.types import Completion, Group, Prompt

ARITHMETIC = DataConfig(heldout=str(ROOT / "data" / "arithmetic" / "heldout.jsonl"))
VERIFIER = str(ROOT / "rewards" / "math_answer.py:correct")
HELDOUT = ["--data.heldout", "data/arithmetic/heldout.jsonl"]
MODEL = str(ROOT / "data" / "arithmetic" / "model")


def answered(identity: str, texts: list[str], values: list[float | None]) -> Group:
    completions = tuple(Completion([1], [0.0], [True], text, "stop", [0]) for text in texts)
    return Group(Prompt(identity, "q", "1"), [1], completions, parts={"correct": tuple(values)})


def result(**section: Any) -> dict[str, Any]:
    settings = {"verifier": VERIFIER, "max_tokens": 40, "problems": 60, **section}
    return evaluate(MODEL, EvalConfig(ARITHMETIC, EvalSection(**settings)))


def test_single_answers_give_accuracy_with_a_wilson_interval() -> None:
    groups = [answered(str(i), ["1"], [float(i < 15)]) for i in range(148)]
    (accuracy,) = measure(groups, "correct").values()
    assert accuracy.value == 15 / 148
    assert (round(accuracy.low, 4), round(accuracy.high, 4)) == (0.0624, 0.1605)


def test_several_answers_give_mean_pass_and_majority() -> None:
    groups = [
        answered("a", [r"\boxed{1}", r"\boxed{1.0}", r"\boxed{2}", r"\boxed{3}"], [1, 1, 0, 0]),
        answered("b", [r"\boxed{7}", r"\boxed{7}", r"\boxed{1}", "no idea"], [0, 0, 1, 0]),
    ]
    measures = {name: estimate.value for name, estimate in measure(groups, "correct").items()}
    assert measures == {
        "mean@4": 0.375,
        "pass@1": 0.375,
        "pass@2": pytest.approx(((1 - 1 / 6) + (1 - 3 / 6)) / 2),
        "pass@4": 1.0,
        "maj@4": 0.5,
    }


def test_values_between_0_and_1_have_a_mean_and_no_accuracy() -> None:
    groups = [answered(str(i), ["1"], [0.3]) for i in range(10)]
    assert {name: e.value for name, e in measure(groups, "correct").items()} == {"mean": pytest.approx(0.3)}


def test_failed_verdicts_are_left_out_and_a_problem_without_any_is_an_error() -> None:
    groups = [answered("a", ["1", "1", "1"], [1, None, 0]), answered("b", ["1", "1", "1"], [1, 1, 1])]
    assert measure(groups, "correct")["mean@2"].value == 0.75
    with pytest.raises(UserError, match="every completion of problem c"):
        measure([*groups, answered("c", ["1"], [None])], "correct")


def test_the_same_numbers_twice_and_with_any_batch_size() -> None:
    first = result()
    assert result() == first
    for max_rows in (1, 7, 64):
        again = result(max_rows=max_rows)
        assert again["completions"] == first["completions"]
        assert again["accuracy"] == first["accuracy"]
    assert 0.1 < first["accuracy"]["value"] < 0.6


def test_sampled_completions_do_not_depend_on_the_batch_either() -> None:
    one, other = (result(k=4, problems=8, max_rows=rows) for rows in (4, 256))
    assert one["completions"] == other["completions"]
    assert one["mean@4"] == other["mean@4"]


def test_a_run_is_evaluated_as_its_final_model_and_the_result_kept(
    run: Path, problems: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text(json.dumps({"data": {"heldout": str(problems)}, "train": {"steps": 9}}))
    options = ["--eval.verifier", VERIFIER, "--eval.max-tokens", "6", "--eval.output", str(tmp_path / "out.json")]
    main([str(run), str(tmp_path / "c.yaml"), *options])
    shown = capsys.readouterr().out
    assert "40 problems" in shown
    assert "accuracy" in shown
    kept = json.loads((tmp_path / "out.json").read_text())
    assert [row["id"] for row in kept["completions"]] == [f"sum-{i}" for i in range(40)]
    main([str(run), *options])
    own = json.loads((tmp_path / "out.json").read_text())
    assert len(own["completions"]) == 4, "a run is asked what it held out itself"
    main([str(run / "final"), str(tmp_path / "c.yaml"), *options])
    again = json.loads((tmp_path / "out.json").read_text())
    assert again["completions"] == kept["completions"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name the model first"),
        (["./nothing", *HELDOUT], "model folder not found"),
        ([MODEL], "name the problems: --data.heldout FILE"),
        ([MODEL, "--eval.k", "4", "--eval.temperature", "0", *HELDOUT], "the same completion k times"),
        ([MODEL, "--eval.k", "0", *HELDOUT], "must be at least 1"),
        ([MODEL, "--eval.problems", "0", *HELDOUT], "must be at least 1"),
        ([MODEL, "--eval.temperature", "nan", *HELDOUT], "temperature must be 0 or more"),
        ([MODEL, "--eval.output", "no/such/file", *HELDOUT], "there is no such folder"),
        ([MODEL, "--eval.verifier", "none.py:f", *HELDOUT], "reward file not found"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError, match=message):
        main(arguments)
