"""A real run of a few steps that the commands are tried on."""

import json
from pathlib import Path

import pytest

from llmrl.config import build
from llmrl.trainers.build import run_language
from llmrl.trainers.config import LanguageConfig


@pytest.fixture(scope="session")
def problems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("problems") / "sums.jsonl"
    rows = [{"id": f"sum-{i}", "prompt": f"{i}+{i % 7}=", "answer": str(i + i % 7)} for i in range(40)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture(scope="session")
def run(model_dir: Path, problems: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four steps with LoRA, two checkpoints."""
    out = tmp_path_factory.mktemp("runs") / "run"
    reward = out.parent / "reward.py"
    reward.write_text(
        "def digits(completions, **columns):\n    return [sum(map(str.isdigit, c)) / 6 for c in completions]\n"
    )
    config = {
        "model": {"name": str(model_dir), "lora_rank": 4},
        "data": {"name": str(problems), "heldout_rows": 4, "chat": False},
        "rewards": {"functions": {f"{reward}:digits": 1.0}},
        "algorithm": {"group_size": 4},
        "sampling": {"max_tokens": 6},
        "train": {
            "steps": 4,
            "save_every": 2,
            "prompts_per_step": 4,
            "learning_rate": 0.05,
            "output_dir": str(out),
            "completions": "parquet",
        },
    }
    run_language(build(LanguageConfig, config), recipe="test")
    return out
