"""Proves that the tests of the formulas can fail: breaks each formula in small ways, and wants a red test.

    python tests/mutation.py [surrogate advantages …]    the named modules, or all of functional/ and algorithms/

A mutant is one change of one function: an operator, comparison, branch, order or pair of bounds swapped, a
number moved, a mask, minus, clamp, detach or other method dropped. Settings are left alone: module constants and
fields of configurations. It runs tests/<room>/test_<module>.py in a forked child; one that takes too long counts
as killed. Prints the survivors and exits 1 if there are any, or if the tests fail without a mutant.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.abc
import io
import os
import signal
import sys
import time
from collections.abc import Iterator
from importlib.util import spec_from_loader
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("functional", "algorithms")
PAIRS = [(ast.Add, ast.Sub), (ast.Mult, ast.Div), (ast.BitAnd, ast.BitOr), (ast.And, ast.Or)]
PAIRS += [(ast.Lt, ast.Gt), (ast.LtE, ast.GtE), (ast.Eq, ast.NotEq), (ast.Is, ast.IsNot)]
SWAPPED = {a: b for pair in PAIRS for a, b in (pair, pair[::-1])} | {ast.FloorDiv: ast.Mult}
RENAMED = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum", "amax": "amin"}
DROPPED = {"abs", "clamp", "cumsum", "detach", "double", "exp", "exp_", "expand_as", "flip", "log"}
DROPPED |= {"masked_fill", "sqrt", "square", "to"}


def replacements(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in this node's place."""
    match node:
        case ast.BinOp(op=op) | ast.BoolOp(op=op) if type(op) in SWAPPED:
            yield changed(node, op=SWAPPED[type(op)]())
        case ast.Compare(ops=[op]) if type(op) in SWAPPED:
            yield changed(node, ops=[SWAPPED[type(op)]()])
        case ast.UnaryOp(operand=operand):
            yield operand
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            yield ast.Constant(type(value)(1 - value) if value in (0, 1) else value + 1)
        case ast.IfExp(body=body, orelse=orelse):
            yield changed(node, body=orelse, orelse=body)
        case ast.Tuple(elts=[first, second], ctx=ast.Load()):
            yield changed(node, elts=[second, first])
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name) as function, args=args):
            if name in RENAMED:
                key = "attr" if isinstance(function, ast.Attribute) else "id"
                yield changed(node, func=changed(function, **{key: RENAMED[name]}))
            if name in DROPPED and isinstance(function, ast.Attribute):
                yield function.value
            if name == "clamp":
                yield changed(node, args=args[::-1])
            if name in ("where", "masked"):
                yield args[len(args) - 2]


def changed(node: ast.AST, **fields: object) -> ast.AST:
    """A copy of the node with these fields."""
    return type(node)(**{**vars(node), **fields})


def places(node: ast.AST) -> Iterator[tuple[Any, Any]]:
    """Every container and key below that hold a formula: no annotation, decorator or setting."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list"):
            continue
        for key, child in enumerate(value) if isinstance(value, list) else [(field, value)]:
            setting = isinstance(node, ast.Module | ast.ClassDef) and not hasattr(child, "body")
            if isinstance(child, ast.AST) and not setting:
                yield (value if isinstance(value, list) else vars(node)), key
                yield from places(child)


def mutants(source: str) -> Iterator[tuple[int, str, str]]:
    """(line, change in words, mutated source) for each mutant of a module."""
    tree = ast.parse(source)
    for holder, key in list(places(tree)):
        original = holder[key]
        for replacement in replacements(original):
            before, after = ast.unparse(original), ast.unparse(replacement)
            if before != after:
                holder[key] = replacement
                yield original.lineno, f"{before}  ->  {after}", ast.unparse(tree)
                holder[key] = original


class Mutant(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the mutated source in the place of the module."""

    def __init__(self, name: str, source: str) -> None:
        self.name, self.source = name, source

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        return spec_from_loader(fullname, self) if fullname == self.name else None

    def exec_module(self, module: Any) -> None:
        exec(compile(self.source, self.name, "exec"), vars(module))


def passes(test: Path, name: str, source: str, seconds: int) -> bool:
    """Whether the tests pass, within so many seconds, when the module of this name has this source."""
    child = os.fork()
    if child == 0:
        signal.alarm(seconds)  # kills the child, even inside a kernel that does not return
        sys.meta_path.insert(0, Mutant(name, source))
        os._exit(quiet_pytest("-x", str(test)))
    return os.waitpid(child, 0)[1] == 0


def quiet_pytest(*arguments: str) -> int:
    """The exit status of pytest, whose output is thrown away."""
    with contextlib.redirect_stdout(io.StringIO()):
        return int(pytest.main(["-p", "no:cacheprovider", f"--rootdir={ROOT}", *arguments]))


def preload(tests: list[Path]) -> None:
    """Import whatever the tests import, then forget what is under test and the tests themselves."""
    quiet_pytest("--collect-only", *map(str, tests))
    for name, module in list(sys.modules.items()):
        is_test = str(getattr(module, "__file__", "")).startswith(str(ROOT / "tests"))
        if name.split(".")[0] == "llmrl" or (is_test and name != "__main__"):
            del sys.modules[name]


def main(wanted: list[str]) -> int:
    """Mutate the wanted modules, or all that have tests."""
    paths = [path for room in ROOMS for path in sorted((ROOT / "llmrl" / room).glob("[!_]*.py"))]
    paths = [path for path in paths if path.stem in wanted or not wanted]
    tests = {path: ROOT / "tests" / path.parent.name / f"test_{path.name}" for path in paths}
    tests = {path: test for path, test in tests.items() if test.exists()}
    if not tests:
        sys.exit(f"none of these has tests: {' '.join(wanted)}")
    sys.path.insert(0, str(ROOT))  # this tree, wherever the package is installed
    torch.set_num_threads(1)
    preload(list(tests.values()))
    survivors = count = 0
    for path, test in tests.items():
        name, source = f"llmrl.{path.parent.name}.{path.stem}", path.read_text()
        start = time.monotonic()
        if not passes(test, name, source, 600):
            sys.exit(f"{test} fails as it is")
        seconds = 10 + 5 * int(time.monotonic() - start)
        for line, change, mutated in mutants(source):
            count += 1
            if passes(test, name, mutated, seconds):
                survivors += 1
                print(f"{path.relative_to(ROOT)}:{line}: {change}", flush=True)
    print(f"killed {count - survivors} of {count}")
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
