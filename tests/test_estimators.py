"""Estimators against enumeration, their definitions and published values."""

from itertools import combinations
from math import isclose

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrl.estimators import bootstrap_interval, majority, pass_at_k, wilson_interval


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_subsets_with_a_right_one(case: tuple[int, int, int]) -> None:
    samples, correct, k = case
    outcomes = [i < correct for i in range(samples)]
    subsets = list(combinations(outcomes, k))
    assert isclose(pass_at_k(samples, correct, k), sum(map(any, subsets)) / len(subsets))


def test_pass_at_k_is_unbiased_and_the_plain_estimate_is_not() -> None:
    """Binomial(5, 0.3) right answers: the mean over them is exactly 1 - 0.7^3."""
    from math import comb

    chance = [comb(5, c) * 0.3**c * 0.7 ** (5 - c) for c in range(6)]
    assert isclose(sum(p * pass_at_k(5, c, 3) for c, p in enumerate(chance)), 1 - 0.7**3)
    plain = sum(p * (1 - (1 - c / 5) ** 3) for c, p in enumerate(chance))
    assert not isclose(plain, 1 - 0.7**3, rel_tol=0.01)


def test_pass_at_k_needs_k_samples() -> None:
    with pytest.raises(ValueError, match="pass@4 cannot be told from 3"):
        pass_at_k(3, 1, 4)


def test_the_majority_s_value_counts_and_ties_are_shared() -> None:
    def same(one: object, other: object) -> bool:
        return str(one).lstrip("0") == str(other).lstrip("0")

    assert majority(["7", "07", "8"], [1, 1, 0], same) == 1
    assert majority(["7", "8", "8"], [1, 0, 0], same) == 0
    assert majority(["7", "8"], [1, 0], same) == 0.5
    assert majority([None, None, "7"], [0, 0, 1], same) == 1
    assert majority([None], [0], same) == 0


def test_wilson_interval_has_its_published_values() -> None:
    """Newcombe 1998, Statistics in Medicine 17:857, table I, method 3."""
    for correct, count, low, high in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)]:
        found = wilson_interval(correct, count)
        assert [round(value, 4) for value in found] == [low, high]
    assert wilson_interval(29, 29)[1] == 1
    assert round(wilson_interval(29, 29)[0], 4) == 0.8830


def test_bootstrap_interval_is_about_two_standard_errors_and_repeatable() -> None:
    values = np.random.default_rng(1).random(400).tolist()
    low, high = bootstrap_interval(values)
    error = np.std(values) / 20
    assert isclose((high - low) / (2 * 1.96 * error), 1, rel_tol=0.05)
    assert low < np.mean(values) < high
    assert bootstrap_interval(values) == (low, high)
    assert bootstrap_interval([1.0] * 9) == (1.0, 1.0)
