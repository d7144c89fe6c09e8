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
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from gateway import openai_errors
from gateway.openai_errors import ErrorResponse
from gateway.settings import Settings
from gateway.slots import NoSlot, Slot

RETRY_SECONDS = {NoSlot.FULL: 1.0, NoSlot.UNREACHABLE: 0.1, NoSlot.NOTHING_READY: 1.0, NoSlot.ASLEEP: 1.0}
WaitedSeconds = dict[bool, float]  # whether it was a cold start → seconds


@dataclass(eq=False)
class QueuedRequest:
    """A request that needs a slot. It keeps its place and its waited time when it has to wait again.

    `try_admit` asks for a slot and is safe to cancel. `on_wait` is called between attempts with the reason for waiting
    and returns the seconds after which it has to be called again. `cold_start_seconds` is the time limit of a cold
    start. `was_accepted` is set once the request had a slot or a place in the queue.
    """

    deployment_id: str
    body_bytes: int
    cold_start_seconds: float
    try_admit: Callable[[], Awaitable[Slot | NoSlot | ErrorResponse]]
    on_wait: Callable[[NoSlot], Awaitable[float]]
    arrived_at: float = field(default_factory=time.monotonic)
    waited: WaitedSeconds = field(default_factory=lambda: {True: 0.0, False: 0.0})
    was_accepted: bool = False
    wakeup: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait_for_wakeup(self, seconds: float) -> None:
        """Wait until woken up, at most `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self.wakeup.wait()
        except TimeoutError:
            pass
        self.wakeup.clear()


class DeploymentQueue:
    """The waiting requests of one deployment in order of arrival, and why the first one got no slot last."""

    def __init__(self, reason: NoSlot) -> None:
        self.requests: list[QueuedRequest] = []
        self.reason = reason
        self._waited: WaitedSeconds = {True: 0.0, False: 0.0}
        self._reason_since = time.monotonic()

    def set_reason(self, reason: NoSlot) -> None:
        """Record why the first request got no slot. If that switches the clock, all requests re-check their limit."""
        switches_clock = reason.is_cold_start is not self.reason.is_cold_start
        if switches_clock:
            self._waited = self.get_waited()
            self._reason_since = time.monotonic()
        self.reason = reason
        for request in self.requests if switches_clock else ():
            request.wakeup.set()

    def get_waited(self) -> WaitedSeconds:
        """Return how long this queue has existed, per clock."""
        current, is_cold_start = time.monotonic() - self._reason_since, self.reason.is_cold_start
        return {
            is_cold_start: self._waited[is_cold_start] + current,
            not is_cold_start: self._waited[not is_cold_start],
        }

    def add(self, request: QueuedRequest) -> None:
        bisect.insort(self.requests, request, key=lambda queued: queued.arrived_at)

    def remove(self, request: QueuedRequest) -> None:
        self.requests.remove(request)
        if self.requests:
            self.requests[0].wakeup.set()


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
        queue = self._queues.get(deployment_id)
        if queue and queue.requests:
            queue.requests[0].wakeup.set()

    async def admit(self, request: QueuedRequest) -> Slot | ErrorResponse:
        """Wait until `try_admit` returns a slot or an error, or until a limit is exceeded."""
        if request.deployment_id not in self._queues:
            outcome = await request.try_admit()
            if not isinstance(outcome, NoSlot):
                request.was_accepted = True
                return outcome
            # Another request may have created the queue during the attempt.
            self._queues.setdefault(request.deployment_id, DeploymentQueue(outcome))
        queue = self._queues[request.deployment_id]
        if error := self._check_capacity(queue, request):
            self._remove_if_empty(request.deployment_id)
            return error
        return await self._wait_in_queue(queue, request)

    async def _wait_in_queue(self, queue: DeploymentQueue, request: QueuedRequest) -> Slot | ErrorResponse:
        queue_waited_before = queue.get_waited()
        waited_before = request.waited
        queue.add(request)
        request.wakeup.set()  # a slot that was released before it joined was announced to nobody
        self._bytes += request.body_bytes
        self.on_join(request.deployment_id)
        try:
            # The request's own waited time is the queue's plus this constant offset, per clock.
            offset = {clock: waited_before[clock] - queue_waited_before[clock] for clock in waited_before}
            return await self._wait_for_slot(queue, request, offset)
        finally:
            queue_waited = queue.get_waited()
            request.waited = {
                clock: waited_before[clock] + queue_waited[clock] - queue_waited_before[clock]
                for clock in waited_before
            }
            request.was_accepted = True
            self._bytes -= request.body_bytes
            queue.remove(request)
            self._remove_if_empty(request.deployment_id)

    async def _wait_for_slot(
        self, queue: DeploymentQueue, request: QueuedRequest, offset: WaitedSeconds
    ) -> Slot | ErrorResponse:
        while (remaining := self._get_remaining_seconds(queue, request, offset)) > 0:
            pause = min(remaining, await request.on_wait(queue.reason))
            is_first = queue.requests[0] is request
            await request.wait_for_wakeup(min(pause, RETRY_SECONDS[queue.reason]) if is_first else pause)
            if queue.requests[0] is not request:
                continue
            outcome = await request.try_admit()
            if not isinstance(outcome, NoSlot):
                return outcome
            queue.set_reason(outcome)
        if queue.reason.is_cold_start:
            return openai_errors.cold_start_timeout(30)
        if queue.reason is NoSlot.UNREACHABLE:
            return openai_errors.replicas_unreachable()
        return openai_errors.engine_overloaded("All slots of this deployment stayed taken. Try again shortly.", 5)

    def _get_remaining_seconds(self, queue: DeploymentQueue, request: QueuedRequest, offset: WaitedSeconds) -> float:
        is_cold_start = queue.reason.is_cold_start
        limit = request.cold_start_seconds if is_cold_start else self._settings.queue_seconds
        return limit - offset[is_cold_start] - queue.get_waited()[is_cold_start]

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
            del self._queues[deployment_id]
