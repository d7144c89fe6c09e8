"""Slots and open requests in Redis. Each operation is one Lua script, so it is applied completely or not at all.

`admit` chooses the replica inside Redis, where the slot counters of all gateways are. All methods raise
`redis.RedisError` or `OSError` when Redis is unavailable. `gateway/contract.py` documents the Redis keys.
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

from gateway import contract, request_ids
from gateway.contract import Admitted, UsageEvent

SCRIPTS_FOLDER = Path(__file__).parent / "scripts"
SCRIPT_NAMES = ("admit", "settle", "restore_request", "heartbeat", "reap", "report_waiting")
REAP_BATCH_SIZE = 500
MAX_WAKEUPS = 1000


class NoSlot(Enum):
    """Why `admit` granted no slot; the values are those that the script returns."""

    FULL = "full"
    NOTHING_READY = "nothing_ready"
    ASLEEP = "asleep"
    UNREACHABLE = "unreachable"

    @property
    def is_cold_start(self) -> bool:
        """Whether a replica has to start before a slot can be granted."""
        return self in {NoSlot.NOTHING_READY, NoSlot.ASLEEP}


@dataclass(frozen=True)
class Slot:
    """A reserved slot of a replica. `address` is host:port."""

    admitted: Admitted
    address: str


class SlotStore:
    """The scripts, bound to the id and the Redis client of one gateway."""

    def __init__(self, client: Redis, gateway_id: str) -> None:
        self.client = client
        self.gateway_id = gateway_id
        self._scripts = {
            name: client.register_script((SCRIPTS_FOLDER / f"{name}.lua").read_text()) for name in SCRIPT_NAMES
        }

    async def admit(self, request: Admitted, excluded: Iterable[str]) -> Slot | NoSlot:
        """Reserve a slot on the least loaded replica that is not in `excluded` (replica ids).

        Fills in `request_id`, `admitted_at` and `replica_id`. An `admitted_at` (of a request that is retried) or a
        `request_id` (that the client already received) is kept; two attempts must never share an id.
        """
        reply = await self._run_admit(request, excluded)
        if reply[0] == "unregistered":
            await self.heartbeat()
            reply = await self._run_admit(request, excluded)
        if reply[0] != "admitted":
            return NoSlot.NOTHING_READY if reply[0] == "unregistered" else NoSlot(reply[0])
        return Slot(Admitted.from_json(reply[1]), reply[2])

    async def _run_admit(self, request: Admitted, excluded: Iterable[str]) -> list[str]:
        entropy = os.urandom(12)
        milliseconds = str(round(request.admitted_at * 1000)) if request.admitted_at else ""
        reply: list[str] = await self._scripts["admit"](
            keys=[
                contract.replicas_key(request.deployment_id),
                contract.slots_key(request.deployment_id),
                contract.GATEWAYS,
                contract.gateway_requests_key(self.gateway_id),
                contract.load_key(request.deployment_id),
            ],
            args=[
                request.to_json(),
                request_ids.build_random_tail(entropy),
                entropy[11],
                json.dumps({replica_id: True for replica_id in excluded}),
                contract.request_key(""),
                milliseconds,
            ],
        )
        return reply

    async def settle(self, admitted: Admitted, event: UsageEvent | None) -> None:
        """Release the slot if it is still held and append `event`; None ends an attempt that is not metered."""
        await self._scripts["settle"](
            keys=[
                contract.request_key(admitted.request_id),
                contract.slots_key(admitted.deployment_id),
                contract.gateway_requests_key(admitted.gateway_id),
                contract.USAGE,
            ],
            args=[admitted.request_id, _build_slot_field(admitted), event.to_json() if event else ""],
        )

    async def restore(self, admitted: Admitted) -> None:
        """Record an open request again that Redis has lost; does nothing if Redis still has it."""
        await self._scripts["restore_request"](
            keys=[
                contract.request_key(admitted.request_id),
                contract.slots_key(admitted.deployment_id),
                contract.gateway_requests_key(admitted.gateway_id),
            ],
            args=[admitted.to_json(), admitted.request_id, _build_slot_field(admitted)],
        )

    async def heartbeat(self) -> tuple[bool, list[str]]:
        """Register this gateway as alive; returns (whether it was not registered before, ids of dead gateways)."""
        reply: list[Any] = await self._scripts["heartbeat"](
            keys=[contract.GATEWAYS, contract.EPOCH],
            args=[self.gateway_id, contract.GATEWAY_DEAD_SECONDS, os.urandom(8).hex()],
        )
        return bool(int(reply[0])), [str(gateway_id) for gateway_id in reply[1:]]

    async def reap(self, dead_gateway_id: str) -> None:
        """Settle the open requests of a dead gateway as interrupted and deregister it."""
        slots, load = contract.slots_key("\0").split("\0"), contract.load_key("\0").split("\0")
        keys = [
            contract.GATEWAYS,
            contract.gateway_requests_key(dead_gateway_id),
            contract.USAGE,
            contract.gateway_waiting_key(dead_gateway_id),
        ]
        args: list[str | float] = [
            dead_gateway_id,
            contract.GATEWAY_DEAD_SECONDS,
            REAP_BATCH_SIZE,
            contract.request_key(""),
            *slots,
            *load,
            contract.waiting_field(dead_gateway_id),
        ]
        while int(await self._scripts["reap"](keys=keys, args=args)):
            continue

    async def report_waiting(self, deployment_id: str, count: int, oldest_seconds: float) -> None:
        """Report how many requests this gateway queues for a deployment and how long the oldest has been waiting."""
        await self._scripts["report_waiting"](
            keys=[contract.load_key(deployment_id), contract.gateway_waiting_key(self.gateway_id)],
            args=[contract.waiting_field(self.gateway_id), deployment_id, count, round(oldest_seconds * 1000)],
        )

    async def clear_waiting_reports(self) -> None:
        """Remove all reports of queued requests of this gateway."""
        for deployment_id in await self.client.smembers(contract.gateway_waiting_key(self.gateway_id)):
            await self.report_waiting(str(deployment_id), 0, 0.0)

    async def deregister(self) -> None:
        """Remove this gateway from the list of gateways; it must have no open requests."""
        await self.client.zrem(contract.GATEWAYS, self.gateway_id)

    async def list_open_request_ids(self) -> set[str]:
        """Return the ids of the requests that Redis records as open for this gateway."""
        members = await self.client.smembers(contract.gateway_requests_key(self.gateway_id))
        return {str(member) for member in members}

    async def get_open_request(self, request_id: str) -> Admitted | None:
        text = await self.client.get(contract.request_key(request_id))
        return Admitted.from_json(text) if text else None

    async def send_wakeup(self, deployment_id: str) -> None:
        """Ask the console to reconcile a deployment now; a lost wakeup costs latency only."""
        await self.client.lpush(contract.WAKEUPS, contract.Wakeup(deployment_id).to_json())
        await self.client.ltrim(contract.WAKEUPS, 0, MAX_WAKEUPS - 1)


def _build_slot_field(admitted: Admitted) -> str:
    return f"{admitted.replica_id} {admitted.gateway_id}"
