"""What the README says can be done, and the embedded data is what it says it is."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from conftest import ROOT
from reference import cut, reference
from transformers import AutoTokenizer

from llmrl.trainers.config import LanguageConfig

README = (ROOT / "README.md").read_text()
ARITHMETIC = ROOT / "data" / "arithmetic"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def prepare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prepare", ARITHMETIC / "prepare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_has_the_two_commands() -> None:
    commands = [line for block in blocks("bash") for line in block.splitlines()]
    assert "pip install -e . && accelerate launch recipes/grpo_math.py" in commands
    assert 'pip install -e ".[test]" && pytest' in commands


def test_every_file_that_the_documents_name_exists() -> None:
    made_by_the_reader = {"my_rewards.py", "recipes/configs/my_run.yaml"}
    for document in ("README.md", "recipes/README.md", "recipes/accelerate/README.md", "CONTRIBUTING.md"):
        text = (ROOT / document).read_text()
        for name in re.findall(r"(?:recipes|rewards|tests|data|llmrl)/[\w/]+\.(?:py|yaml|md)", text):
            assert name in made_by_the_reader or (ROOT / name).exists(), f"{document} names {name}"


def test_the_reference_is_what_the_docstrings_say() -> None:
    assert cut(README)[1] == reference(LanguageConfig) + "\n", "python tests/reference.py writes it anew"


def test_every_method_stands_in_the_readmes_table() -> None:
    for path in (ROOT / "recipes" / "configs" / "methods").glob("*.yaml"):
        assert f"| `{path.stem}`" in README


def test_the_readmes_rewards_work_as_they_stand(tmp_path: Path) -> None:
    from llmrl.scoring import Scorer
    from llmrl.types import Completion, Group, Prompt

    source = next(block for block in blocks("python") if "def concise" in block)
    (tmp_path / "my_rewards.py").write_text(source)
    completion = Completion([1] * 25, [0.0] * 25, [True] * 25, "it is 7", "stop", [0] * 25)
    group = Group(Prompt("0", ({"role": "user", "content": "3+4"},), "7"), [1], (completion,))
    with Scorer({f"{tmp_path / 'my_rewards.py'}:concise": 1.0}) as scorer:
        assert scorer([group])[0].rewards == (0.75,)


@pytest.mark.slow
def test_the_readmes_python_trains(tmp_path: Path) -> None:
    source = next(block for block in blocks("python") if "run_language" in block)
    for name in ("recipes", "data", "rewards"):
        shutil.copytree(ROOT / name, tmp_path / name)
    done = subprocess.run([sys.executable, "-c", source], cwd=tmp_path, text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    before, after = map(float, done.stdout.splitlines()[-1].split())
    assert after > before


@pytest.mark.slow
def test_the_page_long_recipe_runs() -> None:
    command = [sys.executable, str(ROOT / "recipes" / "grpo_minimal.py"), "2"]
    done = subprocess.run(command, text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2


def test_the_generated_problems_are_right_and_the_sides_disjoint() -> None:
    sides = {
        name: [json.loads(line) for line in (ARITHMETIC / f"{name}.jsonl").read_text().splitlines()]
        for name in ("train", "heldout")
    }
    assert len(sides["heldout"]) >= 500
    prompts = {name: {row["prompt"] for row in rows} for name, rows in sides.items()}
    assert not prompts["train"] & prompts["heldout"]
    corpus = {row["prompt"] for row in prepare().corpus(1, 5000)}
    assert not corpus & prompts["heldout"]
    for row in sides["heldout"]:
        expression = row["prompt"].removeprefix("What is ").removesuffix("?")
        assert set(expression) <= set("0123456789 +-*()")
        assert eval(expression) == int(row["answer"])


def test_more_operations_are_the_difficulty_dial() -> None:
    for operations in (1, 3, 6):
        (row,) = prepare().rows("heldout", 0, 1, [operations])
        assert len(re.findall(r" [+*-] ", row["prompt"])) == operations == row["difficulty"]


def test_the_embedded_tokenizer_loses_nothing_of_printable_text() -> None:
    tokenizer = AutoTokenizer.from_pretrained(ARITHMETIC / "model")
    text = "What is (7 + 15) * 3?\n7+15=22\n22*3=66\n\\boxed{66}\n" + "".join(map(chr, range(32, 127)))
    assert tokenizer.decode(tokenizer.encode(text)) == text
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], add_generation_prompt=True, tokenize=False
    )
    assert chat == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


def test_the_embedded_model_is_small_enough_to_be_committed() -> None:
    assert sum(p.stat().st_size for p in (ARITHMETIC / "model").iterdir()) < 8 * 2**20
