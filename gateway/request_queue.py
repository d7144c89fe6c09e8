"""Queues of requests that wait for a slot: FIFO per deployment, bounded in length, bytes and waiting time.

Only the first request of a queue asks Redis for a slot. It asks again when Redis announces that a slot was released, by
whichever gateway, or that the replicas have changed, and after a pause, because an announcement can be lost. Waiting
for a replica to start and waiting for a free slot have separate time limits: a long cold start does not shorten the
time to wait for a slot.
"""

from __future__ import annotations

import asyncio
import bisect
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from gateway import openai_errors
from gateway.openai_errors import ErrorResponse
from gateway.settings import Settings
from gateway.slots import NoSlot, Slot

RETRY_SECONDS = {NoSlot.FULL: 1.0, NoSlot.UNREACHABLE: 0.1, NoSlot.NOTHING_READY: 1.0, NoSlot.ASLEEP: 1.0}
WaitedSeconds = dict[bool, float]  # whether it was a cold start → seconds
OnAttempt = Callable[[Slot | NoSlot | ErrorResponse], None]


class Applicant(Protocol):
    """Who needs a slot. The outcome of an attempt that comes after `RequestQueues.leave` is the applicant's own."""

    def try_admit(self, on_attempt: OnAttempt) -> None:
        """Ask for a slot and call `on_attempt` with the outcome, unless the request has ended meanwhile."""

    def wait(self, reason: NoSlot, now: float) -> float:
        """There is no slot yet. Returns the seconds after which this has to be called again."""

    def take_outcome(self, outcome: Slot | ErrorResponse) -> None:
        """The request has a slot, or gets none."""


@dataclass(eq=False)
class QueuedRequest:
    """A request that needs a slot. It keeps its place and its waited time when it has to wait again.

    `cold_start_seconds` is the time limit of a cold start. `was_accepted` is set once the request had a slot or a place
    in the queue.
    """

    applicant: Applicant
    deployment_id: str
    body_bytes: int
    cold_start_seconds: float
    arrived_at: float = field(default_factory=time.monotonic)
    waited: WaitedSeconds = field(default_factory=lambda: {True: 0.0, False: 0.0})
    was_accepted: bool = False
    queue: DeploymentQueue | None = None
    offset: WaitedSeconds = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None


class DeploymentQueue:
    """The waiting requests of one deployment in order of arrival, and why the first one got no slot last.

    `attempting` is the request whose attempt has no outcome yet; `is_woken` tells that it has to be repeated at once if
    it finds no slot, because something has changed meanwhile.
    """

    def __init__(self, reason: NoSlot) -> None:
        self.requests: list[QueuedRequest] = []
        self.reason = reason
        self.attempting: QueuedRequest | None = None
        self.is_woken = False
        self.retry: asyncio.TimerHandle | None = None
        self._waited: WaitedSeconds = {True: 0.0, False: 0.0}
        self._reason_since = time.monotonic()

    def set_reason(self, reason: NoSlot) -> bool:
        """Record why the first request got no slot; returns whether another time limit applies from now on."""
        switches_clock = reason.is_cold_start is not self.reason.is_cold_start
        if switches_clock:
            self._waited = self.get_waited()
            self._reason_since = time.monotonic()
        self.reason = reason
        return switches_clock

    def get_waited(self) -> WaitedSeconds:
        """Return how long this queue has existed, per clock."""
        current, is_cold_start = time.monotonic() - self._reason_since, self.reason.is_cold_start
        return {
            is_cold_start: self._waited[is_cold_start] + current,
            not is_cold_start: self._waited[not is_cold_start],
        }


class RequestQueues:
    """The queues of this process by deployment. `on_join` is called with the deployment id when a request joins."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._queues: dict[str, DeploymentQueue] = {}
        self._bytes = 0
        self.on_join: Callable[[str], None] = lambda deployment_id: None

    @property
    def cold_start_seconds(self) -> float:
        """The maximum time that a request waits for a replica to start."""
        return self._settings.cold_start_seconds

    def count_waiting(self, deployment_id: str) -> int:
        queue = self._queues.get(deployment_id)
        return len(queue.requests) if queue else 0

    def get_oldest_wait_seconds(self, deployment_id: str) -> float:
        """Return how long ago the first request of the queue arrived; 0 for an empty queue."""
        queue = self._queues.get(deployment_id)
        return time.monotonic() - queue.requests[0].arrived_at if queue and queue.requests else 0.0

    def wake_first(self, deployment_id: str) -> None:
        """Let the first request of the queue ask for a slot now."""
        if queue := self._queues.get(deployment_id):
            queue.is_woken = True
            self._attempt(queue)

    def enter(self, request: QueuedRequest) -> None:
        """Ask for a slot, in the queue of the deployment if there is one; the applicant gets the outcome."""
        if queue := self._queues.get(request.deployment_id):
            self._join(queue, request)
        else:
            request.applicant.try_admit(lambda outcome: self._handle_first_attempt(request, outcome))

    def leave(self, request: QueuedRequest) -> None:
        """Forget a request whose client has left."""
        if queue := request.queue:
            self._remove(queue, request)
            self._attempt(queue)

    def _handle_first_attempt(self, request: QueuedRequest, outcome: Slot | NoSlot | ErrorResponse) -> None:
        if not isinstance(outcome, NoSlot):
            request.was_accepted = True
            request.applicant.take_outcome(outcome)
            return
        # Another request may have created the queue during the attempt.
        queue = self._queues.setdefault(request.deployment_id, DeploymentQueue(outcome))
        self._join(queue, request)

    def _join(self, queue: DeploymentQueue, request: QueuedRequest) -> None:
        if error := self._check_capacity(queue, request):
            self._remove_if_empty(request.deployment_id)
            request.applicant.take_outcome(error)
            return
        bisect.insort(queue.requests, request, key=lambda queued: queued.arrived_at)
        queue_waited = queue.get_waited()
        # The request's own waited time is the queue's plus this constant offset, per clock.
        request.offset = {clock: request.waited[clock] - queue_waited[clock] for clock in queue_waited}
        request.queue, request.was_accepted = queue, True
        self._bytes += request.body_bytes
        self.on_join(request.deployment_id)
        self._wait(request)
        if queue.retry is None and queue.attempting is None:
            self._schedule_retry(queue)

    def _remove(self, queue: DeploymentQueue, request: QueuedRequest) -> None:
        queue_waited = queue.get_waited()
        request.waited = {clock: queue_waited[clock] + request.offset[clock] for clock in queue_waited}
        request.queue = None
        if request.timer:
            request.timer.cancel()
        self._bytes -= request.body_bytes
        queue.requests.remove(request)
        if queue.attempting is request:
            queue.attempting = None
        self._remove_if_empty(request.deployment_id)

    def _wait(self, request: QueuedRequest) -> None:
        """Refuse a request that has waited for too long, or let it wait until it has to do something."""
        queue = request.queue
        if queue is None:
            return
        remaining = self._get_remaining_seconds(queue, request)
        if remaining <= 0:
            self._remove(queue, request)
            request.applicant.take_outcome(_build_timeout(queue.reason))
            self._attempt(queue)
            return
        pause = min(remaining, request.applicant.wait(queue.reason, time.monotonic()))
        if request.timer:
            request.timer.cancel()
        request.timer = asyncio.get_running_loop().call_later(pause, self._wait, request)

    def _attempt(self, queue: DeploymentQueue) -> None:
        """Let the first request ask for a slot, unless it already does."""
        if queue.attempting is not None or not queue.requests:
            return
        if queue.retry:
            queue.retry.cancel()
            queue.retry = None
        queue.is_woken = False
        request = queue.attempting = queue.requests[0]
        request.applicant.try_admit(lambda outcome: self._handle_attempt(queue, request, outcome))

    def _handle_attempt(
        self, queue: DeploymentQueue, request: QueuedRequest, outcome: Slot | NoSlot | ErrorResponse
    ) -> None:
        if queue.attempting is not request:
            return
        queue.attempting = None
        if not isinstance(outcome, NoSlot):
            self._remove(queue, request)
            request.applicant.take_outcome(outcome)
            # Not at once: each of a thousand requests may be refused without a call of Redis.
            asyncio.get_running_loop().call_soon(self._attempt, queue)
            return
        if queue.set_reason(outcome):
            for waiting in list(queue.requests):
                self._wait(waiting)
        if queue.is_woken:
            self._attempt(queue)
        elif queue.attempting is None and queue.requests:
            self._schedule_retry(queue)

    def _schedule_retry(self, queue: DeploymentQueue) -> None:
        queue.retry = asyncio.get_running_loop().call_later(RETRY_SECONDS[queue.reason], self._retry, queue)

    def _retry(self, queue: DeploymentQueue) -> None:
        queue.retry = None
        self._attempt(queue)

    def _get_remaining_seconds(self, queue: DeploymentQueue, request: QueuedRequest) -> float:
        is_cold_start = queue.reason.is_cold_start
        limit = request.cold_start_seconds if is_cold_start else self._settings.queue_seconds
        return limit - request.offset[is_cold_start] - queue.get_waited()[is_cold_start]

    def _check_capacity(self, queue: DeploymentQueue, request: QueuedRequest) -> ErrorResponse | None:
        """Return an error if the request exceeds the limits; a request that was accepted once is never refused."""
        if request.was_accepted:
            return None
        if len(queue.requests) >= self._settings.queue_length:
            message = "Too many requests wait for this deployment already. Try again shortly."
            return openai_errors.engine_overloaded(message, 5)
        if self._bytes + request.body_bytes > self._settings.queue_bytes:
            message = "The requests that wait already fill this gateway. Try again shortly."
            return openai_errors.engine_overloaded(message, 5)
        return None

    def _remove_if_empty(self, deployment_id: str) -> None:
        queue = self._queues.get(deployment_id)
        if queue and not queue.requests:
            if queue.retry:
                queue.retry.cancel()
            del self._queues[deployment_id]


def _build_timeout(reason: NoSlot) -> ErrorResponse:
    if reason.is_cold_start:
        return openai_errors.cold_start_timeout(30)
    if reason is NoSlot.UNREACHABLE:
        return openai_errors.replicas_unreachable()
    return openai_errors.engine_overloaded("All slots of this deployment stayed taken. Try again shortly.", 5)
