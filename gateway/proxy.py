"""One inference request from its key to its UsageEvent: checks, slot, replica, answer, settlement."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, replace

from gateway import admission, openai, router, telemetry, usage
from gateway.admission import Call
from gateway.contract import Admitted, KeyRecord, RouteRecord
from gateway.http import Answer, ClientLeft, GatewayStops, Request, unless_cut
from gateway.ledger import AWAY, Ledger
from gateway.limits import Limits, NoSlot, Slot
from gateway.openai import Refusal
from gateway.relay import Relay
from gateway.snapshot import Follower
from gateway.upstream import TooSlow, Unreached, Upstream, headers_for
from gateway.waiting import WaitingRoom

log = logging.getLogger(__name__)
MAX_RESENDS = 2


@dataclass(frozen=True)
class Parts:
    """What every request of this process shares. `stopping` is done when the drain limit has passed."""

    limits: Limits
    ledger: Ledger
    follower: Follower
    waiting: WaitingRoom
    upstream: Upstream
    stopping: asyncio.Future[None]


async def answer(parts: Parts, request: Request, reply: Answer, key: KeyRecord, call: Call) -> None:
    """Answer an authenticated, well-formed call."""
    found = await route_of(call.model, key, parts.follower)
    if isinstance(found, Refusal):
        return await reply.refuse(found)
    refusal = router.refusal_of_state(found) or admission.refusal_of_length(call, found.context_length)
    if refusal:
        return await reply.refuse(refusal)
    await Exchange(parts, request, reply, key, call, found).run()


async def route_of(model: str, key: KeyRecord, follower: Follower) -> RouteRecord | Refusal:
    """The deployment that `model` names; one that was published a moment ago counts."""
    found = router.route(model, key, follower.current.routes if follower.current else {})
    if isinstance(found, Refusal) and await follower.catch_up() and follower.current:
        found = router.route(model, key, follower.current.routes)
    return found


class Exchange:
    """The request once its deployment is known. At most one attempt is open at a time."""

    def __init__(
        self, parts: Parts, request: Request, reply: Answer, key: KeyRecord, call: Call, found: RouteRecord
    ) -> None:
        self._parts = parts
        self._request = request
        self._reply = reply
        self._call = call
        self._route = found
        self._wanted = _wanted(parts.limits.gateway_id, key, call, found)
        self._excluded: set[str] = set()
        self._slot: Slot | None = None
        self._admitted_at = 0.0
        self._has_hinted = False
        self._relay = self._new_relay()

    async def run(self) -> None:
        """Answer, and settle whatever was admitted, however it ends."""
        try:
            await unless_cut(self._attempts(), self._request, self._reply, self._parts.stopping)
            if self._relay.refusal:
                await self._reply.refuse(self._relay.refusal)
        except ClientLeft:
            self._relay.outcome = usage.CLIENT_LEFT
        except GatewayStops:
            self._relay.outcome = usage.INTERRUPTED
            await self._reply.refuse(openai.shutting_down())
        finally:
            self._settle()

    async def _attempts(self) -> None:
        body = self._call.upstream_body()
        for resend in range(MAX_RESENDS + 1):
            outcome = await self._parts.waiting.admit(self._route.deployment_id, self._admit)
            if isinstance(outcome, Refusal):
                self._relay.refused(outcome)
                return
            try:
                path, headers = self._call.route.value, headers_for(outcome.admitted.request_id, self._request.headers)
                async with self._parts.upstream.post(outcome.address, path, body, headers) as answering:
                    await self._relay.run(answering)
                    return
            except TooSlow:
                self._relay.refused(openai.upstream_timeout())
                return
            except Unreached as error:
                log.warning("Replica %s cannot be reached: %s", outcome.admitted.replica_id, error)
                await self._hint()
                if resend == MAX_RESENDS:
                    self._relay.refused(openai.upstream_lost())
                    return
                await self._release(outcome)

    async def _admit(self) -> Slot | NoSlot | Refusal:
        """Ask for a slot. When cancelled, a slot that is granted all the same is given back."""
        if refusal := self._refusal_by_now():
            return refusal
        asking = asyncio.create_task(self._parts.limits.admit(self._wanted, self._excluded))
        try:
            outcome = await asyncio.shield(asking)
        except asyncio.CancelledError:
            asking.add_done_callback(self._give_back)
            raise
        except AWAY as error:
            log.warning("Redis is away, nothing can be admitted: %s", error)
            return openai.unavailable("The gateway cannot admit requests right now. Try again in a few seconds.")
        if isinstance(outcome, Slot):
            self._take(outcome)
        elif outcome is NoSlot.NOTHING_READY and not self._has_hinted:
            await self._hint()
        return outcome

    def _refusal_by_now(self) -> Refusal | None:
        """A deployment may fail or be terminated while its requests are held."""
        snapshot = self._parts.follower.current
        now = snapshot.by_id.get(self._route.deployment_id) if snapshot else None
        return router.refusal_of_state(now) if now else openai.model_not_found(self._call.model)

    def _take(self, slot: Slot) -> None:
        self._slot = slot
        self._parts.ledger.note(slot.admitted)
        if not self._admitted_at:
            self._admitted_at = time.perf_counter()
        self._wanted = replace(self._wanted, admitted_at=slot.admitted.admitted_at)
        self._reply.request_id = slot.admitted.request_id
        self._relay = self._new_relay()

    def _give_back(self, asking: asyncio.Task[Slot | NoSlot]) -> None:
        if not asking.cancelled() and asking.exception() is None and isinstance(slot := asking.result(), Slot):
            self._parts.ledger.note(slot.admitted)
            self._parts.ledger.settle_soon(slot.admitted, None)

    async def _release(self, slot: Slot) -> None:
        """End an attempt that is not counted; the replica is left out of the next one."""
        self._slot = None
        self._excluded.add(slot.admitted.replica_id)
        await self._parts.ledger.settle(slot.admitted, None)

    async def _hint(self) -> None:
        self._has_hinted = True
        try:
            await self._parts.limits.hint(self._route.deployment_id)
        except AWAY:
            log.debug("A hint was lost.")

    def _settle(self) -> None:
        if self._slot is None:
            return
        status = self._status()
        counts = self._relay.counts()
        event = usage.event_of(
            self._slot.admitted,
            counts,
            outcome=self._relay.outcome,
            status=status,
            seconds=time.perf_counter() - self._admitted_at,
            ttft_seconds=self._relay.ttft_seconds,
        )
        telemetry.used(counts.input_tokens, counts.output_tokens, self._relay.ttft_seconds)
        self._parts.ledger.settle_soon(self._slot.admitted, event, freed=self._freed)
        self._slot = None

    def _status(self) -> int:
        left = self._relay.outcome == usage.CLIENT_LEFT
        return 499 if left else self._reply.status or 500

    def _freed(self) -> None:
        self._parts.waiting.freed(self._route.deployment_id)

    def _new_relay(self) -> Relay:
        return Relay(self._reply, self._call.wish, self._call.input_estimate)


def _wanted(gateway_id: str, key: KeyRecord, call: Call, found: RouteRecord) -> Admitted:
    """The note to make when a slot is found; id, time and replica are filled in by `admit`."""
    return Admitted(
        request_id="",
        admitted_at=0.0,
        gateway_id=gateway_id,
        organization_id=key.organization_id,
        owner_organization_id=found.organization_id,
        deployment_id=found.deployment_id,
        replica_id="",
        key_id=key.key_id,
        user_id=key.user_id,
        model=call.model,
        stream=call.stream,
        input_estimate=call.input_estimate,
    )
