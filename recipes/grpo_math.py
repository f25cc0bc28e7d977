"""Train a language model with GRPO on math problems.

accelerate launch recipes/grpo_math.py [CONFIG.yaml …] [--section.field VALUE …]
"""

from __future__ import annotations

import sys
from pathlib import Path

from llmrl.config import load_config
from llmrl.trainers.build import run_language
from llmrl.trainers.config import LanguageConfig
from llmrl.trainers.main import one_line_errors

DEFAULT = Path(__file__).parent / "configs" / "arithmetic.yaml"


@one_line_errors
def main() -> None:
    run_language(load_config(LanguageConfig, sys.argv[1:], default_yaml=DEFAULT), recipe="grpo_math")


if __name__ == "__main__":
    main()
