"""Handles one inference request: key, body, route, slot, replica, response, settlement."""

from __future__ import annotations

import asyncio
import enum
import functools
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from gateway import metrics, model_lookup, openai_errors, rate_limits, usage_metering
from gateway.authentication import authorize
from gateway.body_workers import BodyWorkers
from gateway.contract import Admitted, KeyRecord, RouteRecord
from gateway.count_reports import GetCounts
from gateway.forwarded_headers import render_replica_headers
from gateway.http.heads import Refusal, RequestHead, ResponseHead, render_fields
from gateway.http.replica_connection import Failure
from gateway.http.replica_pool import ReplicaExchange, ReplicaPool
from gateway.keepalive import KeepaliveComments
from gateway.openai_errors import ErrorResponse
from gateway.published_changes import PublishedChanges
from gateway.rate_limits import PromptSizes, Reservation
from gateway.request_ids import format_public_id
from gateway.request_queue import OnAttempt, QueuedRequest, RequestQueues
from gateway.request_validation import (
    COLD_START_TIMEOUT_HEADER,
    InferencePath,
    ValidatedBody,
    check_context_length,
    is_quick_to_validate,
    parse_cold_start_timeout,
    validate_body,
)
from gateway.response_relay import ResponseRelay
from gateway.responses import Response
from gateway.settlements import Settlements
from gateway.slots import Admission, LimitReached, NoSlot, Outcome, Slot, SlotStore
from gateway.store.client import StoreError
from gateway.usage_metering import CLIENT_LEFT, INTERRUPTED, UPSTREAM_ERROR, Latency, TokenCounts

log = logging.getLogger(__name__)
Step = TypeVar("Step", bound=Callable[..., None])
MAX_RESENDS = 2
# How long a request avoids a replica that it could not reach. A dead replica is no longer published after that time.
EXCLUDE_SECONDS = 1.0
# How long a replica may take to end its response after `[DONE]`, so that the connection can be reused.
FINISH_SECONDS = 1.0
CLIENT_CLOSED_REQUEST = 499  # recorded when the client disconnects before any response


@dataclass(frozen=True)
class Components:
    """What all requests of a gateway process share. `open_exchanges` are the inference requests in progress."""

    slots: SlotStore
    settlements: Settlements
    published: PublishedChanges
    queues: RequestQueues
    replica_pool: ReplicaPool
    body_workers: BodyWorkers
    open_exchanges: OpenExchanges
    prompt_sizes: PromptSizes
    body_bytes: int
    default_output_tokens: int


class OpenExchanges:
    """The inference requests in progress. `is_interrupted` is set when the drain limit has passed."""

    def __init__(self) -> None:
        self._exchanges: set[InferenceExchange] = set()
        self._ended = asyncio.Event()
        self.is_interrupted = False

    def add(self, exchange: InferenceExchange) -> None:
        self._exchanges.add(exchange)

    def remove(self, exchange: InferenceExchange) -> None:
        self._exchanges.discard(exchange)
        self._ended.set()

    def list_counts(self) -> list[GetCounts]:
        return [exchange.get_counts for exchange in self._exchanges]

    def interrupt(self) -> None:
        """End all of them, because the drain limit has passed."""
        self.is_interrupted = True
        for exchange in list(self._exchanges):
            exchange.interrupt()

    async def wait_until_none(self) -> None:
        while self._exchanges:
            self._ended.clear()
            await self._ended.wait()


class State(enum.Enum):
    """What an exchange waits for."""

    KEY_AND_BODY = enum.auto()
    VALIDATION = enum.auto()
    SLOT = enum.auto()
    RESPONSE = enum.auto()
    END_OF_RESPONSE = enum.auto()
    END_OF_REPLICA = enum.auto()
    ENDED = enum.auto()


def _answers_failures(step: Step) -> Step:
    """Let a step that raises end its exchange with 500 instead of closing the connection that called it."""

    @functools.wraps(step)
    def run(self: InferenceExchange, *args: Any) -> None:
        try:
            step(self, *args)
        except Exception:
            log.exception("Request %s failed", self.public_id)
            self.end_with_internal_error()

    return cast(Step, run)


class InferenceExchange:
    """One inference request, from its head to its settlement. At most one attempt is open at a time.

    ```
    KEY_AND_BODY → VALIDATION → SLOT → RESPONSE → END_OF_RESPONSE → END_OF_REPLICA → ENDED
                                  ↑ no response │
                                  └─────────────┘
    ```
    In END_OF_REPLICA the client has its whole response, but the replica has not ended its own: the slot is still taken.
    Every state can go to ENDED: by an error, by the client leaving, or by the end of the drain. Whatever ends the
    exchange settles the attempt that is open, once, or gives its reservation back. What arrives after that has no
    effect, but for a slot and a reservation, which are released.
    """

    def __init__(
        self,
        components: Components,
        head: RequestHead,
        response: Response,
        path: InferencePath,
        key_hash: str,
        arrived_at: float,
    ) -> None:
        """`key_hash` is looked up while the body arrives; `arrived_at` is in seconds since the epoch."""
        self.body_limit = components.body_bytes
        self._components = components
        self._head = head
        self._response = response
        self._path = path
        self._arrived_at = arrived_at
        self._state = State.KEY_AND_BODY
        self._key: KeyRecord | None = None
        self._raw_body: bytes | None = None
        self._body: ValidatedBody
        self._route: RouteRecord
        self._admission: Admission | None = None
        self._queued: QueuedRequest | None = None
        self._keepalive: KeepaliveComments
        self._slot: Slot | None = None
        self._admitted_at = 0.0
        self._excluded_until: dict[str, float] = {}
        self._resends = 0
        self._upstream: ReplicaExchange | None = None
        self._relay: ResponseRelay | None = None
        self._task: asyncio.Task[None] | None = None
        self._finish_timer: asyncio.TimerHandle | None = None
        metrics.record_start()
        components.open_exchanges.add(self)
        components.published.keys.find(key_hash, self._take_key)

    # Key and body

    @_answers_failures
    def _take_key(self, found: KeyRecord | StoreError | None) -> None:
        if self._state is State.ENDED:
            return
        key = authorize_found(found, self._arrived_at)
        if isinstance(key, ErrorResponse):
            self._fail(key)
            return
        self._key = key
        self._response.organization = key.organization_slug
        if self._raw_body is not None:
            self._validate(self._raw_body)

    @_answers_failures
    def body_received(self, body: bytes) -> None:
        self._raw_body = body
        if self._key is not None:
            self._validate(body)

    @_answers_failures
    def body_refused(self, refusal: Refusal) -> None:
        self._fail(openai_errors.refused_by_http(refusal.status, refusal.message))

    # Validation

    def _validate(self, body: bytes) -> None:
        self._state = State.VALIDATION
        self._raw_body = None
        if is_quick_to_validate(body):
            self._take_body(validate_body(self._path, body))
        else:
            self._task = asyncio.create_task(self._run(self._validate_in_worker(body)))

    async def _run(self, step: Coroutine[Any, Any, None]) -> None:
        try:
            await step
        except Exception:
            log.exception("Request %s failed", self.public_id)
            self.end_with_internal_error()

    async def _validate_in_worker(self, body: bytes) -> None:
        self._take_body(await self._components.body_workers.validate(self._path, body))

    def _take_body(self, body: ValidatedBody | ErrorResponse) -> None:
        if self._state is State.ENDED or self._key is None:
            return
        if isinstance(body, ErrorResponse):
            self._fail(body)
            return
        self._body = body
        snapshot = self._components.published.snapshot
        route = model_lookup.find_route(body.model, self._key, snapshot.routes if snapshot else {})
        if isinstance(route, ErrorResponse):
            self._task = asyncio.create_task(self._run(self._find_route_again(body.model, self._key)))
        else:
            self._take_route(route)

    async def _find_route_again(self, model: str, key: KeyRecord) -> None:
        self._take_route(await find_latest_route(model, key, self._components.published))

    def _take_route(self, route: RouteRecord | ErrorResponse) -> None:
        if self._state is State.ENDED or self._key is None:
            return
        if isinstance(route, ErrorResponse):
            self._fail(route)
            return
        error = model_lookup.check_route_state(route) or check_context_length(self._body, route.context_length)
        header = self._head.fields.get(COLD_START_TIMEOUT_HEADER)
        cold_start_seconds = parse_cold_start_timeout(header, self._components.queues.cold_start_seconds)
        if error:
            self._fail(error)
        elif isinstance(cold_start_seconds, ErrorResponse):
            self._fail(cold_start_seconds)
        else:
            self._route = route
            self._request_slot(self._key, route, cold_start_seconds)

    # Slot

    def _plan_reservation(self, key: KeyRecord, route: RouteRecord) -> Reservation | ErrorResponse:
        if not route.limits and not key.limits:
            return rate_limits.NO_RESERVATION
        return rate_limits.plan_reservation(
            self._body,
            rate_limits.list_limits(route, key),
            prompt_size=self._components.prompt_sizes.get(route.deployment_id),
            context_length=route.context_length,
            default_output_tokens=self._components.default_output_tokens,
        )

    def _request_slot(self, key: KeyRecord, route: RouteRecord, cold_start_seconds: float) -> None:
        body = self._body
        reservation = self._plan_reservation(key, route)
        if isinstance(reservation, ErrorResponse):
            self._fail(reservation)
            return
        self._admission = Admission(
            Admitted(
                request_id="",
                admitted_at=0.0,
                gateway_id=self._components.slots.gateway_id,
                organization_id=key.organization_id,
                owner_organization_id=route.organization_id,
                deployment_id=route.deployment_id,
                replica_id="",
                key_id=key.key_id,
                user_id=key.user_id,
                model=body.model,
                stream=body.stream,
                input_estimate=body.input_estimate,
            ),
            reservation,
        )
        self._keepalive = KeepaliveComments(self._response, is_stream=body.stream)
        self._queued = QueuedRequest(self, route.deployment_id, len(body.body), cold_start_seconds)
        self._state = State.SLOT
        self._components.queues.enter(self._queued)

    def try_admit(self, on_attempt: OnAttempt) -> None:
        admission = self._admission
        assert admission, "the queue asks after `_request_slot`"
        if error := self._check_current_route():
            on_attempt(error)
            return
        excluded: tuple[str, ...] = ()
        if self._excluded_until:
            now = time.monotonic()
            excluded = tuple(replica_id for replica_id, until in self._excluded_until.items() if until > now)
        self._components.slots.admit(
            admission, excluded, lambda outcome: self._take_attempt(admission, outcome, on_attempt)
        )

    @_answers_failures
    def _take_attempt(self, admission: Admission, outcome: Outcome, on_attempt: OnAttempt) -> None:
        if self._state is State.ENDED:
            if isinstance(outcome, Slot):  # nobody waits for the slot any more
                self._components.settlements.settle(outcome.admitted, None)
            self._give_back_reservation()
            return
        if isinstance(outcome, StoreError):
            log.warning("Redis is unavailable, nothing can be admitted: %s", outcome)
            message = "The gateway cannot admit requests right now. Try again in a few seconds."
            on_attempt(openai_errors.service_unavailable(message))
            return
        if not self._admitted_at:
            self._admitted_at = time.perf_counter()
            self._response.request_id = admission.request_id
        if admission.counts and not self._response.limit_headers:
            headers = rate_limits.render_headers(admission.reservation.limits, admission.counts)
            self._response.limit_headers = render_fields(headers.items())
        if isinstance(outcome, LimitReached):
            tokens = admission.reservation.tokens
            on_attempt(rate_limits.build_refusal(outcome.limit, outcome.used, tokens, outcome.wait_milliseconds))
            return
        if admission.has_reserved:
            self._components.settlements.reservations.add(admission.request_id)
        if isinstance(outcome, Slot):
            self._slot = outcome
            self._components.settlements.add_open_request(outcome.admitted)
        on_attempt(outcome)

    def wait(self, reason: NoSlot, now: float) -> float:
        return self._keepalive.send_if_due(reason, now)

    @_answers_failures
    def take_outcome(self, outcome: Slot | ErrorResponse) -> None:
        if isinstance(outcome, ErrorResponse):
            self._fail(outcome)
        else:
            self._send(outcome)

    def _check_current_route(self) -> ErrorResponse | None:
        """Return an error if the deployment failed or was terminated while the request was queued."""
        snapshot = self._components.published.snapshot
        route = snapshot.routes_by_id.get(self._route.deployment_id) if snapshot else None
        return model_lookup.check_route_state(route) if route else openai_errors.model_not_found(self._body.model)

    # Response

    def _send(self, slot: Slot) -> None:
        self._state = State.RESPONSE
        self._relay = ResponseRelay(self._response, self._body.stream_options, self._body.input_estimate)
        output_cap = self._admission.reservation.output_cap if self._admission else None
        self._upstream = self._components.replica_pool.send(
            slot.address,
            self._head.path,
            render_replica_headers(slot.admitted.request_id, self._head.fields),
            self._body.build_upstream_body(self._route.usage_reporting, output_cap),
            self,
        )

    @_answers_failures
    def response_began(self, head: ResponseHead) -> None:
        if self._relay:
            self._state = State.END_OF_RESPONSE
            self._relay.begin(head)
            self._continue(self._relay)

    @_answers_failures
    def response_data(self, data: bytes) -> None:
        if self._state is State.END_OF_RESPONSE and self._relay:
            self._relay.feed(data)
            self._continue(self._relay)

    @_answers_failures
    def response_ended(self) -> None:
        if self._state is State.ENDED or self._relay is None:
            return
        if self._state is State.END_OF_RESPONSE:
            self._relay.finish()
            if self._relay.error:
                self._response.send_error(self._relay.error)
        self._end(self._relay.outcome)

    @_answers_failures
    def response_failed(self, failure: Failure, reason: str) -> None:
        if self._state is State.ENDED or self._relay is None or self._slot is None:
            return
        if self._state is State.END_OF_REPLICA:
            self._end(self._relay.outcome)
            return
        if failure is Failure.LOST:
            self._relay.lose()
        elif failure is Failure.TIMED_OUT:
            self._relay.fail(openai_errors.upstream_timeout())
        else:
            log.warning("Replica %s is unreachable: %s", self._slot.admitted.replica_id, reason)
            self._components.slots.send_wakeup(self._route.deployment_id)
            self._resends += failure is not Failure.REFUSED
            if self._resends <= MAX_RESENDS:
                self._retry(self._slot)
                return
            self._relay.fail(openai_errors.upstream_lost())
        self._continue(self._relay)

    def _continue(self, relay: ResponseRelay) -> None:
        if relay.error:
            self._response.send_error(relay.error)
            self._end(relay.outcome)
        elif relay.has_ended:
            self._state = State.END_OF_REPLICA
            self._finish_timer = asyncio.get_running_loop().call_later(FINISH_SECONDS, self._end, relay.outcome)
        elif self._response.is_full and self._upstream:
            self._upstream.pause()

    def _retry(self, slot: Slot) -> None:
        """End an attempt that is not metered, and ask for the slot of another replica.

        An attempt that a replica may have received is repeated at most MAX_RESENDS times; a refused connection is
        repeated as long as a request may wait for a slot.
        """
        self._slot = self._relay = None
        self._excluded_until[slot.admitted.replica_id] = time.monotonic() + EXCLUDE_SECONDS
        self._components.settlements.settle(slot.admitted, None)
        self._state = State.SLOT
        if self._queued:
            self._components.queues.enter(self._queued)

    # End

    def client_left(self) -> None:
        if self._state not in {State.END_OF_REPLICA, State.ENDED}:
            self._end(CLIENT_LEFT)

    def client_writable(self) -> None:
        if self._upstream:
            self._upstream.resume()

    @_answers_failures
    def interrupt(self) -> None:
        """End the request because the drain limit has passed."""
        if self._state is State.ENDED:
            return
        if self._state is State.END_OF_REPLICA and self._relay:
            self._end(self._relay.outcome)
            return
        error = openai_errors.stopped_while_streaming() if self._slot else openai_errors.stopped_while_queued()
        self._response.send_error(error)
        self._end(INTERRUPTED)

    def end_with_internal_error(self) -> None:
        """End the request because of a fault of the gateway."""
        if self._state is not State.ENDED:
            if not self._response.has_ended:
                self._response.send_error(openai_errors.internal_error(self.public_id))
            self._end(INTERRUPTED)

    def get_counts(self) -> tuple[str, TokenCounts] | None:
        """Return the id and the tokens so far of the attempt that a replica is answering; None without one."""
        if self._slot is None or self._relay is None or self._state is State.RESPONSE:
            return None
        return self._slot.admitted.attempt_id, self._relay.get_counts()

    @property
    def public_id(self) -> str:
        return format_public_id(self._response.request_id)

    def _fail(self, error: ErrorResponse) -> None:
        """End a request that no replica has answered."""
        self._response.send_error(error)
        self._end(UPSTREAM_ERROR)

    def _end(self, outcome: str) -> None:
        """Stop everything that goes on for the request, and settle the open attempt."""
        self._state = State.ENDED
        self._components.open_exchanges.remove(self)
        self._raw_body = None
        if self._queued:
            self._components.queues.leave(self._queued)
        if self._task:
            self._task.cancel()
        if self._finish_timer:
            self._finish_timer.cancel()
        if self._upstream:
            self._upstream.cancel()
        if self._slot:
            self._settle(self._slot, outcome)
        self._give_back_reservation()
        metrics.record_end()
        metrics.record_response(self._head.path, self._response.status or CLIENT_CLOSED_REQUEST)

    def _settle(self, slot: Slot, outcome: str) -> None:
        self._slot = None
        relay = self._relay
        if relay is None:  # nothing was sent to the replica
            self._components.settlements.settle(slot.admitted, None)
            return
        now, counts = time.perf_counter(), relay.get_counts()
        event = usage_metering.build_usage_event(
            slot.admitted,
            counts,
            outcome=outcome,
            status=CLIENT_CLOSED_REQUEST if outcome == CLIENT_LEFT else self._response.status or 500,
            seconds=now - self._admitted_at,
            latency=self._get_latency(relay),
        )
        self._components.settlements.settle(slot.admitted, event)
        if self._admission:
            self._admission.has_reserved = False  # the settlement ends the reservation
        metrics.record_request(event, now - self._response.started)
        if counts.input_tokens and not counts.estimated:
            self._components.prompt_sizes.learn(self._route.deployment_id, self._body.prompt_bytes, counts.input_tokens)

    def _give_back_reservation(self) -> None:
        if self._admission and self._admission.has_reserved:
            self._admission.has_reserved = False
            self._components.settlements.give_back(self._admission.request_id)

    def _get_latency(self, relay: ResponseRelay) -> Latency:
        times = relay.output_times
        waited = self._queued.waited if self._queued else {}
        return Latency(
            ttft_seconds=None if times.first_at is None else times.first_at - self._response.started,
            itl_mean_seconds=times.get_mean_gap(),
            itl_p99_seconds=times.get_p99_gap(),
            queue_seconds=sum(waited.values()),
            cold=waited.get(True, 0.0) > 0,
        )


async def find_latest_route(model: str, key: KeyRecord, published: PublishedChanges) -> RouteRecord | ErrorResponse:
    """Find the route of `model` after reading the latest changes, because it is unknown so far."""
    with suppress(StoreError):
        await published.catch_up()
    return model_lookup.find_route(model, key, published.snapshot.routes if published.snapshot else {})


def authorize_found(found: KeyRecord | StoreError | None, now: float) -> KeyRecord | ErrorResponse:
    """Check the key that the cache has found for a request; `now` is in seconds since the epoch."""
    if isinstance(found, StoreError):
        log.warning("A key cannot be looked up: %s", found)
        return openai_errors.service_unavailable(
            "The gateway cannot check API keys right now. Try again in a few seconds."
        )
    return authorize(found, now)
