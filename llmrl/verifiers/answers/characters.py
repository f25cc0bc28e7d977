"""Characters that look like mathematics, brought to the LaTeX or ASCII that means the same."""

from __future__ import annotations

import re
import unicodedata

_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe00-\ufe0f\ufeff]")

_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ", "0123456789+-=()ni", strict=True))
_SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₒₓₙₘₖᵢⱼ", "0123456789+-=()aeoxnmkij", strict=True))
_RAISED = re.compile(f"[{''.join(_SUPERSCRIPTS)}]+")
_LOWERED = re.compile(f"[{''.join(_SUBSCRIPTS)}]+")
_ROOT = re.compile(r"([√∛∜])\s*(?:\(([^()]*)\)|([0-9.]+|\w))")
_ROOT_INDEX = {"√": "", "∛": "[3]", "∜": "[4]"}
_BARE_ROOT = {"√": r"\sqrt", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]"}

_MEANING = {
    **dict.fromkeys("−–—‐‑‒﹣", "-"),
    **dict.fromkeys("×✕✖⨯∗⋅·•∙", r" \cdot "),
    **dict.fromkeys("÷∕⁄", "/"),
    **dict.fromkeys("∶", ":"),
    **dict.fromkeys("≤⩽≦", r"\le "),
    **dict.fromkeys("≥⩾≧", r"\ge "),
    **dict.fromkeys("≈≃≅", r"\approx "),
    **dict.fromkeys("∅⌀", r"\emptyset "),
    **dict.fromkeys("⟨〈", r"\langle "),
    **dict.fromkeys("⟩〉", r"\rangle "),
    **dict.fromkeys("“”„«»″", '"'),
    **dict.fromkeys("‘’‚′`", "'"),
    **dict.fromkeys("，、﹐٬", ","),
    **dict.fromkeys("；", ";"),
    **dict.fromkeys("：", ":"),
    **dict.fromkeys("。．", "."),
    **dict.fromkeys("∣｜", "|"),
    **dict.fromkeys("【［", "["),
    **dict.fromkeys("】］", "]"),
    **dict.fromkeys("º˚°", r"^\circ "),
    **dict.fromkeys("→⟶", r"\to "),
    **dict.fromkeys("⇒⟹∴", r"\Rightarrow "),
    "≠": r"\ne ", "∞": r"\infty ", "±": r"\pm ", "∓": r"\mp ", "∪": r"\cup ", "∩": r"\cap ",
    "∖": r"\setminus ",
    "∈": r"\in ", "∉": r"\notin ", "⊂": r"\subset ", "∨": r"\lor ", "∧": r"\land ", "∑": r"\sum ", "∏": r"\prod ",
    "∫": r"\int ", "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "∠": r"\angle ",
    "△": r"\triangle ",
    "…": "...", "⋯": "...", "€": " euros ", "£": " pounds ", "¥": " yen ", "₹": " rupees ", "¢": " cents ",
    "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℚ": r"\mathbb{Q}", "ℕ": r"\mathbb{N}", "ℂ": r"\mathbb{C}", "′": "'",
    "µ": "μ", "\u00a0": " ", "∆": "Δ", "％": "%", "‰": r"/1000",
}  # fmt: skip
_GREEK = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma sigma tau"
_GREEK = (_GREEK + " upsilon phi chi psi omega").split()
_MEANING |= {chr(0x3B1 + i): f"\\{name} " for i, name in enumerate(_GREEK) if name != "omicron"}
_MEANING |= {
    chr(0x391 + i): f"\\{name.capitalize()} "
    for i, name in enumerate(_GREEK)
    if name in ("gamma", "delta", "theta", "lambda", "xi", "pi", "sigma", "phi", "psi", "omega")
}
_MEANING |= {"ϕ": r"\phi ", "ϵ": r"\epsilon ", "ϑ": r"\theta "}
_LOOK_ALIKES = dict(zip("АВСЕНКМОРТХаеорсухіΑΒΕΖΗΙΚΜΝΟΡΤΥΧο", "ABCEHKMOPTXaeopcyxiABEZHIKMNOPTYXo", strict=True))
_TABLE = str.maketrans(_LOOK_ALIKES | _MEANING)


def to_ascii(text: str) -> str:
    """The text with typographic mathematics as LaTeX, look-alike letters and all digits as ASCII."""
    if text.isascii():
        return text
    text = _INVISIBLE.sub("", text)
    text = _RAISED.sub(lambda m: "^{" + "".join(_SUPERSCRIPTS[c] for c in m[0]) + "}", text)
    text = _LOWERED.sub(lambda m: "_{" + "".join(_SUBSCRIPTS[c] for c in m[0]) + "}", text)
    text = _ROOT.sub(lambda m: rf"\sqrt{_ROOT_INDEX[m[1]]}{{{m[2] or m[3]}}}", text)
    for sign, command in _BARE_ROOT.items():
        text = text.replace(sign, command)
    text = text.translate(_TABLE)
    return text if text.isascii() else "".join(map(_simple, text))


def _simple(character: str) -> str:
    """Its compatibility form; vulgar fractions as LaTeX, digits of any script as 0 to 9."""
    if character.isascii():
        return character
    if unicodedata.category(character) == "Nd":
        return str(unicodedata.digit(character))
    form = unicodedata.normalize("NFKC", character)
    top, slash, bottom = form.partition("⁄")
    if slash:
        return rf"\frac{{{top}}}{{{bottom}}}"
    return form.translate(_TABLE)
