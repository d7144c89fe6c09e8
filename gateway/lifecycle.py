"""Starts, drains and stops the components of a gateway process."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Collection
from contextlib import suppress

from gateway import contract, metrics
from gateway.body_workers import BodyWorkers
from gateway.count_reports import CountReports
from gateway.forwarded_headers import REPLICA_FIELDS
from gateway.heartbeat import Heartbeat
from gateway.http.replica_pool import ReplicaLimits, ReplicaPool
from gateway.inference import Components, OpenExchanges
from gateway.key_cache import KeyCache
from gateway.loop_lag import LoopLagSampler
from gateway.published_changes import PublishedChanges
from gateway.queue_reports import QueueReporter
from gateway.rate_limits import PromptSizes
from gateway.request_queue import RequestQueues
from gateway.settings import Settings
from gateway.settlement_spool import SettlementSpool
from gateway.settlements import Settlements
from gateway.slots import SlotStore
from gateway.store import scripts
from gateway.store.client import StoreClient, StoreError

FLUSH_SECONDS = 0.5


class Gateway:
    """One gateway process: call `start` inside the running loop, `drain` on a stop signal and `stop` last."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.gateway_id = f"{os.uname().nodename[:24]}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.is_draining = False
        self.components: Components | None = None
        self.heartbeat: Heartbeat | None = None
        self.queue_reporter: QueueReporter | None = None
        self.loop_lag: LoopLagSampler | None = None
        self._reader: StoreClient | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def is_ready(self) -> bool:
        """Whether keys and routes are loaded and the gateway is not draining."""
        return not self.is_draining and self.components is not None and self.components.published.snapshot is not None

    async def start(self) -> None:
        """Start the background tasks; an unavailable Redis is retried by them."""
        queues = RequestQueues(self.settings)
        client = StoreClient(
            self.settings.redis_url,
            scripts=scripts.ALL,
            channel=contract.gateway_channel(self.gateway_id),
            on_message=queues.wake_first,
        )
        reader = self._reader = StoreClient(self.settings.redis_url)
        client.start()
        reader.start()
        clock = asyncio.get_running_loop().time
        slots = SlotStore(client, self.gateway_id, clock)

        def handle_change(deployment_id: str) -> None:
            slots.forget_replicas(deployment_id)
            queues.wake_first(deployment_id)

        published = PublishedChanges(client, reader, KeyCache(client, clock), handle_change, clock)
        settlements = Settlements(slots, SettlementSpool(self.settings.spool_dir, self.gateway_id))
        open_exchanges = OpenExchanges()
        heartbeat = self.heartbeat = Heartbeat(slots, settlements, CountReports(slots, open_exchanges.list_counts))
        self.queue_reporter = QueueReporter(slots, queues)
        self.components = Components(
            slots=slots,
            settlements=settlements,
            published=published,
            queues=queues,
            replica_pool=ReplicaPool(
                ReplicaLimits(self.settings.connect_seconds, self.settings.upstream_seconds), REPLICA_FIELDS
            ),
            body_workers=BodyWorkers(),
            open_exchanges=open_exchanges,
            prompt_sizes=PromptSizes(),
            body_bytes=self.settings.body_bytes,
            default_output_tokens=self.settings.default_output_tokens,
        )
        self.loop_lag = LoopLagSampler()
        self.loop_lag.start()
        with suppress(StoreError):
            await heartbeat.beat()
            await published.reload()
        self._tasks = [asyncio.create_task(run) for run in (heartbeat.run(), published.run(), _flush_metrics())]

    def drain(self) -> None:
        """Become not ready; open requests are interrupted after the drain limit, or at once by a second call."""
        if self.components is None:
            return
        if self.is_draining:
            self.components.open_exchanges.interrupt()
        else:
            interrupt = self.components.open_exchanges.interrupt
            asyncio.get_running_loop().call_later(self.settings.drain_seconds, interrupt)
        self.is_draining = True

    async def wait_for_exchanges(self, seconds: float) -> None:
        """Wait until all inference requests have ended, at most `seconds`."""
        if self.components:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self.components.open_exchanges.wait_until_none()

    async def stop(self) -> None:
        """Settle or spool ended requests; deregister unless requests are still open."""
        if self.components is None or self.queue_reporter is None:
            return
        if self.loop_lag:
            self.loop_lag.stop()
        await self.components.settlements.wait_for_pending()
        await _cancel_tasks(self._tasks)
        metrics.flush()
        with suppress(StoreError):
            await self.queue_reporter.stop()
            await self.components.settlements.replay_spool()
            for _ in range(2):  # no admission is in progress: what is found twice has no owner any more
                await self.components.settlements.release_unacknowledged()
            if not self.components.settlements.open_requests:
                await self.components.slots.deregister()
        self.components.settlements.close()
        self.components.replica_pool.close()
        await self.components.body_workers.close()
        await self.components.slots.client.close()
        if self._reader:
            await self._reader.close()


async def _flush_metrics() -> None:
    while True:
        await asyncio.sleep(FLUSH_SECONDS)
        metrics.flush()


async def _cancel_tasks(tasks: Collection[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
