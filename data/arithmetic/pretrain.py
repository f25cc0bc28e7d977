"""Make the embedded model anew: ``python data/arithmetic/pretrain.py`` (about six minutes on two cores).

Writes the tokenizer, the architecture and the corpus below ``runs/pretrain``, trains from random weights with
``recipes/sft.py``, and puts the result into ``data/arithmetic/model``. Architecture, seeds and steps stand here
and in ``recipes/configs/sft_arithmetic.yaml``.
"""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

from prepare import corpus
from tokenizer import END, PAD, build
from transformers import LlamaConfig

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "runs" / "pretrain"
MODEL = Path(__file__).resolve().parent / "model"
ROWS, HELDOUT, SEED = 130_000, 500, 1


def main() -> None:
    """Write the inputs, train, keep the result."""
    shutil.rmtree(WORK, ignore_errors=True)
    tokenizer = build()
    tokenizer.save_pretrained(WORK / "start")
    architecture = LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.get_vocab()[END],
        pad_token_id=tokenizer.get_vocab()[PAD],
        bos_token_id=None,
    )
    architecture.save_pretrained(WORK / "start")
    rows = corpus(SEED, ROWS + HELDOUT)
    for name, count in (("heldout", HELDOUT), ("train", ROWS)):
        with (WORK / f"{name}.jsonl").open("w") as file:
            file.writelines(json.dumps(row) + "\n" for row in itertools.islice(rows, count))
    recipe, config = ROOT / "recipes" / "sft.py", ROOT / "recipes" / "configs" / "sft_arithmetic.yaml"
    subprocess.run([sys.executable, recipe, config], cwd=ROOT, check=True)
    shutil.rmtree(MODEL, ignore_errors=True)
    shutil.copytree(WORK / "run" / "final", MODEL)


if __name__ == "__main__":
    main()
