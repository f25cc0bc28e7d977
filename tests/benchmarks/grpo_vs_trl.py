"""The time of a GRPO training step and its memory, against TRL's GRPOTrainer, side by side on this machine.

``python tests/benchmarks/grpo_vs_trl.py [--memory | --quick]``: one JSON line a shape on standard output; both
configurations, the machine and the progress on standard error. README.md beside this file says how to read it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import shapes

HERE = Path(__file__).resolve().parent
SIDES = ("ours", "trl")
WARM_UP = 3
"""First steps of a process, which are not counted."""
PACKAGES = ("torch", "transformers", "peft", "accelerate", "trl")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--memory", action="store_true", help="measure peak memory instead, at 110M parameters")
    mode.add_argument("--quick", action="store_true", help="a few steps of the default shape: does it run?")
    parser.add_argument("--shape", action="append", choices=shapes.SHAPES, help="only this shape; may be repeated")
    parser.add_argument("--steps", type=int, help="measured steps of each round (20)")
    parser.add_argument("--rounds", type=int, help="times that each side is run, in turn (2)")
    parser.add_argument("--threads", type=int, default=2, help="threads of each side (2)")
    for side, what in (("ours", "train section"), ("trl", "GRPOConfig")):
        parser.add_argument(f"--{side}", type=_setting, action="append", default=[], metavar="KEY=VALUE",
                            help=f"override the {what} of {side}; the value is JSON")  # fmt: skip
    given = parser.parse_args()

    small = given.memory or given.quick
    steps, rounds = given.steps or (5 if small else 20), given.rounds or (1 if small else 2)
    every = shapes.MEMORY if given.memory else shapes.SPEED
    names = given.shape or list(every)[: 1 if given.quick else None]
    options = {"ours": dict(given.ours), "trl": dict(given.trl)}
    _say({"machine": _machine(), "threads": given.threads, "steps": steps, "warm_up": WARM_UP, "rounds": rounds})
    for name in names:
        runs = measure(name, steps + WARM_UP, rounds, given.threads, options)
        print(json.dumps(memory(name, runs) if given.memory else speed(name, runs)), flush=True)


def measure(
    name: str, steps: int, rounds: int, threads: int, options: dict[str, dict[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """Each side's runs, made in turn; raises where the two did not train on the same tokens."""
    shape, runs = shapes.SHAPES[name], {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        _call([sys.executable, "-c", "import shapes, sys; shapes.make_model(*sys.argv[1:])", str(model), name], threads)
        for turn in range(rounds):
            for side in SIDES:
                out = Path(folder) / "result.json"
                command = [sys.executable, str(HERE / "sides.py"), side, name, str(model), str(out)]
                _call([*command, "--steps", str(steps), "--options", json.dumps(options[side])], threads)
                result = json.loads(out.read_text())
                if result["tokens"] != [shape.tokens] * steps:
                    raise SystemExit(f"{side} trained on {result['tokens']} tokens, not on {shape.tokens} each step")
                runs[side].append(result)
                median = statistics.median(result["seconds"][WARM_UP:])
                _say({"shape": name, "side": side, "round": turn + 1, "median_s": round(median, 4)})
    _say({"shape": name, "of": vars(shape), "config": {side: runs[side][0]["config"] for side in SIDES}})
    return runs


def speed(name: str, runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The line of a shape: medians over all measured steps, their ratio, and how far quartiles and rounds lie apart."""
    seconds = {side: [s for run in runs[side] for s in run["seconds"][WARM_UP:]] for side in SIDES}
    median = {side: statistics.median(seconds[side]) for side in SIDES}
    by_round = {side: [statistics.median(run["seconds"][WARM_UP:]) for run in runs[side]] for side in SIDES}
    return {
        "shape": name,
        "ours_s": round(median["ours"], 4),
        "trl_s": round(median["trl"], 4),
        "ratio": round(median["trl"] / median["ours"], 3),
        "tokens": shapes.SHAPES[name].tokens,
        "steps": len(seconds["ours"]),
        "ratio_by_round": [round(t / o, 3) for o, t in zip(by_round["ours"], by_round["trl"], strict=True)],
        **{f"{side}_quartiles_s": [round(q, 4) for q in statistics.quantiles(seconds[side])[::2]] for side in SIDES},
    }


def memory(name: str, runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The line of a shape: the highest peak of each side above what its imports took, in MiB."""
    peak = {side: max(run["memory_mb"] for run in runs[side]) for side in SIDES}
    return {
        "shape": name,
        "ours_mb": round(peak["ours"]),
        "trl_mb": round(peak["trl"]),
        "ratio": round(peak["trl"] / peak["ours"], 3),
        "tokens": shapes.SHAPES[name].tokens,
    }


def _call(command: list[str], threads: int) -> None:
    """Run a process of this tree's code with so many threads; its own output is shown only if it fails."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{done.stdout}{done.stderr}\nfailed: {' '.join(command)}")


def _machine() -> dict[str, Any]:
    """What the numbers depend on besides the code."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": models[0].partition(": ")[2] if models else platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def _setting(text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    return key, json.loads(value)


def _say(record: dict[str, Any]) -> None:
    print(json.dumps(record), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
