r"""Matching brackets and splitting at the top level, where ``\{`` is a bracket and ``{`` groups."""

from __future__ import annotations

import re

DEEPEST = 40
"""Levels of brackets in an answer; what is deeper is only ever compared as text."""

_BRACKET = re.compile(r"\\[{}]|\\(?:langle|rangle|lfloor|rfloor|lceil|rceil)(?![A-Za-z])|[()\[\]{}]")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_OPENING = {"(", "[", "{", r"\{", r"\langle", r"\lfloor", r"\lceil"}


def braced(text: str, start: int) -> tuple[str | None, int]:
    """The content of the group ``{…}`` at ``start`` and the position after it; None where it does not close."""
    depth = 0
    for brace in _BRACE.finditer(text, start):
        depth += (brace[0] == "{") - (brace[0] == "}")
        if depth == 0 and brace[0] == "}":
            return text[start + 1 : brace.start()], brace.end()
    return None, len(text)


def groups(text: str) -> dict[int, int]:
    """Where each brace ``{`` that closes does so: the position after its ``}``, by its own."""
    ends, opened = {}, []
    for brace in _BRACE.finditer(text):
        if brace[0] == "{":
            opened.append(brace.start())
        elif brace[0] == "}" and opened:
            ends[opened.pop()] = brace.end()
    return ends


def closing(text: str, start: int) -> int:
    """Where the bracket at ``start`` closes, by any bracket of its level: ``[0,1)`` is one pair; -1 if nowhere."""
    depth = 0
    for bracket in _BRACKET.finditer(text, start):
        depth += 1 if bracket[0] in _OPENING else -1
        if depth == 0:
            return bracket.start()
    return -1


def depth_of(text: str) -> int:
    """The deepest nesting of brackets, closed or not."""
    depth = deepest = 0
    for bracket in _BRACKET.finditer(text):
        depth += 1 if bracket[0] in _OPENING else -1
        deepest = max(deepest, depth)
    return deepest


def balanced(text: str) -> bool:
    """Whether every brace that groups is closed."""
    depth = 0
    for brace in _BRACE.finditer(text):
        depth += (brace[0] == "{") - (brace[0] == "}")
        if depth < 0:
            return False
    return depth == 0


def outer(text: str, pattern: re.Pattern[str]) -> list[re.Match[str]]:
    """The matches that stand outside of all brackets."""
    matches = list(pattern.finditer(text))
    spans = _spans(text) if matches else []
    return [found for found in matches if not any(a < found.start() < b for a, b in spans)]


def split(text: str, separator: re.Pattern[str]) -> list[str]:
    """The parts between the separators that stand outside of all brackets, stripped."""
    parts, start = [], 0
    for found in outer(text, separator):
        parts.append(text[start : found.start()].strip())
        start = found.end()
    return [*parts, text[start:].strip()]


def _spans(text: str) -> list[tuple[int, int]]:
    """The outermost bracketed stretches of the text, environments and one that never closes included."""
    spans, position = [], 0
    for bracket in re.finditer(rf"\\begin\s*\{{|{_BRACKET.pattern}", text):
        if bracket.start() < position:
            continue
        if bracket[0].startswith(r"\begin"):
            end = text.rfind(r"\end")
            end = len(text) if end < 0 else text.find("}", end)
        elif bracket[0] not in _OPENING:
            continue
        else:
            end = closing(text, bracket.start())
        position = len(text) if end < 0 else end
        spans.append((bracket.start(), position))
    return spans
