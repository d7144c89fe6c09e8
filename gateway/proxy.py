"""One inference request from its key to its UsageEvent: checks, slot, replica, answer, settlement."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from dataclasses import dataclass, replace

from gateway import admission, identifiers, openai, router, telemetry, usage
from gateway.admission import Call
from gateway.comments import Comments
from gateway.contract import Admitted, KeyRecord, RouteRecord
from gateway.http import Answer, ClientLeft, GatewayStops, Request, unless_cut
from gateway.ledger import AWAY, Ledger
from gateway.limits import Limits, NoSlot, Slot
from gateway.openai import Refusal
from gateway.relay import Relay
from gateway.snapshot import Follower
from gateway.upstream import Refused, TooSlow, Unreached, Upstream, headers_for
from gateway.waiting import Turn, WaitingRoom

log = logging.getLogger(__name__)
MAX_RESENDS = 2
# How long a request passes over a replica that it could not reach. A dead one is out of the routes by then.
PASS_OVER_SECONDS = 1.0


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
    patience = admission.patience(request.headers.get(admission.PATIENCE_HEADER), parts.waiting.cold_start_seconds)
    if isinstance(patience, Refusal):
        return await reply.refuse(patience)
    await Exchange(parts, request, reply, key, call, found, patience).run()


async def route_of(model: str, key: KeyRecord, follower: Follower) -> RouteRecord | Refusal:
    """The deployment that `model` names; one that was published a moment ago counts."""
    found = router.route(model, key, follower.current.routes if follower.current else {})
    if isinstance(found, Refusal) and await follower.catch_up() and follower.current:
        found = router.route(model, key, follower.current.routes)
    return found


class Exchange:
    """The request once its deployment is known. At most one attempt is open at a time."""

    def __init__(
        self,
        parts: Parts,
        request: Request,
        reply: Answer,
        key: KeyRecord,
        call: Call,
        found: RouteRecord,
        patience: float,
    ) -> None:
        self._parts = parts
        self._request = request
        self._reply = reply
        self._call = call
        self._route = found
        self._wanted = _wanted(parts.limits.gateway_id, key, call, found)
        self._passed_over: dict[str, float] = {}
        self._id_is_free = True
        self._slot: Slot | None = None
        self._admitted_at = 0.0
        self._relay = self._new_relay()
        comments = Comments(reply, is_stream=call.stream)
        self._turn = Turn(found.deployment_id, len(call.body), patience, self._admit, comments.held)

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
            await self._reply.refuse(openai.shutting_down() if self._slot else openai.restarting())
        finally:
            self._settle()

    async def _attempts(self) -> None:
        """Until an attempt has its answer. One that a replica may have seen is repeated at most twice; one that no
        replica took, as long as a request may wait for a slot."""
        resends = 0
        while isinstance(slot := await self._parts.waiting.admit(self._turn), Slot):
            await self._tell_id(slot)
            lost = await self._attempt(slot)
            if lost is None:
                return
            log.warning("Replica %s cannot be reached: %s", slot.admitted.replica_id, lost)
            await self._hint()
            resends += not isinstance(lost, Refused)
            if resends > MAX_RESENDS:
                self._relay.refused(openai.upstream_lost())
                return
            await self._release(slot)
        self._relay.refused(slot)

    async def _attempt(self, slot: Slot) -> Unreached | None:
        """None when there was an answer or a refusal; else why nothing of an answer came."""
        headers = headers_for(slot.admitted.request_id, self._request.headers)
        upstream = self._parts.upstream.post(slot.address, self._call.route.value, self._call.upstream_body(), headers)
        try:
            async with upstream as answering:
                await self._relay.run(answering)
        except TooSlow:
            self._relay.refused(openai.upstream_timeout())
        except Unreached as error:
            return error
        return None

    async def _tell_id(self, slot: Slot) -> None:
        """The ledger's id, where the head of the answer could only hold that of an attempt before."""
        if self._reply.has_begun and self._reply.told_id != slot.admitted.request_id:
            text = identifiers.public(slot.admitted.request_id)
            log.info("Request %s goes on as %s", identifiers.public(self._reply.told_id), text)
            await self._reply.write(openai.comment(f"x-request-id: {text}"))

    async def _admit(self) -> Slot | NoSlot | Refusal:
        """Ask for a slot. When cancelled, a slot that is granted all the same is given back."""
        if refusal := self._refusal_by_now():
            return refusal
        now = time.monotonic()
        excluded = [replica_id for replica_id, until in self._passed_over.items() if until > now]
        asking = asyncio.create_task(self._parts.limits.admit(self._named(), excluded))
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
        return outcome

    def _named(self) -> Admitted:
        """The note, with the id that the caller was told already unless another attempt had it."""
        is_fixed = self._reply.has_begun and self._id_is_free
        return replace(self._wanted, request_id=self._reply.request_id) if is_fixed else self._wanted

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
        self._reply.request_id, self._id_is_free = slot.admitted.request_id, False
        self._relay = self._new_relay()

    def _give_back(self, asking: asyncio.Task[Slot | NoSlot]) -> None:
        if not asking.cancelled() and asking.exception() is None and isinstance(slot := asking.result(), Slot):
            self._parts.ledger.note(slot.admitted)
            self._parts.ledger.settle_soon(slot.admitted, None)

    async def _release(self, slot: Slot) -> None:
        """End an attempt that is not counted; the next one passes the replica over."""
        self._slot = None
        self._passed_over[slot.admitted.replica_id] = time.monotonic() + PASS_OVER_SECONDS
        if not self._reply.has_begun:
            tail = identifiers.random_tail(os.urandom(10))
            self._reply.request_id = identifiers.uuid7(round(slot.admitted.admitted_at * 1000), tail)
            self._id_is_free = True
        await self._parts.ledger.settle(slot.admitted, None)

    async def _hint(self) -> None:
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
