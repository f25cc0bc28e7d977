"""What is written in several ways, and the one way that is kept: commands, words and notations."""

from __future__ import annotations

import re

FUNCTIONS = ("arcsinh", "arccosh", "arctanh", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "sin", "cos", "tan")
FUNCTIONS += ("cot", "sec", "csc", "log", "ln", "exp", "gcd", "lcm", "max", "min", "det")
_GREEK = "alpha|beta|gamma|delta|epsilon|theta|lambda|sigma|omega|phi|psi|mu|rho|tau|pi"


def _table(*rows: tuple[str, str]) -> dict[str, str]:
    return {name: by for names, by in rows for name in names.split()}


COMMANDS = _table(
    (
        "displaystyle textstyle scriptstyle limits nolimits rm bf it sf tt boldmath mathstrut hfill noindent centering",
        " ",
    ),
    (
        "big Big bigg Bigg bigl bigr bigm Bigl Bigr Bigm biggl biggr Biggl Biggr middle mleft mright allowbreak hline",
        " ",
    ),
    (
        "checkmark square qed par protect nonumber relax hat widehat tilde widetilde vec overrightarrow operatorname",
        " ",
    ),
    ("dfrac tfrac cfrac", r"\frac"),
    ("dbinom tbinom", r"\binom"),
    ("leqslant leqq leq le", r"\le "),
    ("geqslant geqq geq ge", r"\ge "),
    ("lt", "<"),
    ("gt", ">"),
    ("neq ne", r"\ne "),
    ("times cdot ast star bullet", "*"),
    ("div", "/"),
    ("lbrace", r"\{"),
    ("rbrace", r"\}"),
    ("lbrack", "["),
    ("rbrack", "]"),
    ("lvert rvert vert mid", "|"),
    ("approxeq approx simeq cong", r"\approx "),
    ("varnothing emptyset", r"\emptyset "),
    ("dots cdots dotsc dotsb ldots", r"\ldots "),
    ("rightarrow longrightarrow to", r"\to "),
    ("implies Longrightarrow therefore Rightarrow", r"\Rightarrow "),
    ("lor vee", " or "),
    ("land wedge", " and "),
    ("backslash smallsetminus setminus", r"\setminus "),
    ("bigcup", r"\cup "),
    ("bigcap", r"\cap "),
    ("varphi", r"\phi "),
    ("vartheta", r"\theta "),
    ("varepsilon", r"\epsilon "),
    ("varrho", r"\rho "),
    ("bmod pmod", r"\mod "),
    ("arsinh", r"\arcsinh"),
    ("lg", r"\log_{10}"),
    ("colon ratio", ":"),
    ("bar", r"\overline"),
    ("imath", "i"),
    ("prime", "'"),
    ("ell", "l"),
    ("euro", " euros "),
    ("pounds", " pounds "),
)
COMMAND = re.compile(r"\\([A-Za-z]+)")

PHRASES = [
    (re.compile(r"\b(?:negative|minus) (?=\d)", re.IGNORECASE), "-"),
    (re.compile(r"\b(?:negative|minus) infinity\b", re.IGNORECASE), r"-\\infty "),
    (re.compile(r"\bpositive infinity\b", re.IGNORECASE), r"\\infty "),
    (re.compile(r"\bper cent(?:age)?\b", re.IGNORECASE), "%"),
    (re.compile(r"\bplus or minus\b", re.IGNORECASE), r"\\pm "),
]
WORD = re.compile(r"(?<![A-Za-z\\])[A-Za-z]{2,10}(?![A-Za-z])")
WORDS = {name: "\\" + name for name in FUNCTIONS}
WORDS |= {name: rf"\{name} " for name in _GREEK.split("|")}
WORDS |= {name: rf"\{name}" for name in ("sqrt", "cbrt", "floor", "ceil", "ceiling", "abs", "factorial", "binom")}
WORDS |= {"mod": r"\mod ", "asin": r"\arcsin", "acos": r"\arccos", "atan": r"\arctan"}
WORDS |= dict.fromkeys(("infinity", "infty", "inf", "oo", "Infinity", "Inf"), r"\infty ")
WORDS |= dict.fromkeys(("percent", "percentage", "pct", "Percent"), "%")
WORDS |= {"union": r"\cup ", "intersect": r"\cap ", "intersection": r"\cap "}
_CONDITION = r"(?:,\s*(?:where|for|with)?|\s(?:where|for|with))\s*"
NOTATION = [
    ("log_", re.compile(r"\\log_(?:e(?![A-Za-z])|\{\s*e\s*\})"), r"\\ln "),
    ("_", re.compile(r"_\{\s*(\w)\s*\}"), r"_\1"),
    (" ", re.compile(r"\s+(?=[\^_!])"), ""),
    (r"\{", re.compile(r"(\\(?:max|min|gcd|lcm))\s*\\\{([^{}]*)\\\}"), r"\1(\2)"),
    ("choose", re.compile(r"\{?([^{}()\s]{1,40})\s?\\choose\s?([^{}()\s]{1,40})\}?"), r"\\binom{\1}{\2}"),
    ("over", re.compile(r"\{([^{}]*)\\over(?![A-Za-z])([^{}]*)\}"), r"\\frac{\1}{\2}"),
    ("", re.compile(r"(?<=\d)\s*(?:\^\{?\s*)?(?:st|nd|rd|th)(?![A-Za-z])\s*\}?"), ""),
    ("\\in", re.compile(rf"{_CONDITION}[a-z](?:\s*,\s*[a-z])?\s*\\in\s*\\mathbb\{{[ZNQRC]\}}\s*$"), ""),
    (
        "integer",
        re.compile(
            rf"{_CONDITION}(?:(?:any|some|all)\s+)?(?:integers?\s+)?[a-z](?:\s+is)?(?:\s+an)?(?:\s+integer)?\s*$"
        ),
        "",
    ),
    (" ", re.compile(r"^(?:Rs\.?|USD|US|EUR|INR|GBP|CAD|AUD)\s+(?=\d)"), ""),
    ("log", re.compile(r"\\log(\d+)(?=\()"), r"\\log_{\1}"),
    ("choose", re.compile(r"(?<!\w)(\d+) choose (\d+)(?!\w)"), r"\\binom{\1}{\2}"),
    ("C", re.compile(r"(?<![\w.])(\d+)C(\d+)(?!\w)"), r"\\binom{\1}{\2}"),
    ("C(", re.compile(r"(?<![A-Za-z\\])C\((\d+),\s*(\d+)\)"), r"\\binom{\1}{\2}"),
    ("x", re.compile(r"(?<=\d)\s*x\s*(?=10\s*\^)"), "*"),
    (" to ", re.compile(r"(?<=\d)\s+to\s+(?=\d)"), ":"),
    ("*", re.compile(r"(\\(?:arc)?(?:sin|cos|tan|cot|sec|csc))\s*([a-z]|\\[a-z]+)\s*(?=\*)"), r"\1(\2)"),
]
"""(what has to occur for it to apply, pattern, replacement), in this order."""
