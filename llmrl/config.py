"""YAML files -> nested frozen dataclasses -> overrides on the command line.

A configuration is a dataclass of sections, each a dataclass of fields whose docstrings become the help text.
Later YAML files override earlier ones key by key; the command line overrides them all.
"""

from __future__ import annotations

import dataclasses
import difflib
import io
import types
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

import tyro
import yaml

from llmrl.errors import UserError

T = TypeVar("T")


def load_config(
    cls: type[T], arguments: Sequence[str], *, default_yaml: Path | None = None, ignore: Collection[str] = ()
) -> T:
    """The configuration that ``[FILE.yaml …] [--section.field value …]`` describes.

    Without a YAML file among the arguments, ``default_yaml`` is read; the files' sections named in ``ignore`` are
    another program's. Raises UserError for an unknown key or
    option, a missing file or a value of the wrong type; ``--help`` explains every field and ends the program.
    """
    split = next((i for i, a in enumerate(arguments) if a.startswith("-")), len(arguments))
    files = [Path(a) for a in arguments[:split]] or ([default_yaml] if default_yaml else [])
    merged: dict[str, Any] = {}
    for file in files:
        _merge(merged, {key: value for key, value in read_yaml(file).items() if key not in ignore})
    return parse_options(cls, arguments[split:], build(cls, merged))


def parse_options(cls: type[T], options: Sequence[str], default: T) -> T:
    """``default`` with the command line's options laid over it; what is wrong with one is a UserError."""
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            config, unknown = tyro.cli(cls, args=list(options), default=default, return_unknown_args=True)
    except SystemExit as end:
        if not end.code:  # --help
            raise
        raise UserError(_gist(complaint.getvalue())) from None
    if unknown:
        raise UserError(_unknown_option(unknown[0], [*_option_names(cls)]))
    return config


def read_yaml(file: Path) -> dict[str, Any]:
    """A YAML file's mapping; an empty file is an empty mapping."""
    if not file.is_file():
        raise UserError(f"config file not found: {file}")
    try:
        content = yaml.safe_load(file.read_text()) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} must hold a mapping of sections, not a {type(content).__name__}")
    return content


def build(cls: type[T], values: Mapping[str, Any], where: str = "", default: Any = None) -> T:
    """``default``, or what the dataclass is by itself, with nested plain values laid over it; all are checked."""
    hints = typing.get_type_hints(cls)
    unknown = [key for key in values if key not in hints]
    if unknown:
        near = difflib.get_close_matches(str(unknown[0]), list(hints), n=1, cutoff=0.4)
        meant = f"did you mean {where}{near[0]}?" if near else f"known: {', '.join(hints)}"
        raise UserError(f"unknown key {where}{unknown[0]}; {meant}")
    default = default or cls()
    try:
        converted = {
            key: _convert(value, hints[key], f"{where}{key}", getattr(default, key)) for key, value in values.items()
        }
        return dataclasses.replace(default, **converted)
    except ValueError as error:
        raise UserError(f"{where.rstrip('.')}: {error}" if where else str(error)) from error


def check_output(path: str | None) -> None:
    """Raise UserError, before the work, where a file named for its result could not be written."""
    if path is not None and Path(path).is_dir():
        raise UserError(f"cannot write {path}: it is a folder")
    if path is not None and not Path(path).absolute().parent.is_dir():
        raise UserError(f"cannot write {path}: there is no such folder")


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


def _gist(complaint: str) -> str:
    """The message in tyro's box, without title, frame and advice, in one line."""
    lines = [line.strip(" │├┤╭╮╰╯─-") for line in complaint.splitlines()]
    _title, *rest = dropwhile(lambda line: not line, lines)
    message = takewhile(bool, dropwhile(lambda line: not line, rest))
    return " ".join(message).removeprefix("Error parsing ")


def _unknown_option(option: str, known: Sequence[str]) -> str:
    if not option.startswith("-"):
        return f"unexpected argument {option!r}: options begin with --, and files stand before them"
    name = option.partition("=")[0]
    if name in known:
        return f"{name} changes values of keys that a YAML file names; name new keys there"
    near = difflib.get_close_matches(name.replace("_", "-"), known, n=1, cutoff=0.5)
    return f"unknown option {name}; " + (f"did you mean {near[0]}?" if near else "--help lists them all")


def _option_names(cls: type, prefix: str = "--") -> Iterator[str]:
    for name, hint in typing.get_type_hints(cls).items():
        option = f"{prefix}{name.replace('_', '-')}"
        if dataclasses.is_dataclass(hint):
            yield from _option_names(typing.cast(type, hint), f"{option}.")
        else:
            yield option


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> None:
    """Key by key within the sections; a value that is itself a mapping, such as the rewards, is replaced whole."""
    for section, values in over.items():
        if isinstance(values, Mapping) and isinstance(base.get(section), dict):
            base[section] |= values
        else:
            base[section] = values


def _convert(value: Any, hint: Any, where: str, default: Any = None) -> Any:
    """The value as the hint asks for it; the only silent change is int to float."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise UserError(f"{where} must be a mapping of fields, not {value!r}")
        return build(hint, value, f"{where}.", default)
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
