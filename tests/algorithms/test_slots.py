"""A slot takes a name of the table, a file's function, and nothing else."""

from pathlib import Path

import pytest

from llmrl.algorithms.slots import resolve

CHOICES = {"token": len, "sequence": max}


def test_a_name_is_looked_up() -> None:
    assert resolve("ratio", "sequence", CHOICES) is max


def test_a_function_of_the_user_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def half(x):\n    return x / 2\n")
    assert resolve("ratio", f"{tmp_path / 'mine.py'}:half", CHOICES)(4) == 2


def test_a_wrong_name_gets_the_nearest_and_all_there_are() -> None:
    with pytest.raises(ValueError, match="ratio 'tokens' is not one of token, sequence; did you mean 'token'"):
        resolve("ratio", "tokens", CHOICES)
    with pytest.raises(ValueError, match=r"or file\.py:function"):
        resolve("ratio", "zzz", CHOICES)
