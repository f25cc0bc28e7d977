"""The unit or noun behind a number: ``5 cm``, ``12 apples``, ``3 m/s^{2}``."""

from __future__ import annotations

import re

_ALIASES = """
mm millimeter millimeters millimetre millimetres|cm centimeter centimeters centimetre centimetres cms
dm decimeter decimeters|m meter meters metre metres|km kilometer kilometers kilometre kilometres kms
in inch inches|ft foot feet|yd yard yards|mi mile miles|mg milligram milligrams|g gram grams gm gms
kg kilogram kilograms kgs kilo kilos|lb lbs pound pounds|oz ounce ounces|ton tons tonne tonnes|s sec secs second seconds
min mins minute minutes|h hr hrs hour hours|day days|week weeks|month months|yr yrs year years
ms millisecond milliseconds|ml mL milliliter milliliters millilitre millilitres|L l liter liters litre litres
gal gallon gallons|degrees degree deg degs|rad rads radian radians|dollars dollar usd USD bucks|cents cent
euros euro EUR eur|yen|rupees rupee Rs rs INR|units unit|square sq|cubic cu|N newton newtons|J joule joules
W watt watts|V volt volts|A amp amps ampere amperes|Hz hertz|Pa pascal pascals|K kelvin|mol moles mole|kmh kmph kph
mph|kW kilowatt kilowatts|kJ kilojoule kilojoules|ohm ohms|C celsius Celsius|F fahrenheit Fahrenheit
"""
_CANONICAL = {
    alias: group.split()[0] for line in _ALIASES.split("\n") for group in line.split("|") for alias in group.split()
}
_CANONICAL |= {"kmh": "km per h", "kph": "km per h", "kmph": "km per h", "mph": "mi per h"}
_FILLER = {"per", "of", "a", "an", "the", "each", "in", "total", "square", "cubic", "units", "about", "only", "more"}
_SINGLE = "mgshlLNJWVAKCFMT"
_WORD = r"(?:[A-Za-z]{2,}\.?'?|[" + _SINGLE + r"](?![A-Za-z(_]))"
_UNIT = re.compile(
    rf"(?P<space>\s*-?\s*)(?P<unit>{_WORD}(?:(?:\s*[*/^.,-]\s*|\s+)?(?:{_WORD}|(?<=\^)\{{?-?\d\}}?|\(?[a-z]+\)))*)",
    re.ASCII,
)
_EXPONENT = re.compile(r"\^\{?(-?\d)\}?")
_VARIABLE = re.compile(r"(?<![\\A-Za-z])[A-Za-z](?![A-Za-z])")
_NOT_UNITS = {"or", "and", "mod", "if", "for", "where", "when", "with", "to", "through", "choose", "is", "are", "not"}
LONGEST = 160
"""Characters of an answer in which a unit is looked for."""


def split_unit(text: str) -> tuple[str, str | None]:
    """The value and its unit in one spelling; None without a unit, "" for a noun that is no known unit."""
    if len(text) > LONGEST or not re.search(r"[A-Za-z]\.?'?(?:\^\{?-?\d\}?|\))?$", text):
        return text, None
    for found in re.finditer(r"(?<=[\d)}\]%!])(?![\d)}\]%!])|(?<=[a-z\d}])\s", text):
        unit = _UNIT.fullmatch(text, found.start())
        if unit is None:
            continue
        words = re.findall(r"[A-Za-z]+", unit["unit"])
        known = [_CANONICAL[w] for w in words if w in _CANONICAL]
        attached = not unit["space"]
        if set(words) & _NOT_UNITS or (attached and len(known) < len(words)) or text[found.start() - 1] == "_":
            continue
        if min(map(len, words)) == 1 and (attached or _VARIABLE.search(text[: found.start()])):
            continue  # 5m may be five times m, and the m in x^2 m as well
        return text[: found.start()].strip(), _spelling(unit["unit"]) if known else ""
    return text, None


def _spelling(unit: str) -> str:
    """``square centimeters`` and ``cm^{2}`` alike; nouns and fillers left out."""
    power = "2" if re.search(r"\b(?:square|sq)\b", unit) else "3" if re.search(r"\b(?:cubic|cu)\b", unit) else ""
    unit = _EXPONENT.sub(r" \1 ", unit.replace("/", " per ").replace("*", " "))
    words = [_CANONICAL.get(w.rstrip("."), "") if w[0].isalpha() and w != "per" else w for w in unit.split()]
    kept = [word for word in words if word and (word == "per" or word not in _FILLER)]
    while kept and kept[-1] == "per":
        kept.pop()
    return " ".join([*kept, power]).strip()


def same_unit(a: str | None, b: str | None) -> bool:
    """Units may be left out; two that are given have to agree."""
    return not a or not b or a == b
