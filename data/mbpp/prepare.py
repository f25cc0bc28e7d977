"""MBPP as prompts and tests: ``python data/mbpp/prepare.py [FILE.jsonl | HUB-NAME]`` writes train and heldout.

A prompt gives the task and its tests, which fix the function's name and form, and asks for a fenced block. Problems
11 to 510 of MBPP are its test split; they become ``heldout.jsonl`` and never enter ``train.jsonl``. The data (Austin
et al. 2021, CC-BY-4.0) is not part of llmrl.
"""

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from llmrl.errors import UserError
from llmrl.prompts import load_rows
from llmrl.trainers.main import one_line_errors

TEST_SPLIT = range(11, 511)
SPLITS = ("train", "test", "validation", "prompt")
INSTRUCTION = "\n\nWrite the function in one Python block (```python … ```). It has to pass these tests:\n\n"


def row(raw: Mapping[str, Any]) -> dict[str, Any]:
    """One problem, from either of the data set's two forms (full: ``text``; sanitized: ``prompt``)."""
    tests = list(raw["test_list"])
    return {
        "id": f"mbpp-{raw['task_id']}",
        "prompt": (raw.get("text") or raw["prompt"]).strip() + INSTRUCTION + "\n".join(tests),
        "answer": raw["code"],
        "test_list": tests,
        "test_imports": list(raw.get("test_imports") or []),
        "test_setup_code": raw.get("test_setup_code") or "",
    }


def split(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Training and held-out problems."""
    sides: dict[str, list[dict[str, Any]]] = {"train": [], "heldout": []}
    for raw in rows:
        sides["heldout" if raw["task_id"] in TEST_SPLIT else "train"].append(row(raw))
    return sides


@one_line_errors
def main() -> None:
    """Write ``train.jsonl`` and ``heldout.jsonl``."""
    parser = argparse.ArgumentParser(description="MBPP as prompts and tests.")
    parser.add_argument(
        "source", nargs="?", default="google-research-datasets/mbpp", help="a file, or a name on the Hub"
    )
    parser.add_argument("--folder", type=Path, default=Path(__file__).resolve().parent, help="where the files go")
    options = parser.parse_args()
    is_file = Path(options.source).suffix in (".jsonl", ".json", ".gz", ".parquet")
    rows = [raw for name in SPLITS[: 1 if is_file else None] for raw in load_rows(options.source, name)]
    for side, found in split(rows).items():
        if not found:
            raise UserError(f"{options.source} has no problems for {side}.jsonl")
        options.folder.mkdir(parents=True, exist_ok=True)
        (options.folder / f"{side}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in found), "utf-8")


if __name__ == "__main__":
    main()
