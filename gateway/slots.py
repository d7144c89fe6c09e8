"""Slots and open requests in Redis. Each operation is one Lua script, so it is applied completely or not at all.

`admit` takes the first of the proposed replicas that has room, by the counters of all gateways; only when none has, it
reads all replicas. Calls with a callback give it the outcome or a `StoreError`, the others raise it.
`gateway/contract.py` documents the Redis keys.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from gateway import contract, request_ids
from gateway.contract import Admitted, UsageEvent
from gateway.replica_view import ReplicaView
from gateway.store import scripts
from gateway.store.client import Reply, StoreClient, StoreError
from gateway.store.resp import Argument
from gateway.usage_metering import TokenCounts

REAP_BATCH_SIZE = 500
MAX_WAKEUPS = 1000
UNREGISTERED = "unregistered"


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


Outcome = Slot | NoSlot | StoreError


class Admission:
    """A request that asks for slots, one attempt after the other.

    The first answer fixes `request_id` and `admitted_at` for good, also if it grants no slot; until then they are empty
    and 0. `attempt` is the number of the next slot.
    """

    def __init__(self, request: Admitted) -> None:
        """`request` has neither id, time nor replica yet."""
        self._request = request
        self.record = request.to_open_text()
        self.tail = request_ids.build_random_tail(os.urandom(10))
        self.request_id = ""
        self.milliseconds = ""
        self.attempt = 1

    @property
    def deployment_id(self) -> str:
        return self._request.deployment_id

    def fix(self, milliseconds: str) -> None:
        """Set the time and the id of the request, unless an earlier answer has."""
        if not self.milliseconds:
            self.milliseconds = milliseconds
            self.request_id = request_ids.build_uuid7(int(milliseconds), self.tail)

    def grant(self, replica_id: str) -> Admitted:
        """Build the record of the granted attempt; the next one has the next number."""
        attempt, self.attempt = self.attempt, self.attempt + 1
        return replace(
            self._request,
            request_id=self.request_id,
            admitted_at=int(self.milliseconds) / 1000,
            replica_id=replica_id,
            attempt=attempt,
        )


class SlotStore:
    """The scripts, bound to the id and the connection of one gateway."""

    def __init__(self, client: StoreClient, gateway_id: str, clock: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds."""
        self.client = client
        self.gateway_id = gateway_id
        self._clock = clock
        self._requests_key = contract.gateway_requests_key(gateway_id)
        self._counts_key = contract.gateway_counts_key(gateway_id)
        self._views: dict[str, ReplicaView] = {}

    def admit(self, admission: Admission, excluded: Collection[str], on_outcome: Callable[[Outcome], None]) -> None:
        """Reserve a slot for the next attempt on a replica that is not in `excluded` (replica ids)."""
        self._run_admit(admission, excluded, on_outcome, may_register=True)

    async def wait_for_admit(self, admission: Admission, excluded: Collection[str] = ()) -> Slot | NoSlot:
        """`admit` as a coroutine. Raises StoreError."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.admit(admission, excluded, lambda outcome: None if future.done() else future.set_result(outcome))
        outcome = await future
        if isinstance(outcome, StoreError):
            raise outcome
        return outcome

    def _run_admit(
        self,
        admission: Admission,
        excluded: Collection[str],
        on_outcome: Callable[[Outcome], None],
        *,
        may_register: bool,
    ) -> None:
        deployment_id = admission.deployment_id
        view = self._views.get(deployment_id)
        if view is None:
            view = self._views[deployment_id] = ReplicaView()
        candidates = view.propose(excluded, self._clock())

        def handle(reply: Reply) -> None:
            if candidates:
                view.withdraw(candidates[0])
            if isinstance(reply, StoreError):
                return on_outcome(reply)
            if reply[0] == UNREGISTERED and may_register:
                self._register(
                    lambda error: (
                        on_outcome(error)
                        if error
                        else self._run_admit(admission, excluded, on_outcome, may_register=False)
                    )
                )
                return
            on_outcome(self._read_outcome(admission, view, reply))

        self.client.run_script(
            scripts.ADMIT,
            [
                contract.replicas_key(deployment_id),
                contract.slots_key(deployment_id),
                contract.GATEWAYS,
                self._requests_key,
                contract.load_key(deployment_id),
                contract.waiting_gateways_key(deployment_id),
            ],
            [
                self.gateway_id,
                admission.attempt,
                admission.milliseconds,
                admission.tail,
                " ".join(candidates),
                " ".join(excluded),
                admission.record,
            ],
            handle,
        )

    def _read_outcome(self, admission: Admission, view: ReplicaView, reply: list[str]) -> Slot | NoSlot:
        state = reply[0]
        admission.fix(reply[1])
        if state not in {"admitted", "scanned", NoSlot.FULL.value}:
            view.forget()
            return NoSlot.NOTHING_READY if state == UNREGISTERED else NoSlot(state)
        _, _, replica_id, in_flight, address, *flat = reply
        seen = list(zip(flat[::3], map(int, flat[1::3]), map(int, flat[2::3]), strict=True))
        if state == "admitted":
            for other_id, others_in_flight, _ in seen:
                view.correct(other_id, others_in_flight)
        else:
            view.replace(seen, self._clock())
        if not replica_id:
            return NoSlot.FULL
        view.correct(replica_id, int(in_flight))
        return Slot(admission.grant(replica_id), address)

    def settle(
        self, admitted: Admitted, event: UsageEvent | None, on_settled: Callable[[StoreError | None], None]
    ) -> None:
        """Release the slot if it is still held and append `event`; None ends an attempt that is not metered."""

        def handle(reply: Reply) -> None:
            if isinstance(reply, StoreError):
                return on_settled(reply)
            if reply >= 0 and (view := self._views.get(admitted.deployment_id)):
                view.correct(admitted.replica_id, reply)
            on_settled(None)

        self.client.run_script(
            scripts.SETTLE,
            [
                contract.gateway_requests_key(admitted.gateway_id),
                contract.slots_key(admitted.deployment_id),
                contract.USAGE,
                contract.waiting_gateways_key(admitted.deployment_id),
            ],
            [
                admitted.attempt_id,
                admitted.replica_id,
                admitted.deployment_id,
                contract.gateway_channel(""),
                event.to_json() if event else "",
            ],
            handle,
        )

    async def wait_for_settle(self, admitted: Admitted, event: UsageEvent | None) -> None:
        """`settle` as a coroutine. Raises StoreError."""
        future: asyncio.Future[StoreError | None] = asyncio.get_running_loop().create_future()
        self.settle(admitted, event, lambda error: None if future.done() else future.set_result(error))
        if error := await future:
            raise error

    def forget_replicas(self, deployment_id: str) -> None:
        """Read all replicas of a deployment at the next call of `admit`, because they have changed."""
        self._views.pop(deployment_id, None)

    async def restore(self, admitted: Admitted) -> None:
        """Record an open request again that Redis has lost; does nothing if Redis still has it."""
        keys = [contract.gateway_requests_key(admitted.gateway_id), contract.slots_key(admitted.deployment_id)]
        args: list[Argument] = [admitted.attempt_id, admitted.to_text(), admitted.replica_id]
        await self.client.execute_script(scripts.RESTORE_REQUEST, keys, args)

    async def heartbeat(self) -> tuple[bool, list[str]]:
        """Register this gateway as alive; returns (whether it was not registered before, ids of dead gateways)."""
        reply = await self.client.execute_script(scripts.HEARTBEAT, *self._build_heartbeat())
        return bool(int(reply[0])), [str(gateway_id) for gateway_id in reply[1:]]

    def _register(self, on_registered: Callable[[StoreError | None], None]) -> None:
        keys, args = self._build_heartbeat()
        self.client.run_script(
            scripts.HEARTBEAT, keys, args, lambda reply: on_registered(reply if isinstance(reply, StoreError) else None)
        )

    def _build_heartbeat(self) -> tuple[list[str], list[Argument]]:
        keys = [contract.GATEWAYS, contract.EPOCH]
        return keys, [self.gateway_id, contract.GATEWAY_DEAD_SECONDS, os.urandom(8).hex()]

    async def reap(self, dead_gateway_id: str) -> None:
        """Settle the open requests of a dead gateway as interrupted and deregister it."""
        keys = [
            contract.GATEWAYS,
            contract.gateway_requests_key(dead_gateway_id),
            contract.USAGE,
            contract.gateway_waiting_key(dead_gateway_id),
            contract.gateway_counts_key(dead_gateway_id),
        ]
        args: list[Argument] = [
            dead_gateway_id,
            contract.GATEWAY_DEAD_SECONDS,
            REAP_BATCH_SIZE,
            *contract.slots_key("\0").split("\0"),
            *contract.load_key("\0").split("\0"),
            contract.waiting_field(dead_gateway_id),
            *contract.waiting_gateways_key("\0").split("\0"),
            contract.gateway_channel(""),
        ]
        while int(await self.client.execute_script(scripts.REAP, keys, args)):
            continue

    async def report_counts(self, counts_by_attempt: Mapping[str, TokenCounts]) -> None:
        """Record the tokens so far of open attempts, with which they are settled if this gateway dies."""
        fields = [text for one, counts in counts_by_attempt.items() for text in (one, counts.to_text())]
        await self.client.execute("HSET", self._counts_key, *fields)

    async def remove_counts(self, attempt_ids: Collection[str]) -> None:
        await self.client.execute("HDEL", self._counts_key, *attempt_ids)

    async def report_waiting(self, deployment_id: str, count: int, oldest_seconds: float) -> None:
        """Report how many requests this gateway queues for a deployment and how long the oldest has been waiting."""
        await self.client.execute_script(
            scripts.REPORT_WAITING,
            [contract.load_key(deployment_id), contract.gateway_waiting_key(self.gateway_id)],
            [contract.waiting_field(self.gateway_id), deployment_id, count, round(oldest_seconds * 1000)],
        )

    async def clear_waiting_reports(self) -> None:
        """Remove all reports of queued requests of this gateway."""
        for deployment_id in await self.client.execute("SMEMBERS", contract.gateway_waiting_key(self.gateway_id)):
            await self.report_waiting(str(deployment_id), 0, 0.0)

    async def deregister(self) -> None:
        """Remove this gateway from the list of gateways; it must have no open requests."""
        await self.client.execute("DEL", self._counts_key)
        await self.client.execute("ZREM", contract.GATEWAYS, self.gateway_id)

    async def list_open_attempts(self) -> set[str]:
        """Return the attempt ids that Redis records as open for this gateway."""
        return set(await self.client.execute("HKEYS", self._requests_key))

    async def get_open_request(self, attempt_id: str) -> Admitted | None:
        text = await self.client.execute("HGET", self._requests_key, attempt_id)
        return Admitted.from_text(attempt_id, text) if text else None

    def send_wakeup(self, deployment_id: str) -> None:
        """Ask the console to reconcile a deployment now; a lost wakeup costs latency only."""
        self.client.call(("LPUSH", contract.WAKEUPS, contract.Wakeup(deployment_id).to_json()), _ignore)
        self.client.call(("LTRIM", contract.WAKEUPS, 0, MAX_WAKEUPS - 1), _ignore)


def _ignore(reply: Reply) -> None:
    pass
