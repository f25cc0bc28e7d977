"""Every public name exists, is documented, and its module says what it is for."""

import inspect
from importlib import import_module
from pkgutil import walk_packages

import llmrl
import llmrl.functional as F


def test_every_public_name_can_be_had_and_is_documented() -> None:
    for name in llmrl.__all__:
        value = getattr(llmrl, name)
        assert name == "__version__" or inspect.getdoc(value), name


def test_every_formula_is_exported_and_documented() -> None:
    for name in F.__all__:
        assert inspect.getdoc(getattr(F, name)), name
    for module in walk_packages(F.__path__, "llmrl.functional."):
        public = {
            name
            for name, value in vars(import_module(module.name)).items()
            if inspect.isfunction(value) and value.__module__ == module.name and not name.startswith("_")
        }
        assert public <= set(F.__all__), module.name


def test_every_module_has_a_docstring() -> None:
    for module in walk_packages(llmrl.__path__, "llmrl."):
        assert import_module(module.name).__doc__, module.name
