"""Handles one inference request: route lookup, limits, slot, replica, response, settlement."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass

from gateway import metrics, model_lookup, openai_errors, usage_metering
from gateway.body_workers import BodyWorkers
from gateway.contract import Admitted, KeyRecord, RouteRecord
from gateway.coroutine_http import (
    ClientDisconnected,
    ConnectionRefused,
    GatewayStopping,
    ReplicaTimeout,
    ReplicaUnreachable,
    Request,
    Response,
    post,
    run_until_disconnect,
)
from gateway.forwarded_headers import render_replica_headers
from gateway.http.replica_pool import ReplicaPool
from gateway.keepalive import KeepaliveComments
from gateway.openai_errors import ErrorResponse
from gateway.published_changes import PublishedChanges
from gateway.request_queue import QueuedRequest, RequestQueues
from gateway.request_validation import (
    COLD_START_TIMEOUT_HEADER,
    ValidatedBody,
    check_context_length,
    parse_cold_start_timeout,
)
from gateway.response_relay import ResponseRelay
from gateway.settlements import Settlements
from gateway.slots import Admission, NoSlot, Outcome, Slot, SlotStore
from gateway.store.client import StoreError
from gateway.usage_metering import Latency

log = logging.getLogger(__name__)
MAX_RESENDS = 2
# How long a request avoids a replica that it could not reach. A dead replica is no longer published after that time.
EXCLUDE_SECONDS = 1.0


@dataclass(frozen=True)
class Components:
    """What all requests of a gateway process share. `stopping` is done when the drain limit has passed."""

    slots: SlotStore
    settlements: Settlements
    published: PublishedChanges
    queues: RequestQueues
    replica_pool: ReplicaPool
    body_workers: BodyWorkers
    stopping: asyncio.Future[None]


async def handle_inference(
    components: Components, request: Request, response: Response, key: KeyRecord, body: ValidatedBody
) -> None:
    """Respond to an authenticated request with a valid body."""
    route = await find_route(body.model, key, components.published)
    if isinstance(route, ErrorResponse):
        return await response.send_error(route)
    error = model_lookup.check_route_state(route) or check_context_length(body, route.context_length)
    if error:
        return await response.send_error(error)
    header = request.headers.get(COLD_START_TIMEOUT_HEADER)
    cold_start_seconds = parse_cold_start_timeout(header, components.queues.cold_start_seconds)
    if isinstance(cold_start_seconds, ErrorResponse):
        return await response.send_error(cold_start_seconds)
    await ProxiedRequest(components, request, response, key, body, route, cold_start_seconds).run()


async def find_route(model: str, key: KeyRecord, published: PublishedChanges) -> RouteRecord | ErrorResponse:
    """Find the route of `model`; reads the latest changes before an unknown model is refused."""
    route = model_lookup.find_route(model, key, published.snapshot.routes if published.snapshot else {})
    if isinstance(route, ErrorResponse):
        with suppress(StoreError):
            if await published.catch_up() and published.snapshot:
                return model_lookup.find_route(model, key, published.snapshot.routes)
    return route


class ProxiedRequest:
    """A request whose route is known. At most one attempt is open at a time."""

    def __init__(
        self,
        components: Components,
        request: Request,
        response: Response,
        key: KeyRecord,
        body: ValidatedBody,
        route: RouteRecord,
        cold_start_seconds: float,
    ) -> None:
        self._components = components
        self._request = request
        self._response = response
        self._body = body
        self._route = route
        self._admission = Admission(
            Admitted(
                request_id="",
                admitted_at=0.0,
                gateway_id=components.slots.gateway_id,
                organization_id=key.organization_id,
                owner_organization_id=route.organization_id,
                deployment_id=route.deployment_id,
                replica_id="",
                key_id=key.key_id,
                user_id=key.user_id,
                model=body.model,
                stream=body.stream,
                input_estimate=body.input_estimate,
            )
        )
        self._excluded_until: dict[str, float] = {}
        self._slot: Slot | None = None
        self._admitted_at = 0.0
        self._relay = self._create_relay()
        keepalive = KeepaliveComments(response, is_stream=body.stream)
        self._queued = QueuedRequest(
            route.deployment_id, len(body.body), cold_start_seconds, self._try_admit, keepalive.send_if_due
        )

    async def run(self) -> None:
        """Respond, and settle the request if it was admitted, however it ends."""
        try:
            await run_until_disconnect(self._run_attempts(), self._request, self._response, self._components.stopping)
            if self._relay.error:
                await self._response.send_error(self._relay.error)
        except ClientDisconnected:
            self._relay.outcome = usage_metering.CLIENT_LEFT
        except GatewayStopping:
            self._relay.outcome = usage_metering.INTERRUPTED
            error = openai_errors.stopped_while_streaming() if self._slot else openai_errors.stopped_while_queued()
            await self._response.send_error(error)
        finally:
            self._settle()

    async def _run_attempts(self) -> None:
        """Run attempts until one has a response.

        An attempt that a replica may have received is repeated at most MAX_RESENDS times; a refused connection is
        repeated as long as a request may wait for a slot.
        """
        resends = 0
        while isinstance(slot := await self._components.queues.admit(self._queued), Slot):
            failure = await self._run_attempt(slot)
            if failure is None:
                return
            log.warning("Replica %s is unreachable: %s", slot.admitted.replica_id, failure)
            await self._send_wakeup()
            resends += not isinstance(failure, ConnectionRefused)
            if resends > MAX_RESENDS:
                self._relay.fail(openai_errors.upstream_lost())
                return
            self._release(slot)
        self._relay.fail(slot)

    async def _run_attempt(self, slot: Slot) -> ReplicaUnreachable | None:
        """Send the request to a replica and relay its response; returns an error if no response has arrived."""
        sending = post(
            self._components.replica_pool,
            slot.address,
            self._body.path.value,
            render_replica_headers(slot.admitted.request_id, self._request.headers),
            self._body.build_upstream_body(self._route.usage_reporting),
        )
        try:
            async with sending as replica_response:
                await self._relay.run(replica_response)
        except ReplicaTimeout:
            self._relay.fail(openai_errors.upstream_timeout())
        except ReplicaUnreachable as error:
            return error
        return None

    async def _try_admit(self) -> Slot | NoSlot | ErrorResponse:
        """Ask for a slot. If cancelled, a slot that Redis grants nevertheless is released."""
        if error := self._check_current_route():
            return error
        now = time.monotonic()
        excluded = [replica_id for replica_id, until in self._excluded_until.items() if until > now]
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def handle(outcome: Outcome) -> None:
            if not future.done():
                future.set_result(outcome)
            elif isinstance(outcome, Slot):  # cancelled: nobody waits for the slot any more
                self._components.settlements.settle(outcome.admitted, None)

        self._components.slots.admit(self._admission, excluded, handle)
        try:
            outcome = await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and isinstance(granted := future.result(), Slot):
                self._components.settlements.settle(granted.admitted, None)
            raise
        if isinstance(outcome, StoreError):
            log.warning("Redis is unavailable, nothing can be admitted: %s", outcome)
            return openai_errors.service_unavailable(
                "The gateway cannot admit requests right now. Try again in a few seconds."
            )
        if not self._admitted_at:
            self._admitted_at = time.perf_counter()
            self._response.request_id = self._admission.request_id
        if isinstance(outcome, Slot):
            self._slot = outcome
            self._components.settlements.add_open_request(outcome.admitted)
            self._relay = self._create_relay()
        return outcome

    def _check_current_route(self) -> ErrorResponse | None:
        """Return an error if the deployment failed or was terminated while the request was queued."""
        snapshot = self._components.published.snapshot
        route = snapshot.routes_by_id.get(self._route.deployment_id) if snapshot else None
        return model_lookup.check_route_state(route) if route else openai_errors.model_not_found(self._body.model)

    def _release(self, slot: Slot) -> None:
        """End an attempt that is not metered and exclude its replica from the next one."""
        self._slot = None
        self._excluded_until[slot.admitted.replica_id] = time.monotonic() + EXCLUDE_SECONDS
        self._components.settlements.settle(slot.admitted, None)

    async def _send_wakeup(self) -> None:
        try:
            await self._components.slots.send_wakeup(self._route.deployment_id)
        except StoreError:
            log.debug("A wakeup was lost.")

    def _settle(self) -> None:
        if self._slot is None:
            return
        counts = self._relay.get_counts()
        has_left = self._relay.outcome == usage_metering.CLIENT_LEFT
        event = usage_metering.build_usage_event(
            self._slot.admitted,
            counts,
            outcome=self._relay.outcome,
            status=499 if has_left else self._response.status or 500,
            seconds=time.perf_counter() - self._admitted_at,
            latency=self._get_latency(),
        )
        metrics.record_request(event, time.perf_counter() - self._response.started)
        self._components.settlements.settle(self._slot.admitted, event)
        self._slot = None

    def _get_latency(self) -> Latency:
        times, waited = self._relay.get_output_times(), self._queued.waited
        return Latency(
            ttft_seconds=None if times.first_at is None else times.first_at - self._response.started,
            itl_mean_seconds=times.get_mean_gap(),
            itl_p99_seconds=times.get_p99_gap(),
            queue_seconds=sum(waited.values()),
            cold=waited[True] > 0,
        )

    def _create_relay(self) -> ResponseRelay:
        return ResponseRelay(self._response, self._body.stream_options, self._body.input_estimate)
