"""A room imports only what lies below it; what must be light stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

ROOMS = (
    ("errors",),
    ("functional",),
    ("types", "config", "distributed", "rewards"),
    ("verifiers",),
    ("algorithms",),
    ("policies", "samplers", "scoring", "prompts", "metrics", "checkpoint", "estimators", "report"),
    ("trainers",),
    ("commands",),
    ("cli",),
)
MAY_USE_A_NEIGHBOUR = {("samplers", "policies")}
"""The embedded sampler generates with the policy's own model."""

FILES = sorted((ROOT / "llmrl").rglob("*.py"))


def room_of(name: str) -> int:
    return next(level for level, names in enumerate(ROOMS) if name in names)


def imports(path: Path) -> set[str]:
    """The first part under ``llmrl`` of every module that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("llmrl"):
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("llmrl.")}
    return found


@pytest.mark.parametrize("path", [p for p in FILES if p.parent.name != "llmrl" or p.stem != "__init__"], ids=str)
def test_a_room_imports_only_lower_rooms(path: Path) -> None:
    own = path.relative_to(ROOT / "llmrl").parts[0].removesuffix(".py")
    for other in imports(path) - {own}:
        below = room_of(other) < room_of(own)
        beside = room_of(own) <= 4 and room_of(other) == room_of(own)
        assert below or beside or (own, other) in MAY_USE_A_NEIGHBOUR, f"{path} imports {other}"


def test_formulas_need_torch_and_nothing_else() -> None:
    for path in (ROOT / "llmrl" / "functional").glob("*.py"):
        assert imports(path) <= {"functional"}
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            tops = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)
            assert tops <= {"torch", "llmrl"}, path


def test_importing_llmrl_and_a_rewards_worker_does_not_import_torch() -> None:
    for module in ("llmrl", "llmrl.rewards", "llmrl.report", "llmrl.verifiers.math", "llmrl.verifiers.worker"):
        code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0, module
