"""What users get wrong: each one clear line, exit code 2, and before the work that it would waste."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT
from transformers import AutoTokenizer

from llmrl.policies import causal_lm
from llmrl.trainers.language import LanguageTrainer

ROWS = [{"prompt": f"{i}+1=", "answer": str(i + 1)} for i in range(20)]
Change = Callable[[dict[str, Any], Path], list[str] | None]
"""Spoils the configuration or what it names; may return command-line options."""


def put(section: str, **values: Any) -> Change:
    return lambda config, folder: config.setdefault(section, {}).update(values)


def options(*given: str) -> Change:
    return lambda config, folder: list(given)


def rows(*given: Any) -> Change:
    text = "".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in given)

    def change(config: dict[str, Any], folder: Path) -> None:
        (folder / "rows.jsonl").write_text(text)

    return change


def reward(text: str, name: str = "score") -> Change:
    def change(config: dict[str, Any], folder: Path) -> None:
        (folder / "reward.py").write_text(text)
        config["rewards"] = {"functions": {f"{folder / 'reward.py'}:{name}": 1.0}}

    return change


def model_without(*names: str) -> Change:
    def change(config: dict[str, Any], folder: Path) -> None:
        for name in names:
            for file in (folder / "model").glob(name):
                file.unlink()

    return change


def broken_weights(config: dict[str, Any], folder: Path) -> None:
    (folder / "model" / "model.safetensors").write_bytes(b"not safetensors at all")


def model_of_another_kind(config: dict[str, Any], folder: Path) -> None:
    (folder / "model" / "config.json").write_text(json.dumps({"model_type": "vit"}))


def tokenizer_without_end(config: dict[str, Any], folder: Path) -> None:
    file = folder / "model" / "tokenizer_config.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({k: v for k, v in content.items() if k != "eos_token"}))


def tokenizer_without_template(config: dict[str, Any], folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    tokenizer.chat_template = None
    (folder / "model" / "chat_template.jinja").unlink()
    tokenizer.save_pretrained(folder / "model")


def template_that_refuses(config: dict[str, Any], folder: Path) -> None:
    (folder / "model" / "chat_template.jinja").write_text("{{ raise_exception('no system message, please') }}")


def adapter(text: str) -> Change:
    def change(config: dict[str, Any], folder: Path) -> None:
        (folder / "adapter").mkdir()
        (folder / "adapter" / "adapter_config.json").write_text(text)
        config["model"]["adapter"] = str(folder / "adapter")

    return change


def run_in_the_way(config: dict[str, Any], folder: Path) -> None:
    (folder / "run" / "checkpoints" / "step-000000").mkdir(parents=True)
    (folder / "run" / "config.yaml").write_text("train: {}\n")


def other_run_in_the_way(config: dict[str, Any], folder: Path) -> list[str]:
    run_in_the_way(config, folder)
    return ["--train.resume", "auto"]


def file_in_the_way(config: dict[str, Any], folder: Path) -> None:
    (folder / "run").write_text("")


def unfinished_solution(config: dict[str, Any], folder: Path) -> None:
    rows(*ROWS, {"prompt": "1+1=", "answer": "I think\nthat it is two"})(config, folder)
    config["data"]["extract_answer"] = True


CASES: dict[str, tuple[Change, str]] = {
    "unknown option": (options("--train.stepz", "3"), "unknown option --train.stepz; did you mean --train.steps?"),
    "unknown section": (put("trian", steps=3), "unknown key trian; did you mean train?"),
    "unknown key": (put("algorithm", clip_epz=0.1), "unknown key algorithm.clip_epz; did you mean algorithm.clip_eps?"),
    "option of the wrong type": (options("--train.steps", "many"), "--train.steps: invalid literal"),
    "option without a value": (options("--train.steps"), "Missing value for argument '--train.steps'"),
    "option that is none of the choices": (options("--data.on-long-prompt", "cut"), "invalid choice 'cut'"),
    "key of the wrong type": (put("train", steps="many"), "train.steps must be int, not 'many'"),
    "file after the options": (options("--train.steps", "3", "other.yaml"), "unexpected argument 'other.yaml'"),
    "no steps": (put("train", steps=0), "must be at least 1"),
    "no learning rate": (put("train", learning_rate=0.0), "learning_rate and max_grad_norm must be above 0"),
    "unknown schedule": (put("train", schedule="cosin"), "schedule 'cosin' is none of linear, cosine"),
    "minibatches that do not divide": (put("train", minibatches=3), "prompts_per_step 4 is not a multiple of"),
    "resume of nothing named": (options("--train.resume", "auto"), "resume auto needs output_dir"),
    "unknown tracker": (put("train", trackers=["tensorbord"]), "train.trackers: 'tensorbord' is none of"),
    "tracker that is not installed": (put("train", trackers=["clearml"]), "clearml is not installed; pip install"),
    "no such accuracy": (put("rewards", accuracy="nosuch"), "rewards.accuracy: no reward is called 'nosuch'"),
    "negative seed": (put("train", seed=-1), "seed must be at least 0"),
    "temperature that is no number": (put("sampling", temperature=float("nan")), "temperature must be above 0"),
    "learning rate that is no number": (put("train", learning_rate=float("nan")), "learning_rate and max_grad_norm"),
    "adapter on random weights": (put("model", from_scratch=True), "from_scratch trains all weights"),
    "answers that are lists": (rows({"prompt": "1+1=", "answer": ["2"]}), "must be a text or a number"),
    "prompts that are numbers": (rows({"prompt": 3, "answer": "2"}), "must be a text or a list of messages, not 3"),
    "template that asks for an attribute": (put("data", template="{prompt} {answer.x}"), "cannot be filled: Attrib"),
    "template in double braces": (put("data", template="{{prompt}}"), "has no place for {prompt}"),
    "new reward on the command line": (options("--rewards.functions", "a.py:f", "1.0"), "name new keys there"),
    "temperature 0": (put("sampling", temperature=0), "temperature must be above 0 to train"),
    "top-p": (put("sampling", top_p=0.9), "top_p must be 1 to train, not 0.9"),
    "groups of one": (put("algorithm", group_size=1), "nothing to compare"),
    "unknown formula": (put("algorithm", surrogate="cliped"), "surrogate"),
    "k1 in the loss": (put("algorithm", kl="k1"), "k1"),
    "no reward": (put("rewards", functions={}), "functions names no reward"),
    "no data file": (put("data", name="none.jsonl"), "data file not found: none.jsonl"),
    "no held-out file": (put("data", heldout="none.csv"), "data file not found: none.csv"),
    "empty data": (rows(), "is empty"),
    "broken data": (rows("{not json"), "cannot read the data set"),
    "no prompt column": (put("data", prompt_column="question"), "no column 'question'; it has prompt, answer"),
    "no answer column": (put("data", answer_column="solution"), "no column 'solution'; it has prompt, answer"),
    "row without answer": (rows(*ROWS, {"prompt": "1+1=", "answer": None}), "row 21: no answer in 'answer'"),
    "row without prompt": (rows(*ROWS, {"prompt": "", "answer": "1"}), "row 21: empty 'prompt'"),
    "solution without an answer": (unfinished_solution, "row 21: no final answer in 'answer'"),
    "message without role": (rows({"prompt": [{"content": "hi"}], "answer": "1"}), "needs role and content"),
    "template without a place": (put("data", template="Question:"), "has no place for {prompt}"),
    "template with an unknown column": (put("data", template="{prompt} {hint}"), "cannot be filled: KeyError 'hint'"),
    "prompts that are too long": (put("data", max_prompt_tokens=2), "prompts are longer than data.max_prompt_tokens=2"),
    "no reward file": (put("rewards", functions={"nothing.py:score": 1.0}), "reward file not found"),
    "no such reward": (reward("def scores(completions): ...\n"), "has no function 'score'; it has: scores"),
    "reward that is no name": (put("rewards", functions={"score": 1.0}), "neither path/to/file.py:name nor"),
    "reward that does not load": (reward("def score(:\n"), "does not load: SyntaxError"),
    "reward of a missing column": (reward("def score(completions, hint): ...\n"), "needs 'hint', and no row"),
    "no model folder": (put("model", name="./nothing"), "model folder not found: ./nothing"),
    "model without tokenizer": (model_without("token*"), "no usable tokenizer in"),
    "tokenizer without an end": (tokenizer_without_end, "has no end-of-sequence token"),
    "tokenizer without a chat template": (tokenizer_without_template, "no chat template"),
    "chat template that refuses": (template_that_refuses, "the model's chat template refuses prompt"),
    "model without weights": (model_without("*.safetensors"), "cannot load a causal language model from"),
    "broken weights": (broken_weights, "cannot load a causal language model from"),
    "model of another kind": (model_of_another_kind, "cannot load a causal language model from"),
    "quantization of all weights": (put("model", quantization="nf4", lora_rank=0), "set lora_rank"),
    "no adapter": (put("model", adapter="./nothing"), "no PEFT adapter in ./nothing"),
    "broken adapter": (adapter("{}"), "does not fit"),
    "a run in the way": (run_in_the_way, "already holds a run; continue it with --train.resume auto"),
    "a file in the way": (file_in_the_way, "is a file"),
    "another run in the way": (other_run_in_the_way, "was started with another configuration"),
}
AFTER_LOADING = {"model without weights", "broken weights", "model of another kind", "no adapter", "broken adapter"}
"""Only loading the model can tell."""


@pytest.mark.parametrize("case", CASES)
def test_one_line_and_exit_code_2(
    case: str, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    change, message = CASES[case]
    arguments = spoiled(change, model_dir, tmp_path, has_folder=case != "resume of nothing named")
    loaded: list[str] = []
    original = causal_lm.load_model
    monkeypatch.setattr(causal_lm, "load_model", lambda config, dtype: loaded.append("") or original(config, dtype))
    monkeypatch.setattr(LanguageTrainer, "train_step", lambda *_: pytest.fail("training began"))
    monkeypatch.setattr(sys, "argv", ["grpo_math.py", *arguments])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "recipes" / "grpo_math.py"), run_name="__main__")
    errors = capsys.readouterr().err.strip().splitlines()
    assert ended.value.code == 2
    assert errors[-1].startswith("error: ")
    assert message in errors[-1]
    assert not [line for line in errors if "Traceback" in line]
    assert len(errors) == 1 or case in AFTER_LOADING
    assert bool(loaded) == (case in AFTER_LOADING)


def test_the_unspoiled_configuration_trains(model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the cases above would prove nothing."""
    monkeypatch.setattr(sys, "argv", ["grpo_math.py", *spoiled(lambda config, folder: None, model_dir, tmp_path)])
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "recipes" / "grpo_math.py"), run_name="__main__")
    assert (tmp_path / "run" / "summary.json").is_file()


def spoiled(change: Change, model_dir: Path, folder: Path, *, has_folder: bool = True) -> list[str]:
    """Command-line arguments of a small run that ``change`` has spoiled; all that it needs lies in ``folder``."""
    (folder / "model").mkdir()
    for file in model_dir.iterdir():
        (folder / "model" / file.name).write_bytes(file.read_bytes())
    rows(*ROWS)({}, folder)
    config: dict[str, Any] = {
        "model": {"name": str(folder / "model"), "lora_rank": 2},
        "data": {"name": str(folder / "rows.jsonl")},
        "rewards": {"functions": {str(ROOT / "rewards" / "math_answer.py:correct"): 1.0}},
        "algorithm": {"group_size": 2},
        "sampling": {"max_tokens": 4},
        "train": {"steps": 1, "prompts_per_step": 4, **({"output_dir": str(folder / "run")} if has_folder else {})},
    }
    more = change(config, folder) or []
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return [str(folder / "config.yaml"), *more]
