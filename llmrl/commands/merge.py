"""``llmrl merge FOLDER OUT``: an adapter, or a run's checkpoint, as one model that needs no adapter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llmrl import checkpoint
from llmrl.commands.opening import open_policy
from llmrl.config import parse_options
from llmrl.errors import UserError
from llmrl.trainers.card import merged_card


@dataclass(frozen=True)
class MergeConfig:
    """How the merged model is written."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the written weights; the sum is always computed in float32."""


def main(arguments: Sequence[str]) -> None:
    """Write the merged model and its tokenizer to OUT."""
    places = [a for a in arguments[:2] if not a.startswith("-")]
    config = parse_options(MergeConfig, arguments[len(places) :], MergeConfig())
    if len(places) < 2:
        raise UserError("llmrl merge FOLDER OUT: name the adapter's folder and a new one for the model")
    source, out = Path(places[0]), Path(places[1])
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty; name a new folder")
    merge(source, out, config.dtype)
    print(f"merged {source} into {out}")


def merge(source: Path, out: Path, dtype: str = "float32") -> None:
    """The sum of the base's weights and the adapter's, with the tokenizer and a card."""
    policy = open_policy(str(source), dtype=dtype)

    def fill(folder: Path) -> None:
        policy.save(folder)
        (folder / "README.md").write_text(merged_card(out.name, str(source), str(policy.causal_lm.name_or_path), dtype))

    checkpoint.write_folder(out, fill)
