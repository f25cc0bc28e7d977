"""YAML, dataclasses and the command line: what is accepted, and the one line that says why something is not."""

import dataclasses
from pathlib import Path

import pytest
from conftest import ROOT

from llmrl.config import build, changed_keys, load_config
from llmrl.errors import UserError
from llmrl.trainers.config import LanguageConfig
from llmrl.trainers.supervised import SupervisedConfig

CONFIGS = sorted((ROOT / "recipes" / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_loads(path: Path) -> None:
    config = SupervisedConfig if path.stem.startswith("sft") else LanguageConfig
    assert dataclasses.is_dataclass(load_config(config, [str(path)]))


def test_files_are_laid_over_each_other_and_the_command_line_wins(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("algorithm: {clip_eps: 0.1, group_size: 4}\ntrain: {learning_rate: 1e-4}\n")
    (tmp_path / "b.yaml").write_text("algorithm: {clip_eps: 0.3}\n")
    files = [str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")]
    config = load_config(LanguageConfig, [*files, "--algorithm.group-size", "6", "--train.seed", "3"])
    assert (config.algorithm.clip_eps, config.algorithm.group_size) == (0.3, 6)
    assert (config.train.learning_rate, config.train.seed) == (1e-4, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("algorithm: {clip_epz: 0.1}", "unknown key algorithm.clip_epz; did you mean algorithm.clip_eps?"),
        ("algoritm: {}", "unknown key algoritm; did you mean algorithm?"),
        ("train: {steps: many}", "train.steps must be int, not 'many'"),
        ("train: {steps: 0}", "train: steps, prompts_per_step"),
        ("train: {resume: maybe}", "train.resume must be one of no, auto"),
        ("algorithm: 3", "algorithm must be a mapping"),
        ("algorithm: {group_size: 1}", "nothing to compare"),
        ("sampling: {temperature: 0}", "temperature must be above 0"),
        ("model: {lora_rank: -1}", "lora_rank"),
        ("rewards: {functions: {}}", "names no reward"),
        ("- a list", "must hold a mapping"),
        ("a: [", "not valid YAML"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        load_config(LanguageConfig, [str(tmp_path / "c.yaml")])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--algorithm.clip-epz", "0.1"], "unknown option --algorithm.clip-epz; did you mean --algorithm.clip-eps?"),
        (["--algorithm.clip-epz=0.1"], "did you mean --algorithm.clip-eps?"),
        (["--flibbertigibbet", "1"], "unknown option --flibbertigibbet; --help lists them all"),
        (["--train.steps", "3", "more.yaml"], "unexpected argument 'more.yaml'"),
        (["--train.steps", "many"], "--train.steps: invalid literal for int() with base 10: 'many'"),
        (["--train.steps"], "Missing value for argument '--train.steps'"),
        (["--train.resume", "maybe"], "invalid choice 'maybe' for argument '--train.resume'"),
        (["--sampling.temperature", "0"], "temperature must be above 0"),
    ],
)
def test_a_wrong_option_is_one_line(options: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config(LanguageConfig, options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_help_shows_the_fields_docstrings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load_config(LanguageConfig, ["--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "Completions sampled for each prompt (G)" in text


def test_every_field_is_documented() -> None:
    """Every field of every section has a docstring under it."""
    import ast
    import inspect

    for section in dataclasses.fields(LanguageConfig):
        kind = section.default_factory
        for owner in [c for c in kind.__mro__ if dataclasses.is_dataclass(c)]:  # type: ignore[union-attr]
            body = ast.parse(inspect.getsource(owner)).body[0].body  # type: ignore[attr-defined]
            for node, following in zip(body, [*body[1:], None], strict=True):
                if isinstance(node, ast.AnnAssign):
                    assert isinstance(following, ast.Expr), f"{owner.__name__}.{ast.unparse(node.target)}"


def test_changed_keys_are_named() -> None:
    assert changed_keys({"a": {"b": 1, "c": 2}, "d": 1}, {"a": {"b": 1, "c": 3}, "e": 1}) == ["a.c", "d", "e"]


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UserError, match=r"config file not found: nothing\.yaml"):
        load_config(LanguageConfig, ["nothing.yaml"])


def test_none_and_numbers_keep_their_meaning() -> None:
    config = build(LanguageConfig, {"algorithm": {"clip_eps_high": None, "clip_eps": 1}})
    assert config.algorithm.clip_eps_high is None
    assert isinstance(config.algorithm.clip_eps, float)
