"""The only writer of slots and request notes: each step is one Redis script, so it happens wholly or not at all.

Which replica takes a request is chosen inside `admit`, where the counters of all gateways are. Raises
`redis.RedisError` or `OSError` when Redis cannot be reached.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from gateway import contract, identifiers
from gateway.contract import Admitted, UsageEvent

SCRIPTS = Path(__file__).parent / "scripts"
REAP_BATCH = 500


class NoSlot(Enum):
    """Why `admit` gave nothing; the values are the script's words."""

    FULL = "full"
    NOTHING_READY = "nothing_ready"
    ASLEEP = "asleep"
    UNREACHED = "unreached"

    @property
    def is_cold(self) -> bool:
        """Whether a replica has to start first."""
        return self in {NoSlot.NOTHING_READY, NoSlot.ASLEEP}


@dataclass(frozen=True)
class Slot:
    """A reserved place on a replica. `address` is host:port."""

    admitted: Admitted
    address: str


class Limits:
    """The scripts, bound to one gateway's id and connection pool."""

    def __init__(self, client: Redis, gateway_id: str) -> None:
        self.client = client
        self.gateway_id = gateway_id
        names = ("admit", "settle", "restore", "heartbeat", "reap", "report")
        self._scripts = {name: client.register_script((SCRIPTS / f"{name}.lua").read_text()) for name in names}

    async def admit(self, request: Admitted, excluded: Iterable[str]) -> Slot | NoSlot:
        """Reserve a slot for `request` and fill in its `request_id`, `admitted_at` and `replica_id`. An `admitted_at`
        (of a request that is sent again) or a `request_id` (that its caller knows already) stays; no two attempts may
        have the same id."""
        answer = await self._try_admit(request, excluded)
        if answer[0] == "unregistered":
            await self.heartbeat()
            answer = await self._try_admit(request, excluded)
        if answer[0] != "admitted":
            return NoSlot.NOTHING_READY if answer[0] == "unregistered" else NoSlot(answer[0])
        return Slot(Admitted.from_json(answer[1]), answer[2])

    async def _try_admit(self, request: Admitted, excluded: Iterable[str]) -> list[str]:
        entropy = os.urandom(12)
        stamp = str(round(request.admitted_at * 1000)) if request.admitted_at else ""
        left_out = json.dumps({replica_id: True for replica_id in excluded})
        answer: list[str] = await self._scripts["admit"](
            keys=[
                contract.replicas_key(request.deployment_id),
                contract.slots_key(request.deployment_id),
                contract.GATEWAYS,
                contract.gateway_requests_key(self.gateway_id),
                contract.load_key(request.deployment_id),
            ],
            args=[
                request.to_json(),
                identifiers.random_tail(entropy),
                entropy[11],
                left_out,
                contract.request_key(""),
                stamp,
            ],
        )
        return answer

    async def settle(self, admitted: Admitted, event: UsageEvent | None) -> None:
        """Free the slot if it is still held and append `event`; None ends an attempt that is not counted."""
        await self._scripts["settle"](
            keys=[
                contract.request_key(admitted.request_id),
                contract.slots_key(admitted.deployment_id),
                contract.gateway_requests_key(admitted.gateway_id),
                contract.USAGE,
            ],
            args=[admitted.request_id, _slot(admitted), event.to_json() if event else ""],
        )

    async def restore(self, admitted: Admitted) -> None:
        """Note an open request that Redis has lost; nothing happens to one that it has."""
        await self._scripts["restore"](
            keys=[
                contract.request_key(admitted.request_id),
                contract.slots_key(admitted.deployment_id),
                contract.gateway_requests_key(admitted.gateway_id),
            ],
            args=[admitted.to_json(), admitted.request_id, _slot(admitted)],
        )

    async def heartbeat(self) -> tuple[bool, list[str]]:
        """(whether this gateway was unknown until now, ids of gateways that are dead)."""
        answer: list[Any] = await self._scripts["heartbeat"](
            keys=[contract.GATEWAYS, contract.EPOCH],
            args=[self.gateway_id, contract.GATEWAY_DEAD_SECONDS, os.urandom(8).hex()],
        )
        return bool(int(answer[0])), [str(one) for one in answer[1:]]

    async def reap(self, dead: str) -> None:
        """Settle what a dead gateway left open, and forget the gateway."""
        slots, load = contract.slots_key("\0").split("\0"), contract.load_key("\0").split("\0")
        keys = [
            contract.GATEWAYS,
            contract.gateway_requests_key(dead),
            contract.USAGE,
            contract.gateway_waiting_key(dead),
        ]
        known: list[str | float] = [dead, contract.GATEWAY_DEAD_SECONDS, REAP_BATCH, contract.request_key("")]
        args = [*known, *slots, *load, contract.waiting_field(dead)]
        while int(await self._scripts["reap"](keys=keys, args=args)):
            continue

    async def report(self, deployment_id: str, count: int, oldest_seconds: float) -> None:
        """Say how many requests this gateway holds for a deployment, the first of them for so long."""
        await self._scripts["report"](
            keys=[contract.load_key(deployment_id), contract.gateway_waiting_key(self.gateway_id)],
            args=[contract.waiting_field(self.gateway_id), deployment_id, count, round(oldest_seconds * 1000)],
        )

    async def hold_nothing(self) -> None:
        """Take back whatever this gateway said of requests that it holds."""
        for deployment_id in await self.client.smembers(contract.gateway_waiting_key(self.gateway_id)):
            await self.report(str(deployment_id), 0, 0.0)

    async def leave(self) -> None:
        """Take this gateway out of the list; nothing of it may be open."""
        await self.client.zrem(contract.GATEWAYS, self.gateway_id)

    async def noted(self) -> set[str]:
        """Request ids that Redis holds as open for this gateway."""
        members = await self.client.smembers(contract.gateway_requests_key(self.gateway_id))
        return {str(member) for member in members}

    async def note_of(self, request_id: str) -> Admitted | None:
        text = await self.client.get(contract.request_key(request_id))
        return Admitted.from_json(text) if text else None

    async def hint(self, deployment_id: str) -> None:
        """Ask the console to look at a deployment sooner; losing it costs time only."""
        await self.client.lpush(contract.HINTS, contract.Hint(deployment_id).to_json())
        await self.client.ltrim(contract.HINTS, 0, 999)


def _slot(admitted: Admitted) -> str:
    return f"{admitted.replica_id} {admitted.gateway_id}"
