"""Train with a reward of your own, on the embedded model and problems.

accelerate launch recipes/custom_reward.py [CONFIG.yaml …] [--section.field VALUE …]
"""

from __future__ import annotations

import sys
from pathlib import Path

from llmrl import LanguageConfig, load_config, per_sample, run_language
from llmrl.trainers.main import one_line_errors
from llmrl.verifiers.math import verify

DEFAULT = Path(__file__).parent / "configs" / "arithmetic.yaml"


@per_sample
def shown(completion: str, answer: str) -> float:
    """The right answer is worth 1, half of it lost where no step of the way to it is shown."""
    return float(verify(completion, answer)) * (1.0 if "=" in completion else 0.5)


@one_line_errors
def main() -> None:
    config = load_config(LanguageConfig, sys.argv[1:], default_yaml=DEFAULT)
    run_language(config, recipe="custom_reward", rewards={shown: 1.0})


if __name__ == "__main__":
    main()
