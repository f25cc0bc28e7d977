"""The README's reference of every configuration key, made from the docstrings under the fields.

``python tests/reference.py`` writes it anew into README.md.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
import typing
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from llmrl.trainers.config import LanguageConfig

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- reference: begin -->\n", "<!-- reference: end -->\n"


def field_docs(cls: type) -> dict[str, str]:
    """The docstring under each field of a dataclass, its parents' included."""
    docs: dict[str, str] = {}
    for owner in reversed([c for c in cls.__mro__ if dataclasses.is_dataclass(c)]):
        body = typing.cast(ast.ClassDef, ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]).body
        for node, following in pairwise(body):
            if isinstance(node, ast.AnnAssign) and isinstance(following, ast.Expr):
                docs[ast.unparse(node.target)] = " ".join(ast.literal_eval(following.value).split())
    return docs


def reference(cls: type) -> str:
    """A markdown table of every section of a recipe's configuration: key, default, meaning."""
    parts = []
    for section in dataclasses.fields(cls):
        kind = typing.get_type_hints(cls)[section.name]
        docs, default = field_docs(kind), kind()
        rows = [
            f"| `{field.name}` | {_code(getattr(default, field.name))} | {docs[field.name]} |"
            for field in dataclasses.fields(kind)
        ]
        about = (kind.__doc__ or "").strip().splitlines()[0]
        parts.append(
            "\n".join([f"### `{section.name}`", "", about, "", "| key | default | |", "| --- | --- | --- |", *rows])
        )
    return "\n\n".join(parts)


def _code(value: Any) -> str:
    """A default as YAML writes it; unset is left empty."""
    if value is None:
        return ""
    plain = dict(value) if isinstance(value, Mapping) else list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(plain, default_flow_style=True, width=1000)
    return f"`{text.strip().removesuffix('...').strip()}`"


def cut(text: str) -> tuple[str, str, str]:
    """A README before, inside and after the reference."""
    before, _, rest = text.partition(BEGIN)
    inside, _, after = rest.partition(END)
    return before, inside, after


if __name__ == "__main__":
    before, _, after = cut(README.read_text())
    README.write_text(f"{before}{BEGIN}{reference(LanguageConfig)}\n{END}{after}")
