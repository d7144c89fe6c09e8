"""Slots and open requests in Redis. Each operation is one Lua script, so it is applied completely or not at all.

`admit` takes the first of the proposed replicas that has room, by the counters of all gateways; only when none has, it
reads all replicas. Calls with a callback give it the outcome or a `StoreError`, the others raise it.
`gateway/contract.py` documents the Redis keys.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from gateway import contract, request_ids
from gateway.contract import Admitted, UsageEvent
from gateway.rate_limits import NO_RESERVATION, Count, Limit, Reservation
from gateway.replica_view import ReplicaView
from gateway.store import scripts
from gateway.store.client import Reply, StoreClient, StoreError
from gateway.store.resp import Argument
from gateway.usage_metering import TokenCounts

log = logging.getLogger(__name__)
REAP_BATCH_SIZE = 500
MAX_WAKEUPS = 1000
UNREGISTERED, LIMITED = "unregistered", "limited"


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


@dataclass(frozen=True)
class LimitReached:
    """`limit` has no room for the request before `wait_milliseconds` have passed. Nothing was reserved."""

    limit: Limit
    used: int
    wait_milliseconds: int


Outcome = Slot | NoSlot | LimitReached | StoreError


class Admission:
    """A request that asks for slots, one attempt after the other.

    The first answer fixes `request_id` and `admitted_at` for good, also if it grants no slot; until then they are empty
    and 0. `attempt` is the number of the next slot. `counts` are those of the limits of its reservation, as the call
    that reserved has seen them; `has_reserved`: it holds the reservation.
    """

    def __init__(self, request: Admitted, reservation: Reservation = NO_RESERVATION) -> None:
        """`request` has neither id, time nor replica yet."""
        self._request = replace(request, is_limited=bool(reservation.limits))
        self.reservation = reservation
        self.counts: list[Count] = []
        self.has_reserved = False
        self.record = self._request.to_open_text()
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
        self._reservations_key = contract.gateway_reservations_key(gateway_id)
        self._views: dict[str, ReplicaView] = {}
        self._is_newly_registered = False  # by a call of `admit`, since the last heartbeat

    def admit(self, admission: Admission, excluded: Collection[str], on_outcome: Callable[[Outcome], None]) -> None:
        """Reserve a slot for the next attempt on a replica that is not in `excluded` (replica ids)."""
        self._run_admit(admission, excluded, on_outcome, may_register=True)

    async def wait_for_admit(
        self, admission: Admission, excluded: Collection[str] = ()
    ) -> Slot | NoSlot | LimitReached:
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
            try:
                outcome: Outcome = self._read_outcome(admission, view, reply)
            except Exception:
                log.exception("A reply of the script admit cannot be read: %r", reply)
                outcome = StoreError("Redis sent a reply that cannot be read.")
            on_outcome(outcome)

        keys = [
            contract.replicas_key(deployment_id),
            contract.slots_key(deployment_id),
            contract.GATEWAYS,
            self._requests_key,
            contract.load_key(deployment_id),
            contract.waiting_gateways_key(deployment_id),
        ]
        arguments: list[Argument] = [
            self.gateway_id,
            admission.attempt,
            admission.milliseconds,
            admission.tail,
            " ".join(candidates),
            " ".join(excluded),
            admission.record,
        ]
        if admission.reservation.limits and not admission.has_reserved:
            limits = admission.reservation.limits
            keys += [self._reservations_key, *(limit.counter for limit in limits)]
            arguments += [admission.reservation.tokens, sum(limit.unit == contract.REQUESTS for limit in limits)]
            arguments += [limit.maximum for limit in limits]
        self.client.run_script(scripts.ADMIT, keys, arguments, handle)

    def _read_outcome(self, admission: Admission, view: ReplicaView, reply: list[Any]) -> Slot | NoSlot | LimitReached:
        state = reply[0]
        admission.fix(reply[1])
        if reply[2]:
            numbers = list(map(int, reply[2].split()))
            admission.counts = list(map(Count, numbers[::2], numbers[1::2]))
            if state == LIMITED:
                number = int(reply[3]) - 1
                limit = admission.reservation.limits[number]
                return LimitReached(limit, admission.counts[number].used, int(reply[4]))
            admission.has_reserved = True
        if state not in {"admitted", "scanned", NoSlot.FULL.value}:
            view.forget()
            return NoSlot.NOTHING_READY if state == UNREGISTERED else NoSlot(state)
        _, _, _, replica_id, in_flight, address, *flat = reply
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
        """Release the slot if it is still held and append `event`, whose tokens take the place of the reserved ones.

        None ends an attempt that is not metered; the reservation of its request stays.
        """

        def handle(reply: Reply) -> None:
            if isinstance(reply, StoreError):
                return on_settled(reply)
            if reply >= 0 and (view := self._views.get(admitted.deployment_id)):
                view.correct(admitted.replica_id, reply)
            on_settled(None)

        keys = [
            contract.gateway_requests_key(admitted.gateway_id),
            contract.slots_key(admitted.deployment_id),
            contract.USAGE,
            contract.waiting_gateways_key(admitted.deployment_id),
        ]
        arguments: list[Argument] = [
            admitted.attempt_id,
            admitted.replica_id,
            admitted.deployment_id,
            contract.gateway_channel(""),
            event.to_json() if event else "",
        ]
        if event and admitted.is_limited:
            keys.append(contract.gateway_reservations_key(admitted.gateway_id))
            arguments += [admitted.request_id, event.input_tokens + event.output_tokens]
        self.client.run_script(scripts.SETTLE, keys, arguments, handle)

    def give_back(self, request_id: str, on_given_back: Callable[[StoreError | None], None]) -> None:
        """Remove the reservation of a request that has ended without a slot, if it is still there."""
        self.client.run_script(
            scripts.GIVE_BACK,
            [self._reservations_key],
            [request_id],
            lambda reply: on_given_back(reply if isinstance(reply, StoreError) else None),
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
        """Register this gateway as alive; returns (whether it was not registered at the last call, ids of dead
        gateways)."""
        reply = await self.client.execute_script(scripts.HEARTBEAT, *self._build_heartbeat())
        is_new, self._is_newly_registered = bool(int(reply[0])) or self._is_newly_registered, False
        return is_new, [str(gateway_id) for gateway_id in reply[1:]]

    def _register(self, on_registered: Callable[[StoreError | None], None]) -> None:
        def handle(reply: Reply) -> None:
            if isinstance(reply, StoreError):
                return on_registered(reply)
            self._is_newly_registered |= bool(int(reply[0]))
            on_registered(None)

        keys, args = self._build_heartbeat()
        self.client.run_script(scripts.HEARTBEAT, keys, args, handle)

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
            contract.gateway_reservations_key(dead_gateway_id),
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

    async def list_reservations(self) -> set[str]:
        """Return the ids of the requests for which Redis records a reservation of this gateway."""
        return set(await self.client.execute("HKEYS", self._reservations_key))

    async def get_open_request(self, attempt_id: str) -> Admitted | None:
        text = await self.client.execute("HGET", self._requests_key, attempt_id)
        return Admitted.from_text(attempt_id, text) if text else None

    def send_wakeup(self, deployment_id: str) -> None:
        """Ask the console to reconcile a deployment now; a lost wakeup costs latency only."""
        self.client.call(("LPUSH", contract.WAKEUPS, contract.Wakeup(deployment_id).to_json()), _ignore)
        self.client.call(("LTRIM", contract.WAKEUPS, 0, MAX_WAKEUPS - 1), _ignore)


def _ignore(reply: Reply) -> None:
    pass
