"""Train a language model with GRPO on programming problems, judged by running what it writes.

accelerate launch recipes/grpo_code.py [CONFIG.yaml …] [--section.field VALUE …]
"""

from __future__ import annotations

import sys
from pathlib import Path

from llmrl.config import load_config
from llmrl.errors import UserError, VerifierError
from llmrl.trainers.build import run_language
from llmrl.trainers.config import LanguageConfig
from llmrl.trainers.main import one_line_errors
from llmrl.verifiers.code import isolation

DEFAULT = Path(__file__).parent / "configs" / "code.yaml"


@one_line_errors
def main() -> None:
    config = load_config(LanguageConfig, sys.argv[1:], default_yaml=DEFAULT)
    try:
        found = isolation()
    except VerifierError as error:
        raise UserError(str(error)) from None
    print(f"programs run at isolation level {found.level!r}: {found.explanation}", flush=True)
    run_language(config, recipe="grpo_code")


if __name__ == "__main__":
    main()
