r"""What kind of answer it is: one value, a list, a tuple or interval, a matrix, a relation, a union.

Only brackets and separators at the top level are read here; the values inside stay text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from llmrl.verifiers.answers.brackets import closing, outer, split


@dataclass(frozen=True, slots=True)
class Leaf:
    """One value: a number, an expression or words."""

    text: str


@dataclass(frozen=True, slots=True)
class Bag:
    r"""Several values in no order: ``\{1,2\}``, ``1, 2``, ``1 or 2``, ``\pm 1``."""

    items: tuple[Shape, ...]
    braces: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """Values in order between brackets: a tuple, a vector, or the ends of an interval."""

    left: str
    items: tuple[Shape, ...]
    right: str


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of values."""

    rows: tuple[tuple[Shape, ...], ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """``sides[0] signs[0] sides[1] …``, the signs among = < > le ge ne."""

    sides: tuple[str, ...]
    signs: tuple[str, ...]

    def variable(self) -> str | None:
        """The one side that is a variable or names a function's value, where there is one."""
        names = [side for side in self.sides if VARIABLE.fullmatch(side)]
        return names[0] if len(names) == 1 else None


@dataclass(frozen=True, slots=True)
class Union:
    """Intervals and sets joined by a union sign."""

    parts: tuple[Shape, ...]


Shape = Leaf | Bag | Row | Matrix | Relation | Union

VARIABLE = re.compile(r"\\?(?!infty|pi)[A-Za-z]+(?:_(?:\w|\{\w+\}))?(?:\([A-Za-z]\))?")
MOST_ITEMS = 200
"""Of one list; a longer one is a single piece of text."""

_SEMICOLON = re.compile(r";")
_SEPARATOR = re.compile(r",?\s*(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])\s*|,|\\\\")
_COMMA = re.compile(r",")
_SIGN = re.compile(r"\\(?:le|ge|ne|approx|equiv)(?![A-Za-z])|(?<![<>!:])=+|<|>|\\Rightarrow(?![A-Za-z])")
_CUP = re.compile(r"\\cup(?![A-Za-z])|(?<=[)\]}])\s*U\s*(?=[(\[\\])")
_MEMBER = re.compile(r"^\s*(?:[A-Za-z](?:_\w)?|[a-z]\([a-z]\))\s*\\in(?![A-Za-z])\s*")
_PLUS_MINUS = re.compile(r"\\(pm|mp)(?![A-Za-z])")
_ENVIRONMENT = re.compile(r"\\begin\s*\{([A-Za-z]*matrix|array|cases|align(?:ed)?\*?|gathered)\}(?:\{[clr| ]*\})?")
_SUCH_THAT = re.compile(r"\||:")
_NUMBERS = re.compile(r"-?\d+(?:\s+-?\d+){2,}")
_CLOSERS = {"(": ")", "[": "]"}


def read_shape(text: str) -> Shape:
    """The kind of a normalised answer."""
    text = _MEMBER.sub("", text.strip())
    parts = split(text, _SEMICOLON)
    if len(parts) == 1:
        parts = split(text, _SEPARATOR)
    if _NUMBERS.fullmatch(text):
        parts = text.split()
    parts = [part for part in parts if part]
    if 1 < len(parts) <= MOST_ITEMS and not _is_prose(text):
        return Bag(tuple(item for part in _shared_left_side(parts) for item in _flattened(read_shape(part))))
    return _read_single(parts[0] if len(parts) == 1 else text)


def _read_single(text: str) -> Shape:
    sides = split(text, _SIGN)
    if len(sides) > 1:
        return _relation(text, sides)
    pieces = split(text, _CUP)
    if 1 < len(pieces) <= MOST_ITEMS:
        return Union(tuple(read_shape(piece) for piece in pieces))
    return _bracketed(text) or _environment(text) or _plus_minus(text) or Leaf(text)


def _is_prose(text: str) -> bool:
    """A sentence with a comma or an "and" in it is no list."""
    return len(re.findall(r"(?<![\\A-Za-z])[A-Za-z]{3,}", text)) > 12


def _flattened(shape: Shape) -> tuple[Shape, ...]:
    return shape.items if isinstance(shape, Bag) and not shape.braces else (shape,)


def _shared_left_side(parts: list[str]) -> list[str]:
    """``x = 1, 2`` says ``x = 1`` and ``x = 2``; the values are what counts."""
    first = split(parts[0], _SIGN)
    if len(first) == 2 and re.fullmatch(r"[A-Za-z](?:_\w)?", first[0]) and "=" in parts[0]:
        others = [split(part, _SIGN) for part in parts[1:]]
        if all(len(other) == 1 for other in others) or all(
            o[:-1] == first[:1] and "=" in p for o, p in zip(others, parts[1:], strict=True)
        ):
            return [first[-1], *(other[-1] for other in others)]
    return parts


def _relation(text: str, sides: list[str]) -> Shape:
    spans = [sign[0] for sign in outer(text, _SIGN)]
    if r"\Rightarrow" in spans:  # only the conclusion counts
        return read_shape(sides[-1]) if spans[-1] == r"\Rightarrow" else _read_single(text.rsplit(r"\Rightarrow", 1)[1])
    if r"\approx" in spans:  # what is approximated is the answer, unless nothing stands there but a name
        at = spans.index(r"\approx")
        kept = sides[: at + 1]
        if not kept[-1] or (at == 0 and re.fullmatch(r"[A-Za-z](?:_\w)?", kept[0])):
            return _read_single(sides[-1])
        sides, spans = kept, spans[:at]
    if set(spans) == {"="}:
        sides = [side for side in sides if side]
    if len(sides) == 1:
        return read_shape(sides[0])
    if len(sides) != len(spans) + 1:
        return read_shape(sides[-1]) if sides and set(spans) == {"="} else Leaf(text)
    return _solutions(sides, spans) or Relation(
        tuple(sides), tuple(sign.lstrip("\\").replace("==", "=") for sign in spans)
    )


def _solutions(sides: list[str], signs: list[str]) -> Shape | None:
    r"""``x = \pm 2`` and ``x = \{1,2\}`` are lists of values."""
    if set(signs) != {"="} or not re.fullmatch(r"[A-Za-z](?:_\w)?", sides[0]):
        return None
    value = read_shape(sides[-1])
    return value if isinstance(value, Bag) else None


def _bracketed(text: str) -> Shape | None:
    opening = re.match(r"\\\{|\\langle(?![A-Za-z])|[(\[]", text)
    if opening is None:
        return None
    end = closing(text, 0)
    closer = re.compile(r"\\\}|\\rangle|[)\]]").fullmatch(text, end) if end >= 0 else None
    if closer is None:
        return None
    content = text[opening.end() : end]
    if opening[0] == r"\{":
        items = [part for part in split(content, _SEPARATOR) if part]
        condition = split(content, _SUCH_THAT)
        if len(condition) == 2 and VARIABLE.fullmatch(condition[0].split(r"\in")[0].strip()):
            return read_shape(condition[1])
        if len(items) > MOST_ITEMS or len(condition) > 1:
            return None
        return Bag(tuple(read_shape(item) for item in items), braces=True)
    parts = split(content, _SEMICOLON)
    parts = split(content, _COMMA) if len(parts) == 1 else parts
    if len(parts) == 1:
        return read_shape(content) if _CLOSERS.get(opening[0]) == closer[0] and content else None
    if len(parts) > MOST_ITEMS or not all(parts):
        return None
    left, right = (sign.replace(r"\langle", "(").replace(r"\rangle", ")") for sign in (opening[0], closer[0]))
    return Row(left, tuple(read_shape(part) for part in parts), right)


def _environment(text: str) -> Shape | None:
    r"""A whole ``\begin{pmatrix}…\end{pmatrix}``; cases and aligned lines are a list."""
    begin = _ENVIRONMENT.match(text)
    if begin is None or not re.fullmatch(
        r"\\end\s*\{" + re.escape(begin[1]) + r"\}", text[text.rfind(r"\end") :].strip()
    ):
        return None
    lines = [line for line in split(text[begin.end() : text.rfind(r"\end")], re.compile(r"\\\\")) if line.strip()]
    rows = [tuple(read_shape(cell) for cell in split(line, re.compile("&"))) for line in lines]
    if begin[1].endswith("matrix") or begin[1] == "array":
        return Matrix(tuple(rows))
    lines = [line.replace("&", " ").strip() for line in lines]
    if any(line.startswith("=") for line in lines):
        return read_shape(" ".join(lines))  # one equation, continued
    return Bag(tuple(map(read_shape, lines)))


def _plus_minus(text: str) -> Shape | None:
    if not 0 < len(_PLUS_MINUS.findall(text)) <= 4:
        return None
    upper = _PLUS_MINUS.sub(lambda m: "+" if m[1] == "pm" else "-", text)
    lower = _PLUS_MINUS.sub(lambda m: "-" if m[1] == "pm" else "+", text)
    return Bag((_read_single(upper.lstrip("+ ")), _read_single(lower.lstrip("+ "))))


def written(shape: Shape) -> str:
    """The LaTeX of an answer of this kind."""
    match shape:
        case Leaf(text=text):
            return text
        case Bag(items=items):
            return r"\{" + ",".join(map(written, items)) + r"\}"
        case Row(left=left, items=items, right=right):
            return left + ",".join(map(written, items)) + right
        case Matrix(rows=rows):
            body = r"\\".join("&".join(map(written, row)) for row in rows)
            return rf"\begin{{pmatrix}}{body}\end{{pmatrix}}"
        case Relation(sides=sides, signs=signs):
            return sides[0] + "".join(f"{sign}{side}" for sign, side in zip(signs, sides[1:], strict=True))
        case Union(parts=parts):
            return r"\cup ".join(map(written, parts))
