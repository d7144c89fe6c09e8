"""What is in a cluster and belongs to nobody. Pure.

The cluster was listed before the rows were read, and a row is committed before its replica is asked for, so what has
no live row now had none when it was listed, or has ended since.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from deployments.drivers.base import ObservedReplica
from deployments.states import LIVE, ReplicaState


@dataclass(frozen=True)
class Sweep:
    """Names to stop, and names whose record the provider may forget."""

    reap: tuple[str, ...]
    forget: tuple[str, ...]


def sweep(listed: Iterable[ObservedReplica], states: Mapping[str, ReplicaState]) -> Sweep:
    """`states`: the rows' states by name, read after the listing; a name without a row is absent."""
    orphans = [one for one in listed if states.get(one.name) not in LIVE]
    return Sweep(
        reap=tuple(one.name for one in orphans if one.exited is None),
        forget=tuple(one.name for one in orphans if one.exited is not None),
    )
