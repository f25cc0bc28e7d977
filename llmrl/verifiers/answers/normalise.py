r"""One spelling for one answer: layout, styles and synonyms of LaTeX and of plain text are removed or unified.

The result is compact LaTeX with words between single spaces: ``\dfrac12\text{ cm}`` becomes ``\frac{1}{2} cm``.
"""

from __future__ import annotations

import re

from llmrl.verifiers.answers.brackets import DEEPEST, braced, closing, depth_of
from llmrl.verifiers.answers.characters import to_ascii
from llmrl.verifiers.answers.spellings import COMMAND, COMMANDS, NOTATION, PHRASES, WORD, WORDS

LONGEST_ANSWER = 4_000
"""Characters; what is longer is only ever compared as text."""

_STYLES = r"text(?:bf|it|rm|tt|sf|sc|up|normal|md)?|mathrm|mathbf|mathit|mathsf|mathtt|mathcal|mbox|hbox|bm|boldsymbol"
_STYLES += (
    r"|pmb|emph|underline|operatorname\*?|mathop|fbox|boxed|textnormal|ensuremath|displaylines|unit|num|mathnormal"
)
_STYLE = re.compile(rf"\\(?:{_STYLES})\s*(?=\{{)")
_LEFT_RIGHT = re.compile(r"\\(?:left|right)\s*(?![A-Za-z])(\.)?")
_SPACES = re.compile(
    r"(?<!\\)((?:\\\\)*)(?:\\(?:[,;:> ]|(?:q?quad|(?:en|thin)?space)(?![A-Za-z])|hspace\s*\{[^{}]*\})|~|\\\n)"
)
_PHANTOM = re.compile(
    r"\\(?:[vh]?phantom|label|tag|vspace|hspace)\s*\{[^{}]*\}|\\!\s*|\\(?:text)?color\s*\{[^{}]*\}|\\(?:left|right)(?=\\)"
)


_SIGNS = {"<=": r"\le ", "=<": r"\le ", ">=": r"\ge ", "!=": r"\ne ", "~=": r"\approx ", "**": "^"}
_SIGN = re.compile(r"<=|=<|>=|!=|~=|\*\*|\.\.\.+|\\not\s*=|\\\{\s*\\\}")
_DEGREES = re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))|\\degrees?(?![A-Za-z])|\\circ\b")
_THOUSANDS = re.compile(r"(?<![\d.,])(\d{1,3})((?:(?:,|\{,\})\d{3})+)(?![\d,]|\{,)")
_BRACED_COMMA = re.compile(r"(?<=\d)\s*\{\s*,\s*\}\s*(?=\d)")
_BRACED_POINT = re.compile(r"(?<=\d)\s*\{\s*\.\s*\}\s*(?=\d)")
_SPACED = re.compile(r"(?<![\d.,^_{}\\A-Za-z/])(\d{1,3})((?:[ ']\d{3})+)(?![\d,])")
_FRAC_ARGUMENT = re.compile(r"\\frac\s*")
_SQRT_DIGIT = re.compile(r"\\sqrt\s*(\[[^\]]*\])?\s*([0-9A-Za-z]|\\[A-Za-z]+)(?![A-Za-z]*\{)")
_POWER = re.compile(r"\^\s*(-?(?:\d+(?:\.\d+)?|[A-Za-z](?![A-Za-z])))(?![\d}])")
_GROUPED = re.compile(r"(\^|_|\\sqrt|\\cbrt|\\abs|\\factorial|\\floor|\\ceil(?:ing)?)\s*\(")
_EDGES = re.compile(r"^[\s\"'`:*]+|(?<!\\)[\s\"`*.,;:?]+$|\\+\s*$")
_EDGE_QUOTE = re.compile(r"(?<=[A-Za-z]{2})'+$")
_BLANK = re.compile(r"\s+")
_COMMAND_SPACE = re.compile(r"(\\[A-Za-z]+) (?=[^A-Za-z]|$)")


def normalise(answer: str) -> str:
    """The one spelling of this answer; may be empty. What is too long comes back trimmed only."""
    answer = answer.strip().removeprefix("**").removesuffix("**")
    if len(answer) > LONGEST_ANSWER or depth_of(answer) > DEEPEST:
        return answer
    if answer.isascii() and answer.isdigit():
        return answer
    text = _unwrap_styles(_layout(to_ascii(answer)))
    text = _wording(_synonyms(text))
    text = _notation(_arguments(_numbers(_BLANK.sub(" ", text))))
    return _edges(_COMMAND_SPACE.sub(r"\1", _BLANK.sub(" ", text)))


def _layout(text: str) -> str:
    """Without delimiters of mathematics, spacing commands, sizes and dollar signs."""
    text = text.replace("\\\\\\\\", "\\\\").replace(r"\$", "").replace("$", "").replace(r"\&", " and ")
    if "~" in text:
        text = text.replace("~=", r"\approx ").replace("~", " ")
    if "\\" in text:
        text = re.sub(r"(?<!\\)\\[()\[\]]", " ", text)
        text = _PHANTOM.sub("", text)
        text = _LEFT_RIGHT.sub("", text)
        text = _SPACES.sub(r"\1 ", text)
        if r"\begin" not in text:
            text = re.sub(r"\\\\(?=[A-Za-z])", r"\\", text)  # a backslash escaped once too often
    return text


def _unwrap_styles(text: str) -> str:
    r"""``\text{…}`` and its kin give way to their content, between spaces where it is a word."""
    out, position = [], 0
    for style in _STYLE.finditer(text):
        if style.start() < position:
            continue
        content, end = braced(text, style.end())
        if content is None:
            break
        out.append(text[position : style.start()])
        inner = _unwrap_styles(content)
        wide = "text" in style[0] or "box" in style[0] or len(inner) > 1
        out.append(f" {inner} " if wide else inner)
        position = end
    return "".join(out) + text[position:]


def _synonyms(text: str) -> str:
    """One command or sign for each meaning."""
    text = _DEGREES.sub(" degrees ", text) if "circ" in text or "degree" in text else text
    if "\\" in text:
        text = COMMAND.sub(lambda found: COMMANDS.get(found[1], found[0]), text).replace(r"\%", "%")
    text = _SIGN.sub(lambda found: _SIGNS.get(found[0]) or _rare_sign(found[0]), text)
    return text.replace("+-", r"\pm ").replace("+/-", r"\pm ")


def _rare_sign(sign: str) -> str:
    return r"\ldots " if sign[0] == "." else r"\emptyset " if "{" in sign else r"\ne "


def _wording(text: str) -> str:
    """Names of functions, constants and signs in plain text become their commands."""
    if WORD.search(text) is None:
        return text
    if " " in text:
        for pattern, by in PHRASES:
            text = pattern.sub(by, text)
    return WORD.sub(lambda found: WORDS.get(found[0], found[0]), text)


def _numbers(text: str) -> str:
    if "{" in text:
        text = _BRACED_POINT.sub(".", _BRACED_COMMA.sub("", text))
    if "," in text:
        text = _THOUSANDS.sub(lambda m: m[1] + re.sub(r"\D", "", m[2]) if _lone_comma(text, m) else m[0], text)
    return _SPACED.sub(lambda m: m[1] + re.sub(r"\D", "", m[2]), text) if " " in text or "'" in text else text


_TRIGONOMETRY = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-z])")
_ANGLE = re.compile(r"(\d+(?:\.\d+)?)\s*degrees")


def _notation(text: str) -> str:
    """Rarer ways to write logarithms, indices, binomials and angles."""
    for needle, pattern, by in NOTATION:
        if needle in text:
            text = pattern.sub(by, text)
    if "degrees" in text and _TRIGONOMETRY.search(text):
        text = _ANGLE.sub(r"(\1*\\pi/180)", text)
    return text


def _lone_comma(text: str, match: re.Match[str]) -> bool:
    """A comma inside brackets separates; outside it groups digits, unless other commas stand beside it."""
    inside = re.search(r"[(\[{]", text[: match.start()])
    return not inside or "," in text.replace(match[0], "", 1) or text[: match.start()].rstrip().endswith(r"\frac{")


def _arguments(text: str) -> str:
    """Arguments without braces get them: ``\\frac12``, ``\\sqrt3``, ``x^10``, ``x^(n+1)``, ``sqrt(3)``."""
    if "\\frac" in text:
        text = _fractions(text)
    text = _group(text)
    if "\\sqrt" in text or "\\cbrt" in text:
        text = _SQRT_DIGIT.sub(lambda m: rf"\sqrt{m[1] or ''}{{{m[2]}}}", text)
        text = text.replace(r"\cbrt", r"\sqrt[3]")
    return _POWER.sub(r"^{\1}", text) if "^" in text else text


_AROUND = {r"\factorial": ("(", ")!"), r"\abs": ("|", "|"), r"\floor": (r"\lfloor ", r"\rfloor ")}
_AROUND |= dict.fromkeys((r"\ceil", r"\ceiling"), (r"\lceil ", r"\rceil "))


def _group(text: str) -> str:
    """Parentheses after a power, subscript or root become braces."""
    position = 0
    while (found := _GROUPED.search(text, position)) is not None:
        end = closing(text, found.end() - 1)
        if end < 0:
            break
        before, after = _AROUND.get(found[1], (found[1] + "{", "}"))
        text = f"{text[: found.start()]}{before}{text[found.end() : end]}{after}{text[end + 1 :]}"
        position = found.start() + 1
    return text


def _fractions(text: str) -> str:
    r"""``\frac 1 2``, ``\frac1{2}`` and ``\frac{1}2`` as ``\frac{1}{2}``."""
    out, position = [], 0
    for found in _FRAC_ARGUMENT.finditer(text):
        if found.start() < position:
            continue
        top, end = _argument(text, found.end())
        bottom, end = _argument(text, end)
        if top is None or bottom is None:
            break
        out.append(rf"{text[position : found.start()]}\frac{{{_fractions(top)}}}{{{_fractions(bottom)}}}")
        position = end
    return "".join(out) + text[position:]


_ONE_TOKEN = re.compile(r"\s*(\\[A-Za-z]+|[0-9A-Za-z])")


def _argument(text: str, start: int) -> tuple[str | None, int]:
    """A braced group or a single token, and where it ends."""
    while start < len(text) and text[start].isspace():
        start += 1
    if text[start : start + 1] == "{":
        return braced(text, start)
    token = _ONE_TOKEN.match(text, start)
    return (token[1], token.end()) if token else (None, start)


def _edges(text: str) -> str:
    """Without quotes, markdown, final punctuation and groups around the whole."""
    before = None
    while text != before:
        before = text
        text = _EDGE_QUOTE.sub("", _EDGES.sub("", text.strip()))
        if text.startswith("{") and braced(text, 0)[1] == len(text):
            text = text[1:-1]
    return text


def compact(text: str) -> str:
    """A normalised answer without the spaces that carry no meaning, for equality as text."""
    return re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text) if " " in text else text
