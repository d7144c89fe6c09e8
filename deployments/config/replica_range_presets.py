"""Ranges that fit most deployments, with what each costs and gains, as the form offers them. Pure data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """`min_replicas` None: as many as the maximum, which makes the number fixed."""

    id: str
    title: str
    min_replicas: int | None
    cost: str
    wait: str
    suits: str
    is_recommended: bool = False

    def range_for(self, max_replicas: int) -> tuple[int, int]:
        """(min, max) when at most `max_replicas` may run."""
        return (max_replicas if self.min_replicas is None else self.min_replicas), max_replicas


PRESETS = (
    Preset(
        id="lowest_cost",
        title="Lowest cost",
        min_replicas=0,
        cost="Costs nothing while it sleeps.",
        wait="The first request after a pause waits for a cold start.",
        suits="For development and tests.",
    ),
    Preset(
        id="always_available",
        title="Always available",
        min_replicas=1,
        cost="One replica is always paid for.",
        wait="No cold starts. Replicas are added as load grows.",
        suits="For most production workloads.",
        is_recommended=True,
    ),
    Preset(
        id="no_scaling_delay",
        title="No scaling delay",
        min_replicas=None,
        cost="Every replica is always paid for.",
        wait="No request waits for a replica to start.",
        suits="For strict latency targets.",
    ),
)


def matching(min_replicas: int, max_replicas: int) -> Preset | None:
    """The preset that gives this range, the first one where two do; None for a range of one's own."""
    wanted = (min_replicas, max_replicas)
    return next((preset for preset in PRESETS if preset.range_for(max_replicas) == wanted), None)
