"""``llmrl <command> …``: what is done before and after training."""

from __future__ import annotations

import sys
from importlib import import_module

COMMANDS = {
    "check": "what a configuration means: batch arithmetic, data, rewards, memory; loads no model",
    "reward": "try a reward function on rows of a file",
    "eval": "accuracy, mean@k, pass@k and maj@k of a model on a data set, with intervals",
    "sample": "talk to a model, an adapter or a run's checkpoint",
    "merge": "an adapter and its base as one model folder",
    "report": "report.html of one run or of several; --watch follows a run in the terminal",
}


def main() -> None:
    """Run the command that the arguments name; the exit code is 2 for what the user can mend."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(_help())
    elif name == "--version":
        print(import_module("llmrl").__version__)
    elif name in COMMANDS:
        from llmrl.trainers.main import one_line_errors

        sys.argv[0] = f"llmrl {name}"  # what the command's own --help calls itself
        one_line_errors(lambda: import_module(f"llmrl.commands.{name}").main(arguments))()
    else:
        print(f"error: no command {name!r}; there are {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [
            "usage: llmrl COMMAND … (llmrl COMMAND --help explains one)",
            "",
            *lines,
            "",
            "Training is started by a recipe: accelerate launch recipes/grpo_math.py",
        ]
    )
