"""The math checker by labelled answers, by properties, and by what is made to break it."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
import time
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import pytest
from answers.completions import PROMPTED
from answers.hostile import BOMBS, CODE, LONG, NESTED, ODD
from answers.labelled import boxed, completions, pairs
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmrl.errors import VerifierError
from llmrl.verifiers.math import Options, extract_answer, is_equivalent, verify, verify_batch

KINDS = sorted({row.kind for row in pairs()})
SHORT = Options(time_limit_s=0.5)
SLACK_S = 0.5
"""On a machine that others use."""


@pytest.mark.parametrize("kind", KINDS)
def test_labelled_answers(kind: str) -> None:
    rows = [row for row in pairs() if row.kind == kind]
    assert len(rows) >= 5
    wrong = [row for row in rows if verify(row.completion, row.gold) != row.right]
    wrong += [row for row in map(boxed, rows) if verify(row.completion, row.gold) != row.right]
    assert wrong == []


def test_there_are_enough_labelled_answers_of_both_labels() -> None:
    labels = [row.right for row in pairs()]
    assert labels.count(True) > 700
    assert labels.count(False) > 400


@pytest.mark.parametrize("row", list(completions()), ids=lambda row: f"{row.kind}: {row.completion[:40]}")
def test_labelled_completions(row) -> None:
    assert verify(row.completion, row.gold) == row.right


@pytest.mark.parametrize(("prompt", "text", "gold", "right"), PROMPTED)
def test_a_prompt_that_is_only_repeated_is_not_answered(prompt: str, text: str, gold: str, right: bool) -> None:
    assert verify(text, gold, prompt=prompt) == right


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{42}.", "42"),
        (r"\boxed{\frac{1}{2}} of it", r"\frac{1}{2}"),
        (r"\boxed{7} but the answer is 8 #### 9", "7"),
        (r"\boxed{2} and \boxed{3}", "2 , 3"),
        (r"done \boxed{5} and \boxed{1", None),
        (r"\boxed{}", None),
        ("#### 1\n#### -2", "-2"),
        ("Thus the answer is 3.5. Good.", "3.5"),
        ("1 2 3\nso -7", "-7"),
        ("We bought them for 1,234,567.5 euros", "1,234,567.5"),
        ("<think>7</think>", None),
        ("", None),
    ],
)
def test_extraction(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer


def test_options() -> None:
    assert not is_equivalent("2+3", "5")
    assert is_equivalent("2+3", "5", options=Options(accept_unsolved=True))
    assert not is_equivalent("0.333", "1/3")
    assert is_equivalent("0.333", "1/3", options=Options(approximation_digits=3))
    assert not is_equivalent("3.2", "3")
    assert is_equivalent("3.2", "3", options=Options(tolerance=0.25))
    assert is_equivalent(r"\sqrt{10}", "3", options=Options(tolerance=0.25))
    assert not is_equivalent(r"\sqrt{11}", "3", options=Options(tolerance=0.25))


@pytest.mark.parametrize("gold", ["", "  ", "$$", r"\boxed{}", r"\boxed{1", r"\frac{1}{", "so " * 100, "9" * 5_000])
def test_a_reference_that_cannot_be_read_is_an_error_and_not_a_wrong_answer(gold: str) -> None:
    with pytest.raises(VerifierError):
        verify(r"\boxed{1}", gold)


def test_a_reference_that_cannot_be_evaluated_is_an_error() -> None:
    with pytest.raises(VerifierError):
        verify(r"\boxed{x}", r"\int_0^1 \sum_{k=1}^{10^9} k^{k x} dx", options=Options(time_limit_s=0.5))


def test_a_batch_keeps_the_failures_of_its_rows_apart() -> None:
    right, wrong, failed = verify_batch([r"\boxed{1}", "2", "3"], ["1", "3", ""])
    assert (right, wrong) == (True, False)
    assert isinstance(failed, VerifierError)
    assert verify_batch(["1+1"], ["2"], ["What is 1+1?"]) == [False]


@pytest.mark.parametrize("form", ["{}", r"\boxed{{{}}}"])
def test_nothing_stalls_or_bloats_it(form: str) -> None:
    assert verify(r"\boxed{\tan x}", r"\frac{\sin x}{\cos x}")  # the process has started
    for answer in [*BOMBS, *LONG, *NESTED, *ODD]:
        text = form.format(answer)
        for gold in ("7", r"\sqrt{2}", "x^2+1", "(1,2)"):
            start = time.perf_counter()
            assert verify(text, gold, options=SHORT) is False, (answer[:50], gold)
            assert time.perf_counter() - start < SHORT.time_limit_s + SLACK_S, (answer[:50], gold)


def test_hostile_references_are_judged_or_refused_in_time() -> None:
    for answer in [*BOMBS, *LONG, *NESTED, *ODD]:
        start = time.perf_counter()
        with suppress(VerifierError):
            assert verify(r"\boxed{7}", answer, options=SHORT) is False, answer[:50]
        assert time.perf_counter() - start < SHORT.time_limit_s + SLACK_S, answer[:50]


def test_no_text_runs_as_code(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for text in CODE:
        for gold in ("5", "x+1", "0"):
            assert not verify(rf"\boxed{{{text.replace('{mark}', str(mark))}}}", gold)
    assert not mark.exists()


@given(st.text())
@settings(deadline=None)
@example("(" * 50 + "1" + ")" * 50)
def test_any_text_is_judged(text: str) -> None:
    answer = extract_answer(text)
    assert answer is None or isinstance(verify(text, "7"), bool)


@given(st.fractions(), st.fractions())
@settings(deadline=None)
def test_fractions_are_equal_exactly_when_their_values_are(a: Fraction, b: Fraction) -> None:
    def latex(x: Fraction) -> str:
        return rf"\frac{{{x.numerator}}}{{{x.denominator}}}"

    assert is_equivalent(latex(a), str(b)) == (a == b)
    assert verify(rf"so $\boxed{{{latex(a)}}}$", str(a))


@given(
    st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**6), max_value=10**6),
    st.integers(-99, 99),
)
@settings(deadline=None)
def test_a_decimal_reference_is_met_by_whatever_rounds_to_it(gold, thousandths: int) -> None:
    answer = Fraction(gold) + Fraction(thousandths, 1_000_000)
    assert is_equivalent(str(answer), str(gold)) == (abs(thousandths) <= 50)


ATOMS = st.sampled_from(["x", "y", "2", "3", r"\pi", r"\sqrt{5}", "n"])
EXPRESSIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(lambda t: f"({t[0]}{t[1]}{t[2]})"),
        st.tuples(inner, inner).map(lambda t: rf"\frac{{{t[0]}}}{{{t[1]}+7}}"),
    ),
    max_leaves=5,
)


@given(EXPRESSIONS, EXPRESSIONS)
@settings(deadline=None, max_examples=30)
def test_expressions_are_equal_to_what_they_are_turned_into(a: str, b: str) -> None:
    assert is_equivalent(f"{a}+{b}", f"{b}+{a}")
    assert is_equivalent(f"2({a})-({a})", a)
    assert not is_equivalent(f"{a}+1", a)
    assert not is_equivalent(f"{a}-x-1", f"{a}-x")


@given(st.lists(st.integers(-99, 99), min_size=2, max_size=6, unique=True), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_lists_have_no_order_and_tuples_have_one(values: list[int], rng: random.Random) -> None:
    shuffled = rng.sample(values, len(values))
    gold = ", ".join(map(str, values))
    assert is_equivalent(r"\{" + ",".join(map(str, shuffled)) + r"\}", gold)
    assert is_equivalent("(" + ",".join(map(str, shuffled)) + ")", f"({gold})") == (shuffled == values)
    assert not is_equivalent(gold + ", 100", gold)


FRAGMENTS = [
    r"\frac",
    r"\sqrt",
    r"\boxed",
    r"\text",
    r"\left",
    r"\right",
    r"\cup",
    r"\pm",
    r"\begin{pmatrix}",
    r"\\",
    "&",
]
FRAGMENTS += [*"0123456789+-*/^_=<>(){}[],.;:!|%$ xyie\\\n", r"\pi", r"\infty", " and ", " or ", "answer is ", "####"]


def fuzz(rounds: int, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(rounds):
        text, gold = ("".join(rng.choices(FRAGMENTS, k=rng.randrange(1, 40))) for _ in range(2))
        start = time.perf_counter()
        with suppress(VerifierError):
            assert isinstance(verify(text, gold), bool)
        assert time.perf_counter() - start < 2.0 + SLACK_S, (text, gold)


def test_fuzz() -> None:
    fuzz(1_000, 0)


@pytest.mark.slow
def test_long_fuzz() -> None:
    fuzz(40_000, 1)


def rows_of(path: str) -> list[dict]:
    folder = os.environ.get("LLMRL_DATASETS")
    if not folder:
        pytest.skip("LLMRL_DATASETS is not set")
    with gzip.open(Path(folder) / path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.mark.parametrize("path", ["gsm8k/test.jsonl.gz", "math/math500_test.jsonl.gz"])
def test_the_solutions_of_data_sets_agree_with_their_answers(path: str) -> None:
    rows = rows_of(path)
    assert len(rows) >= 500
    assert [row["answer"] for row in rows if not verify(row["solution"], row["answer"])] == []
    assert [row["answer"] for row in rows if not verify(rf"\boxed{{{row['answer']}}}", row["solution"])] == []


def test_answers_of_a_data_set_equal_themselves_and_no_others() -> None:
    golds = [row["answer"] for row in rows_of("math/math_train_answers.jsonl.gz") if row["answer"]]
    assert [gold for gold in golds if not verify(rf"\boxed{{{gold}}}", gold)] == []
    others = random.Random(0).sample(golds, len(golds))
    same = [(a, b) for a, b in zip(golds, others, strict=True) if a != b and verify(rf"\boxed{{{a}}}", b)]
    assert len(same) < 0.001 * len(golds), same  # some are written differently and equal


def test_importing_it_is_light() -> None:
    code = "import sys, llmrl.verifiers.math; sys.exit(bool({'torch', 'sympy', 'antlr4', 'mpmath'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
