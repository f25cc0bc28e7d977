"""The room as a whole: what it exports and how it is written."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import llmrl.functional as F

FOLDER = Path(F.__file__).parent
MODULES = [path for path in sorted(FOLDER.glob("*.py")) if path.name != "__init__.py"]


def trees() -> dict[str, ast.Module]:
    return {path.name: ast.parse(path.read_text()) for path in MODULES}


def test_every_public_function_is_exported_flat_and_documented():
    public = {
        node.name
        for tree in trees().values()
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }
    assert public == set(F.__all__)
    assert all(inspect.getdoc(getattr(F, name)) for name in public)


def test_it_imports_torch_and_itself_only():
    allowed = {"__future__", "collections", "functools", "typing", "torch", "llmrl.functional"}
    for name, tree in trees().items():
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for imported in names:
                assert imported.split(".")[0] in allowed or imported.startswith("llmrl.functional"), name


def test_it_never_synchronises_with_the_host():
    for name, tree in trees().items():
        called = {n.func.attr for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)}
        assert not called & {"item", "tolist", "cpu", "numpy"}, name
