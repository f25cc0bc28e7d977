"""Rows of a file that a run may still be writing."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def json_lines(path: Path) -> Iterator[Row | None]:
    """The objects of a JSON-lines file, None for a line that is none; no file is an empty one.

    A last line without its line end is being written and left out.
    """
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            row = _parse(line)
            if row is not None or line.endswith("\n"):
                yield row


def parquet_rows(path: Path) -> Iterator[Row | None]:
    """The rows of a Parquet file, a batch at a time; one None for a file without its end, which is being written."""
    from pyarrow import ArrowInvalid
    from pyarrow.parquet import ParquetFile

    try:
        file = ParquetFile(path)
    except ArrowInvalid:
        yield None
        return
    with file:
        for batch in file.iter_batches():
            yield from batch.to_pylist()


def finite(value: Any) -> Any:
    """The value as strict JSON has it: what is not a finite number becomes None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [finite(item) for item in value]
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return value


def _parse(line: str) -> Row | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
