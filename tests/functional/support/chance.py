"""What chance allows: bounds of a binomial count that a correct gateway leaves with a probability that is stated and tiny."""

from __future__ import annotations

import math

FAILS_BY_CHANCE = 1e-9
"""Of one check. A thousand checks an hour fail by chance once in a century."""


def bounds(n: int, p: float, chance: float = FAILS_BY_CHANCE) -> tuple[int, int]:
    """The least and the most successes of n draws with probability p, of which less (or more) come with at most half the chance."""
    weights = [_probability(n, k, p) for k in range(n + 1)]
    return _quantile(weights, chance / 2), n - _quantile(weights[::-1], chance / 2)


def assert_share(count: int, n: int, p: float) -> None:
    low, high = bounds(n, p)
    assert low <= count <= high, f"{count} of {n}, where {p:.0%} are {low} to {high}"


def _quantile(weights: list[float], tail: float) -> int:
    """The first index before which less than ``tail`` lies."""
    below = 0.0
    for index, weight in enumerate(weights):
        below += weight
        if below >= tail:
            return index
    return len(weights) - 1


def _probability(n: int, k: int, p: float) -> float:
    if p in (0.0, 1.0):
        return float(k == n * p)
    log = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * math.log(p) + (n - k) * math.log1p(-p)
    return math.exp(log)
