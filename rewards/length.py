"""A price on length, in tokens. Also an example of a reward that takes a whole batch, as TRL's do."""

TARGET = 256
"""Tokens that cost nothing. Edit your copy of this file to change it."""


def short(completion_ids: list[list[int]], **columns: object) -> list[float]:
    """0 up to ``TARGET`` tokens, then down linearly to -1 at twice as many and beyond."""
    return [-min(1.0, max(0.0, len(tokens) / TARGET - 1.0)) for tokens in completion_ids]
