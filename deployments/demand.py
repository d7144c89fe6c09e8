"""What callers want of a deployment at one moment. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Load:
    """One deployment's load at one moment, of all gateways together.

    `in_flight` by replica id (absent: 0). `serving`: replicas that `admit` may choose, as Redis has them.
    `wake`: somebody came since it fell asleep, or found nothing to serve him; `asleep`: nothing may be chosen now.
    """

    epoch: str
    in_flight: Mapping[str, int]
    serving: frozenset[str]
    waiting: int = 0
    oldest_waiting_seconds: float = 0.0
    last_arrival_at: datetime | None = None
    wake: bool = False
    asleep: bool = False

    @property
    def total(self) -> int:
        return sum(self.in_flight.values()) + self.waiting

    def drained(self, replica_id: str, epoch: str) -> bool:
        """Whether a drain that began under `epoch` has nothing left, and nothing new can come."""
        is_shut = replica_id not in self.serving
        return self.epoch == epoch and is_shut and self.in_flight.get(replica_id, 0) == 0
