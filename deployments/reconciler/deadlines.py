"""How long a replica may stay in a starting phase: longer for a model with more weights. Pure."""

from __future__ import annotations

from collections.abc import Mapping

MIB = 2**20


def deadline_seconds(
    phase: str, base_seconds: float, weight_bytes: int, floor_mib_per_second: Mapping[str, float]
) -> float:
    """The base, and what `weight_bytes` take at the slowest rate that counts as progress in this phase.

    A phase without a rate, or with 0, does not move weights: its deadline is the base.
    """
    return base_seconds + weights_seconds(phase, weight_bytes, floor_mib_per_second)


def weights_seconds(phase: str, weight_bytes: int, floor_mib_per_second: Mapping[str, float]) -> float:
    """The part of a deadline that the weights earn."""
    rate = floor_mib_per_second.get(phase, 0.0)
    return weight_bytes / (rate * MIB) if rate else 0.0
