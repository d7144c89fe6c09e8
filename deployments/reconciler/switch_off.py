"""The end of the console on this machine: local replicas stop and are stamped; what people want stays as it is.

To be called when no worker runs any more: a worker would begin to restore the desired state, as the next start does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from deployments.clusters import DriverLookup, configured_drivers
from deployments.models import Cluster, Replica
from deployments.reconciler import leases, observe
from deployments.reconciler.actions import Action, End, Stop
from deployments.reconciler.apply import apply
from deployments.reconciler.observe import Batch
from deployments.reconciler.passes import nothing
from deployments.states import LIVE

WITHIN_SECONDS, GRACE_SECONDS, LOOK_SECONDS = 6.0, 2.0, 0.1
LEASE_SECONDS = 15.0
REASON = "console_off"


def switch_off(now: datetime, drivers: DriverLookup | None = None, within_seconds: float = WITHIN_SECONDS) -> list[str]:
    """Stop every replica of the local clusters; returns the names of those that did not end in time."""
    began, drivers = time.monotonic(), drivers or configured_drivers()
    batch = _batch(now, drivers)
    if not batch.replicas:
        return []
    batch.policy = replace(batch.policy, stop_grace_seconds=GRACE_SECONDS)
    apply(batch, _plans(batch, lambda one: Stop(str(one.pk), REASON)), nothing)
    while _running(batch) and time.monotonic() - began < within_seconds:
        time.sleep(LOOK_SECONDS)
        for view in batch.views.values():
            view.observed = observe.look(view.cluster, view.driver, now).observed
    last = _batch(now + timedelta(seconds=time.monotonic() - began), drivers)
    apply(last, _plans(last, lambda one: _end(last, one)), nothing)
    return _running(last)


def _batch(now: datetime, drivers: DriverLookup) -> Batch:
    live = Replica.objects.filter(state__in=LIVE, cluster__driver=Cluster.Driver.LOCAL)
    ids = set(live.values_list("deployment_id", flat=True))
    return observe.observe(leases.seize(ids, now, seconds=LEASE_SECONDS), drivers, now)


def _plans(batch: Batch, decide: Callable[[Replica], Action | None]) -> dict[UUID, list[Action]]:
    plans: dict[UUID, list[Action]] = {pk: [] for pk in batch.deployments}
    for row in batch.replicas.values():
        if row.state in LIVE and (action := decide(row)):
            plans[row.deployment_id].append(action)
    return plans


def _end(batch: Batch, row: Replica) -> End | None:
    """By the provider's exit stamp; of what it has no record, the last sighting."""
    view = batch.views[row.cluster_id]
    seen = view.observed.get(row.name)
    if seen and seen.exited:
        return End(str(row.pk), seen.exited.at, seen.exited)
    if seen is None and view.listing.reachable and view.listing.complete:
        return End(str(row.pk), row.last_seen_at or row.created_at)
    return None


def _running(batch: Batch) -> list[str]:
    observed = (one for view in batch.views.values() for one in view.observed.values())
    mine = {row.name for row in batch.replicas.values()}
    return sorted(one.name for one in observed if one.exited is None and one.name in mine)
