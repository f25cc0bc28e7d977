"""From ``path/to/file.py:name`` or ``package.module:name`` to the function."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from llmrl.errors import UserError
from llmrl.rewards import explain


def resolve(spec: str) -> str:
    """The spec with its file, if it names one, as an absolute path."""
    target, _, name = spec.rpartition(":")
    if not target or not name:
        raise UserError(f"reward {spec!r} is neither path/to/file.py:name nor package.module:name")
    return f"{Path(target).resolve()}:{name}" if target.endswith(".py") else spec


def load_function(spec: str) -> Callable[..., Any]:
    """The function that ``path/to/file.py:name`` or ``package.module:name`` stands for.

    A path is taken from the current directory. Raises UserError where there is no such file or name, or where
    the module fails to load.
    """
    target, _, name = resolve(spec).rpartition(":")
    module = _load_module(target)
    function = getattr(module, name, None)
    if callable(function):
        return function
    known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known
    raise UserError(f"{target} has no function {name!r}; it has: {', '.join(near) or 'none'}")


@cache
def _load_module(target: str) -> ModuleType:
    path = Path(target)
    if path.suffix == ".py" and not path.is_file():
        raise UserError(f"reward file not found: {target}")
    try:
        return _run_file(path) if path.suffix == ".py" else _import(target)
    except Exception as error:
        raise UserError(f"{target} does not load: {explain(error)}") from error


def _import(module: str) -> ModuleType:
    _search(Path.cwd())
    return import_module(module)


def _run_file(path: Path) -> ModuleType:
    _search(path.parent)  # so that it can import the files beside it
    spec = spec_from_file_location(str(path), path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = module_from_spec(spec)  # where dataclasses and pickle look for it
    spec.loader.exec_module(module)
    return module


def _search(folder: Path) -> None:
    """Import from this folder too; last, so that it hides nothing."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
