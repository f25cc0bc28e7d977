"""Make the embedded model of the code task anew: ``python data/code/pretrain.py`` (about two minutes on two cores).

Writes the corpus below ``runs/pretrain_code``, goes on training the model of the arithmetic task, which can copy
numbers and knows the signs, with ``recipes/sft.py``, and puts the result into ``data/code/model``.
"""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

from prepare import corpus

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "runs" / "pretrain_code"
MODEL = Path(__file__).resolve().parent / "model"
ROWS, HELDOUT, SEED = 20_000, 300, 1


def main() -> None:
    """Write the corpus, train, keep the result."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    rows = corpus(SEED, ROWS + HELDOUT)
    for name, count in (("heldout", HELDOUT), ("train", ROWS)):
        with (WORK / f"{name}.jsonl").open("w") as file:
            file.writelines(json.dumps(row) + "\n" for row in itertools.islice(rows, count))
    recipe, config = ROOT / "recipes" / "sft.py", ROOT / "recipes" / "configs" / "sft_code.yaml"
    subprocess.run([sys.executable, recipe, config], cwd=ROOT, check=True)
    shutil.rmtree(MODEL, ignore_errors=True)
    shutil.copytree(WORK / "run" / "final", MODEL)


if __name__ == "__main__":
    main()
