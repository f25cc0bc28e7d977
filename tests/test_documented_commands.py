"""Every command that the README and the recipes show is run as it stands there, only made short."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

DOCUMENTS = ("README.md", "recipes/README.md", "recipes/accelerate/README.md")
COMMAND = re.compile(r"(?:ACCELERATE_USE_CPU=true torchrun|accelerate launch|python|llmrl) (?!-[A-Z])\S")
SHORT = "--train.steps 2 --train.eval-problems 8 --train.prompts-per-step 4 --train.save-every 0"
HERE = "--model.name data/arithmetic/model --data.name problems.csv --sampling.max-tokens 16"

MADE_SHORT = {
    "recipes/grpo_math.py recipes/configs/gsm8k_qwen.yaml": f"{SHORT} {HERE}",
    "recipes/grpo_math.py recipes/configs/math_qwen.yaml": f"{SHORT} {HERE} --data.prompt-column question",
    "recipes/grpo_math.py": SHORT,
    "recipes/grpo_code.py": SHORT,
    "recipes/custom_reward.py": SHORT,
    "recipes/grpo_minimal.py": "",
    "recipes/sft.py": "--train.steps 2",
    "llmrl": "",
}
"""What a command begins with, and what is added to it; the first that fits counts."""
NOT_RUN = {
    "recipes/accelerate/ddp.yaml": "needs several GPUs",
    "recipes/accelerate/multi_node.yaml": "needs several machines",
    "data/arithmetic/pretrain.py": "takes minutes and overwrites the embedded model",
    "data/code/pretrain.py": "takes minutes and overwrites an embedded model",
    "data/mbpp/prepare.py": "downloads from the Hub",
    "recipes/configs/mbpp.yaml": "needs what is downloaded",
    "tests/benchmarks/": "is a measurement against peers",
}


def documented() -> list[str]:
    """Commands in shell blocks and in inline code, without comments, continued lines joined."""
    found: dict[str, None] = {}
    for name in DOCUMENTS:
        text = (ROOT / name).read_text()
        blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
        inline = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        lines = "\n".join(blocks).replace("\\\n", " ").splitlines() + inline
        for line in lines:
            command = " ".join(line.partition(" #")[0].split())
            if COMMAND.match(command):
                found[command] = None
    return list(found)


def spoken_of(command: str) -> bool:
    """Whether inline code names a command rather than showing one that can be typed."""
    return command.split()[0] == "llmrl" and len(command.split()) == 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a user has, with the files that the README tells them to write, and a run to look at."""
    folder = tmp_path_factory.mktemp("user")
    for name in ("recipes", "data", "rewards"):
        shutil.copytree(ROOT / name, folder / name)
    readme = (ROOT / "README.md").read_text()
    (folder / "my_rewards.py").write_text(re.findall(r"```python\n(# my_rewards.py.*?)```", readme, re.DOTALL)[0])
    (folder / "recipes/configs/my_run.yaml").write_text(
        re.findall(r"```yaml\n(# recipes/configs/my_run.yaml.*?)```", readme, re.DOTALL)[0]
    )
    rows = [json.loads(line) for line in (ROOT / "data/arithmetic/train.jsonl").read_text().splitlines()[:100]]
    (folder / "problems.csv").write_text(
        "question,problem,answer\n" + "".join(f"{row['prompt']},{row['prompt']},{row['answer']}\n" for row in rows)
    )
    (folder / "sft.jsonl").write_text('{"prompt": "What is 1 + 1?", "completion": "1+1=2"}\n' * 20)
    sft = {"data": {"name": "sft.jsonl", "answer_column": "completion"}, "train": {"output_dir": "runs/sft"}}
    (folder / "CONFIG.yaml").write_text(json.dumps(sft))
    for name in ("mine", "other"):
        run(f"python recipes/grpo_math.py recipes/configs/my_run.yaml {SHORT} --train.output-dir runs/{name}", folder)
    return folder


def run(command: str, folder: Path) -> str:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(command, shell=True, cwd=folder, env=environment, text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_commands_are_found_and_none_is_excused_in_vain() -> None:
    commands = documented()
    assert len(commands) >= 20
    for fragment in NOT_RUN:
        assert any(fragment in command for command in commands), fragment


@pytest.mark.slow
@pytest.mark.parametrize("command", [c for c in documented() if not spoken_of(c)])
def test_a_documented_command_runs(command: str, folder: Path) -> None:
    reason = next((why for fragment, why in NOT_RUN.items() if fragment in command), None)
    if reason is not None:
        pytest.skip(reason)
    short = next(added for start, added in MADE_SHORT.items() if start in command)
    if "runs/mine" in command and "train.output-dir" in command:
        shutil.rmtree(folder / "runs" / "mine")
    if command.startswith("llmrl merge"):
        shutil.rmtree(folder / "my-model", ignore_errors=True)
    run(f"{command} {short}", folder)
