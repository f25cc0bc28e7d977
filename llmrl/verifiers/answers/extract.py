r"""Where a completion states its final answer.

In this order: the last ``<answer>…</answer>``, the last ``\boxed{…}``, the last ``#### …``, the last "the answer is …",
the last line, which is the answer itself where it reads like one, or else holds it as its last formula or number.
Thinking between ``<think>`` tags does not count.
"""

from __future__ import annotations

import re

from llmrl.verifiers.answers.brackets import groups
from llmrl.verifiers.answers.characters import to_ascii
from llmrl.verifiers.answers.normalise import LONGEST_ANSWER

MOST_CANDIDATES = 4
"""Different answers that may be given one after the other; then they all are the answer, which none of them is."""
MOST_STATEMENTS = 30
LONGEST_SEARCHED = 40_000
"""Characters at the end of a completion in which the answer is looked for."""

_THINK_END = re.compile(r"</(?:think|thinking|reasoning|thought|scratchpad|reflection)>|◁/think▷|<\|end_of_thought\|>")
_THINK_START = re.compile(
    r"<(?:think|thinking|reasoning|thought|scratchpad|reflection)>|◁think▷|<\|begin_of_thought\|>"
)
_ANSWER_END = re.compile(r"</(answer|final_answer|solution)>", re.IGNORECASE)
_END_MARK = re.compile(r"(?:<\|[a-z_]{2,20}\|>|</s>|<eos>|\[/?INST\]|<end_of_turn>)+\s*$")
_BOX = re.compile(r"\\(?:f?boxed|framebox)(?![A-Za-z])\s*")
_FORMULA_END = re.compile(r"\$|\\\]|\\\)")
_BETWEEN_BOXES = re.compile(r"(?:[\s$,;.&]|\\[()\[\],;: ]|[a-zA-Z](?:_\d)?\s*=|\\text\s*\{|\}|\\quad|and|or|\\\\)*")
_HASHES = re.compile(r"####[ \t]*(\S[^\n]*)")
_STATED = re.compile(
    r"\b(?:answers?|solutions?|result|output|option|choice)\b\**\s*"
    r"(?:to\s[^.\n:=]{1,80}?|of\s[^.\n:=]{1,80}?|for\s[^.\n:=]{1,80}?)?\**\s*"
    r"(?:is\s+therefore|is\s+thus|is\s+simply|would\s+be|must\s+be|should\s+be|will\s+be|(?:is|are|equals|was)\b|[:=])"
    r"\s*(?:given\s+by|equal\s+to)?\s*(?=\S)",
    re.IGNORECASE,
)
_OTHER_TONGUES = re.compile(
    r"(?:答案|答|结果|結果|答え)(?:是|为|為|は|应为|应该是)?\s*:?\s*|(?:respuesta|réponse|Antwort|risposta|resposta)\s*(?:final\s*)?(?:es|est|ist|è|é)?\s*(?:la|le|die)?\s*:?\s*",
    re.IGNORECASE,
)
_HOPE = re.compile(r"\.?\s*I hope (?:it|this) is correct\b.*", re.DOTALL)
_SENTENCE_END = re.compile(r"(?<=[^\s\d.])\.(?=\s|$)|(?<=\d)\.(?=\s+[A-Z]|\s*$)|[!?]?\n|(?<=[a-z)]);\s")
_FORMULA = re.compile(
    r"\$\$(.+?)\$\$|(?<!\\)\$((?:\\\$|[^$\n])+|\s*\\begin[^$]+)\$|\\\[(.+?)\\\]|\\\((.+?)\\\)", re.DOTALL
)
_JOINED_FORMULAS = re.compile(r"\s*(?:,|;|and|or|,\s*and)?\s*")
_NUMBER = re.compile(
    r"(?:(?<![\w)}])-)?\\?\$?(?:(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d*\.?\d+)(?:\.\d+)?(?:\s?/\s?\d+)?|\\[dt]?frac\{\d+\}\{\d+\})(?:\s?\\?%)?",
    re.ASCII,
)
_PROSE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}(?![A-Za-z]*\()")
_VERB = re.compile(
    r"\b(?:is|are|equals?|be|was|were|gives|get|gets|makes|yields|obtain|becomes)\s+(?:equal to\s+)?", re.IGNORECASE
)
_LEAD = re.compile(
    r"^(?:(?:->|=>|>\s|#+\s|\d\.\s+(?=\S))\s*)?"
    r"(?:(?:so|thus|hence|therefore|then|answer|ans|final answer|result|finally)\s*(?:[,:]\s*|\s))?"
    r"(?:(?:it|this|that)(?:\s+is|'s|\s+was)\s+)?",
    re.IGNORECASE,
)
_FAREWELL = re.compile(r"^\W*(?:i hope|hope (?:this|that)|let me know|feel free|if you (?:have|need))", re.IGNORECASE)
_VERDICT = re.compile(r"^(?:yes|no|true|false)(?=[.,;!:])", re.IGNORECASE)
_PHRASE = re.compile(r"\b(?:does not exist|no (?:real )?solutions?|undefined|infinitely many)\b", re.IGNORECASE)
_KNOWN = {
    "sqrt",
    "frac",
    "sin",
    "cos",
    "tan",
    "log",
    "ln",
    "exp",
    "gcd",
    "lcm",
    "max",
    "min",
    "pi",
    "mod",
    "inf",
    "floor",
    "ceil",
}
_KNOWN |= {"infinity", "and", "or", "union", "text", "left", "right", "abs", "theta", "alpha", "beta", "infty", "oo"}


def final_answer(text: str) -> str | None:
    """The final answer as written; None where the completion states none."""
    said = spoken(text)
    if said is None or not said.strip():
        return None
    text = said.replace("：", ":")
    if tagged := _last_tag(text):
        return final_answer(tagged) if _BOX.search(tagged) else _trimmed(tagged)
    boxed = _boxes(text)
    if boxed is None or boxed:
        return boxed
    return _after_hashes(text) or _stated(text) or _last_line(text)


def spoken(text: str) -> str | None:
    """The end of the completion without its thinking; None where it never stopped to think."""
    text = _END_MARK.sub("", _end_of(text, LONGEST_SEARCHED))
    ends = list(_THINK_END.finditer(text))
    if ends:
        text = text[ends[-1].end() :]
    return text if _THINK_START.search(text) is None else None


def _end_of(text: str, length: int) -> str:
    """At most so many last characters, without a word that the cut would leave in part."""
    if len(text) <= length:
        return text
    return "".join(re.split(r"(\s)", text[-length:], maxsplit=1)[2:])


def _last_tag(text: str) -> str | None:
    closed = list(_ANSWER_END.finditer(text))
    if not closed:
        return None
    opening = f"<{closed[-1][1]}>".lower()
    start = text.lower().rfind(opening, 0, closed[-1].start())
    return text[start + len(opening) : closed[-1].start()].strip() or None if start >= 0 else None


def _boxes(text: str) -> str | None:
    r"""The content of the last box, or of several that stand side by side as one answer.

    "" where there is no box at all; None where the last one is empty or cut off and nothing is stated after it.
    """
    if "box" not in text:
        return ""
    ends = groups(text)
    outer: list[tuple[int, str | None, int]] = []
    for found in _BOX.finditer(text):
        if not outer or found.start() >= outer[-1][2]:
            outer.append((found.start(), *_content(text, found.end(), ends)))
    if not outer:
        return ""
    start, content, end = outer.pop()
    if content is None or not content.strip(" $.{}"):
        return _after_hashes(text[end:]) or _stated(text[end:])  # an empty box in instructions that were repeated
    if len(spam := {_inner(box or "") for _, box, _ in [*outer, (start, content, end)]}) > MOST_CANDIDATES:
        return " , ".join(sorted(spam))
    contents = [_inner(content)]
    while outer and outer[-1][1] and _joined(text[outer[-1][2] : start]):
        start, content, _ = outer.pop()
        contents.append(_inner(content or ""))
    percent = re.match(r"\s*\$?\s*(\\?%)", text[end:])
    return " , ".join(dict.fromkeys(reversed(contents))) + (
        "%" if percent and len(contents) == 1 and "%" not in contents[0] else ""
    )


def _joined(between: str) -> bool:
    return len(between) < 60 and "\n\n" not in between and _BETWEEN_BOXES.fullmatch(between) is not None


def _content(text: str, start: int, ends: dict[int, int]) -> tuple[str | None, int]:
    """What a box holds and where it ends; a box without braces holds one word."""
    if text[start : start + 1] == "{":
        if start in ends:
            return text[start + 1 : ends[start] - 1], ends[start]
        cut = _FORMULA_END.search(text, start)  # the formula's end closes it too; else it was cut off
        return (text[start + 1 : cut.start()], cut.end()) if cut else (None, len(text))
    word = re.compile(r"[^\s$]+").match(text, start)
    return (word[0].rstrip(".,"), word.end()) if word else (None, start)


def _inner(content: str) -> str:
    r"""``\boxed{\boxed{3}}`` and ``\boxed{x = \boxed{3}}`` hold 3."""
    content = content.strip()
    if len(content) > LONGEST_ANSWER:
        return content
    while (found := _BOX.search(content)) is not None:
        inner, end = _content(content, found.end(), groups(content))
        if inner is None:
            return ""
        content = inner if not content[end:].strip() else content[: found.start()] + inner + content[end:]
    stated = _stated(re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", content)) if "nswer" in content else None
    return stated or content.strip()


def _after_hashes(text: str) -> str | None:
    found = _HASHES.findall(text)
    return _trimmed(found[-1]) if found else None


def _stated(text: str) -> str | None:
    """What follows the last "the answer is", to the end of the sentence."""
    ends = [found.end() for found in _STATED.finditer(text)]
    if not ends:
        ends = [found.end() for found in _OTHER_TONGUES.finditer(text)]
    said = [a for end in sorted(ends, reverse=True)[:MOST_STATEMENTS] if (a := _statement(text, end)) is not None]
    if len(set(said)) > MOST_CANDIDATES:
        return " , ".join(sorted(set(said)))
    return said[0] if said else None


def _statement(text: str, start: int) -> str | None:
    """What is stated from here on, if anything."""
    rest = _HOPE.sub("", text[start : start + LONGEST_ANSWER]).lstrip(" *:}\n\t")
    return _sentence(rest) if rest.strip(" .*:$") else None


def _sentence(text: str) -> str | None:
    """The first sentence, but a whole formula where it begins with one."""
    formula = _FORMULA.match(text)
    if formula is not None:
        end = _SENTENCE_END.search(text, formula.end())
        tail = text[formula.end() : end.start() if end else len(text)]
        return _trimmed(formula[0] + tail) if _continues(tail) else _trimmed(formula[0])
    end = _SENTENCE_END.search(text)
    sentence = text[: end.start() if end else len(text)]
    verb = _VERB.search(sentence)
    if verb and len(_prose(sentence[: verb.start()])) >= 2:
        sentence = sentence[verb.end() :]
    return _trimmed(re.split(r"\s(?:because|since|as|which|where|so that|because)\s", sentence)[0])


def _continues(tail: str) -> bool:
    """More values or a unit may follow a formula: ``$3$ and $4$``, ``$5$ cm``."""
    return "$" in tail or len(tail.split()) <= 3


def _last_line(text: str) -> str | None:
    text = _end_of(text.strip(), LONGEST_ANSWER)
    lines = [line for line in text.splitlines() if line.strip(" `*-_#$\\[]()")]
    while len(lines) > 1 and _FAREWELL.search(lines[-1]):
        lines.pop()
    if not lines:
        return None
    if (text.count("\n") and r"\end{" in lines[-1]) or lines[-1].strip() in ("\\]", "$$"):
        formulas = list(_FORMULA.finditer(text))
        if formulas:
            return _trimmed(formulas[-1][0])
    line = text if len(lines) == 1 and r"\begin{" in text else lines[-1]
    return _from_line(_LEAD.sub("", line.strip(" *_")))


def _from_line(line: str) -> str | None:
    """The line itself where it reads like an answer; of a sentence what it says."""
    verdict = _VERDICT.match(line)
    if verdict is not None:
        return verdict[0]
    verbs = list(_VERB.finditer(line))
    said = line[verbs[-1].end() :] if verbs else ""
    if said.strip(" .") and not _prose(said):
        return _trimmed(said)
    if _reads_like_an_answer(line) and not (_FORMULA.search(line) and _prose(_FORMULA.sub(" ", line))):
        return _trimmed(line)
    return _from_prose(line)


def _prose(text: str) -> list[str]:
    return [word for word in _PROSE.findall(text) if word.lower() not in _KNOWN]


def _reads_like_an_answer(line: str) -> bool:
    if _FORMULA.search(line) is None and re.search(r"\\[A-Za-z]+", line) is not None:
        line = re.sub(r"\\[A-Za-z]+\s*\{[A-Za-z ]*\}", " ", line)
    return len(_prose(_FORMULA.sub(" ", line))) <= 3 and len(line) < 1_000


def _from_prose(line: str) -> str | None:
    """From a sentence: its last formula, else what follows its verb, else its last number."""
    formulas = list(_FORMULA.finditer(line))
    numbers = list(_NUMBER.finditer(to_ascii(line)))
    if formulas and (not numbers or line.rfind(numbers[-1][0]) < formulas[-1].end()):
        return _trimmed(_last_formulas(line, formulas))
    if numbers:
        return numbers[-1][0]
    if (phrase := _PHRASE.search(line)) is not None:
        return phrase[0]
    sentences = [part for part in re.split(r"(?<=[.!?])\s+", line.strip()) if part]
    verbs = list(_VERB.finditer(sentences[-1])) if sentences else []
    return _trimmed(sentences[-1][verbs[-1].end() :]) if verbs else None


def _last_formulas(line: str, formulas: list[re.Match[str]]) -> str:
    """The last formula, and those before it that only a comma or an "and" keeps apart."""
    first = last = formulas[-1]
    for formula in formulas[-2::-1]:
        if _JOINED_FORMULAS.fullmatch(line, formula.end(), first.start()) is None:
            break
        first = formula
    return line[first.start() : last.end()]


def _trimmed(text: str) -> str | None:
    return re.sub(r"(?<!\.)\.$", "", text.strip()).strip("* \n") or None
