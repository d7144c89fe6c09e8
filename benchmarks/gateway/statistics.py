"""Median, spread and percentiles. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Spread:
    """The median of the rounds and the least and the greatest of them."""

    median: float
    least: float
    greatest: float
    rounds: tuple[float, ...]


def summarize(rounds: Sequence[float]) -> Spread:
    """Raises ValueError without a round."""
    if not rounds:
        raise ValueError("no round was measured")
    return Spread(median(rounds), min(rounds), max(rounds), tuple(rounds))


def percentile(values: Sequence[float], percent: float) -> float:
    """The least of `values` that at least `percent` of them do not exceed. Raises ValueError without a value."""
    if not values:
        raise ValueError("a percentile needs values")
    rank = max(1, math.ceil(len(values) * percent / 100))
    return sorted(values)[rank - 1]
