"""YAML files -> nested frozen dataclasses -> overrides on the command line.

A configuration is a dataclass of sections, each a dataclass of fields whose docstrings become the help text.
Later YAML files override earlier ones key by key; the command line overrides them all.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

import tyro
import yaml

from llmrl.errors import UserError

T = TypeVar("T")


def load_config(cls: type[T], arguments: Sequence[str], *, default_yaml: Path | None = None) -> T:
    """The configuration that ``[FILE.yaml …] [--section.field value …]`` describes.

    Without a YAML file among the arguments, ``default_yaml`` is read. Raises UserError for an unknown key, a
    missing file or a value of the wrong type; unknown options end the program with the nearest valid names.
    """
    split = next((i for i, a in enumerate(arguments) if a.startswith("-")), len(arguments))
    files = [Path(a) for a in arguments[:split]] or ([default_yaml] if default_yaml else [])
    merged: dict[str, Any] = {}
    for file in files:
        _merge(merged, read_yaml(file))
    return tyro.cli(cls, args=list(arguments[split:]), default=build(cls, merged))


def read_yaml(file: Path) -> dict[str, Any]:
    """A YAML file's mapping; an empty file is an empty mapping."""
    if not file.is_file():
        raise UserError(f"config file not found: {file}")
    try:
        content = yaml.safe_load(file.read_text()) or {}
    except yaml.YAMLError as error:
        raise UserError(f"{file} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} must hold a mapping of sections, not a {type(content).__name__}")
    return content


def build(cls: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """An instance of the dataclass from nested plain values, every key and type checked."""
    hints = typing.get_type_hints(cls)
    unknown = [key for key in values if key not in hints]
    if unknown:
        near = difflib.get_close_matches(str(unknown[0]), list(hints), n=1, cutoff=0.4)
        meant = f"did you mean {where}{near[0]}?" if near else f"known: {', '.join(hints)}"
        raise UserError(f"unknown key {where}{unknown[0]}; {meant}")
    try:
        return cls(**{key: _convert(value, hints[key], f"{where}{key}") for key, value in values.items()})
    except ValueError as error:
        raise UserError(f"{where.rstrip('.')}: {error}" if where else str(error)) from error


def to_dict(config: Any) -> dict[str, Any]:
    """Plain nested values of a configuration, ready for YAML or JSON."""
    return dataclasses.asdict(config)


def changed_keys(old: Mapping[str, Any], new: Mapping[str, Any], where: str = "") -> list[str]:
    """Dotted names of the leaves in which two configurations differ."""
    names: list[str] = []
    for key in {**old, **new}:
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            names += changed_keys(a, b, f"{where}{key}.")
        elif a != b:
            names.append(f"{where}{key}")
    return names


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value


def _convert(value: Any, hint: Any, where: str) -> Any:
    """The value as the hint asks for it; the only silent change is int to float."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise UserError(f"{where} must be a mapping of fields, not {value!r}")
        return build(hint, value, f"{where}.")
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _convert(value, next(a for a in arguments if a is not type(None)), where)
    if origin is Literal:
        if value not in arguments:
            raise UserError(f"{where} must be one of {', '.join(map(str, arguments))}, not {value!r}")
        return value
    if origin is tuple and isinstance(value, list):
        return tuple(_convert(item, arguments[0], where) for item in value)
    if origin in (dict, Mapping) and isinstance(value, Mapping):
        return {str(k): _convert(v, arguments[1], f"{where}.{k}") for k, v in value.items()}
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        return _to_float(value, where)
    if isinstance(hint, type) and isinstance(value, hint) and isinstance(value, bool) == (hint is bool):
        return value
    raise UserError(f"{where} must be {getattr(hint, '__name__', hint)}, not {value!r}")


def _to_float(value: float | str, where: str) -> float:
    try:
        return float(value)  # YAML reads 1e-4 as a string
    except ValueError:
        raise UserError(f"{where} must be a number, not {value!r}") from None
