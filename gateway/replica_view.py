"""What a gateway knows of the replicas of one deployment: how many requests they have in flight, by its last answers.

The view only proposes; the script `admit` decides by the counters that all gateways share, and its answers correct the
view. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

MAX_CANDIDATES = 3
# A view is not used for longer than this: new replicas and the requests of other gateways become known by reading all.
FRESH_SECONDS = 1.0

# Replica id, requests in flight (-1: it takes no requests), maximum.
Seen = tuple[str, int, int]


@dataclass
class _Replica:
    """`known` requests in flight by the last answer, `proposed` ones that have no answer yet. `entry` is the replica's
    valid entry in the heap."""

    maximum: int
    known: int
    proposed: int = 0
    entry: tuple[float, float, str] = (0.0, 0.0, "")

    @property
    def load(self) -> float:
        return (self.known + self.proposed) / self.maximum


class ReplicaView:
    """The replicas in a heap by load; an entry that is no longer a replica's own is skipped."""

    def __init__(self) -> None:
        self._replicas: dict[str, _Replica] = {}
        self._heap: list[tuple[float, float, str]] = []
        self._read_at = float("-inf")
        self._turn = 0.0

    def replace(self, seen: Iterable[Seen], now: float) -> None:
        """Take what a reading of all replicas has seen."""
        previous, self._replicas, self._read_at = self._replicas, {}, now
        for replica_id, in_flight, maximum in seen:
            proposed = previous[replica_id].proposed if replica_id in previous else 0
            self._replicas[replica_id] = _Replica(maximum, in_flight, proposed)
        self._heap = []
        for replica_id in self._replicas:
            self._push(replica_id)

    def forget(self) -> None:
        """Read all replicas next time."""
        self._read_at = float("-inf")

    def correct(self, replica_id: str, in_flight: int) -> None:
        """Take what an answer has seen of one replica; -1: it takes no requests."""
        replica = self._replicas.get(replica_id)
        if replica is None:
            return
        if in_flight < 0:
            del self._replicas[replica_id]
        elif replica.known != in_flight:
            replica.known = in_flight
            self._push(replica_id)

    def propose(self, excluded: Collection[str], now: float) -> list[str]:
        """Return the least loaded replicas, best first; [] to let `admit` read all of them.

        The first one counts as taken until `withdraw`.
        """
        if now - self._read_at >= FRESH_SECONDS:
            self._read_at = now  # one call reads all, the others of this moment go on with what is known
            return []
        candidates: list[str] = []
        passed = []
        while self._heap and len(candidates) < MAX_CANDIDATES:
            entry = self._heap[0]
            replica = self._replicas.get(entry[2])
            if replica is None or replica.entry is not entry:
                heappop(self._heap)
                continue
            if entry[0] >= 1:
                break  # this one and all that follow are full
            passed.append(heappop(self._heap))
            if entry[2] not in excluded:
                candidates.append(entry[2])
        for entry in passed:
            heappush(self._heap, entry)
        if candidates:
            self._replicas[candidates[0]].proposed += 1
            self._push(candidates[0])
        return candidates

    def withdraw(self, replica_id: str) -> None:
        """Take back the count of a proposal that is answered."""
        if (replica := self._replicas.get(replica_id)) and replica.proposed:
            replica.proposed -= 1
            self._push(replica_id)

    def _push(self, replica_id: str) -> None:
        # Equally loaded replicas are chosen in the order in which they got that load.
        self._turn += 1
        replica = self._replicas[replica_id]
        replica.entry = (replica.load, self._turn, replica_id)
        heappush(self._heap, replica.entry)
        if len(self._heap) > 4 * len(self._replicas) + 16:
            self._heap = [each.entry for each in self._replicas.values()]
            heapify(self._heap)
