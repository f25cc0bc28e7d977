"""Slots: a configuration field that holds a formula by name, or by ``file.py:function``."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from llmrl.verifiers.loader import load_function


def resolve(slot: str, name: str, choices: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    """The formula of this name; a name with a colon is loaded as the user's own function.

    Raises ValueError with the nearest valid name if there is none of this name.
    """
    if name in choices:
        return choices[name]
    if ":" in name:
        return load_function(name)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.3)
    meant = f"did you mean {near[0]!r}?" if near else "or file.py:function"
    raise ValueError(f"{slot} {name!r} is not one of {', '.join(choices)}; {meant}")
