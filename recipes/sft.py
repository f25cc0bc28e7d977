"""Fine-tune a language model on prompt and completion pairs.

accelerate launch recipes/sft.py CONFIG.yaml [--section.field VALUE …]
"""

from __future__ import annotations

import sys

from llmrl.config import load_config
from llmrl.trainers.main import one_line_errors
from llmrl.trainers.supervised import SupervisedConfig, run_supervised


@one_line_errors
def main() -> None:
    run_supervised(load_config(SupervisedConfig, sys.argv[1:]), recipe="sft")


if __name__ == "__main__":
    main()
