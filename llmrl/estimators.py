"""What k answers to each of n problems say about a model, and how sure one can be of it.

``values`` is one row a problem, one column a sample: 1.0 where the answer is right. Rows need not be equally long.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence

import numpy as np

Z95 = 1.959963984540054
"""The normal distribution's 97.5% quantile."""


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Chance that at least one of ``k`` samples is right, unbiased (Chen et al. 2021, arXiv:2107.03374, equation 1).

    ``1 - C(samples - correct, k) / C(samples, k)``.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} cannot be told from {samples} samples")
    return 1.0 - math.comb(samples - correct, k) / math.comb(samples, k)


def majority(
    answers: Sequence[Hashable | None], values: Sequence[float], same: Callable[[Hashable, Hashable], bool]
) -> float:
    """Value of the most frequent answer (Wang et al. 2022, self-consistency); a tie gives the tied answers' mean.

    ``same`` says which answers are equal; None, no answer, has no vote. 0 where nothing was answered.
    """
    votes: list[tuple[Hashable, list[float]]] = []
    for answer, value in zip(answers, values, strict=True):
        if answer is None:
            continue
        group = next((found for known, found in votes if known == answer or same(known, answer)), None)
        if group is None:
            votes.append((answer, [value]))
        else:
            group.append(value)
    if not votes:
        return 0.0
    most = max(len(found) for _, found in votes)
    return float(np.mean([np.mean(found) for _, found in votes if len(found) == most]))


def wilson_interval(correct: int, count: int) -> tuple[float, float]:
    """95% interval of a share (Wilson 1927); unlike the normal one it stays sensible near 0 and 1."""
    share, z2 = correct / count, Z95**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap_interval(values: Sequence[float], *, draws: int = 10_000) -> tuple[float, float]:
    """95% percentile interval of the mean over problems, which are drawn anew; always the same for the same values."""
    generator, data = np.random.default_rng(0), np.asarray(values, dtype=np.float64)
    means = [data[generator.integers(len(data), size=len(data))].mean() for _ in range(draws)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
