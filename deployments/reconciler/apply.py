"""Carries plans out: intent, call, outcome.

(1) One transaction locks the deployments still leased and writes what was seen and what is intended. (2) The cluster
is asked, only for those. (3) A second transaction writes what came of it, derives the status and lets go. Events are
written with their facts; routes and pages hear of it after the commit. A kill at any point leaves an open intent,
which the next pass finds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from uuid import UUID

from django.db import transaction

from deployments import events, notifications, queries
from deployments.models import Deployment
from deployments.reconciler import calls, gpu_queue, leases, outcome, places
from deployments.reconciler.actions import Action, Confirm, End, FallAsleep, OfReplica, Record, Start, Stop
from deployments.reconciler.calls import Failpoint
from deployments.reconciler.decisions import Decisions
from deployments.reconciler.intents import Intents
from deployments.reconciler.observe import Batch
from deployments.reconciler.rows import Journal
from deployments.routing import publish, sleep, wakeups
from deployments.states import STARTING

LEASE_SHARE = 0.5  # of what is left of the lease may be spent on calls
Plans = Mapping[UUID, Sequence[Action]]


def apply(batch: Batch, plans: Plans, failpoint: Failpoint) -> None:
    """Raises `rows.LostRow` when a row was changed by somebody else; nothing of that transaction stays."""
    journal = Journal(batch.now)
    intents = Intents(batch, journal)
    intents.read_logs(plans)
    slept = _flip_to_sleep(plans)
    failpoint("before_intent")
    with transaction.atomic():
        decisions = Decisions(batch, journal, slept)
        standing = {pk: _standing(plans[pk], batch.deployments[pk], row) for pk, row in _held(batch).items()}
        for pk, actions in standing.items():
            for action in actions:
                if isinstance(action, OfReplica):
                    intents.write(batch.deployments[pk], action)
                elif not isinstance(action, Start):
                    decisions.write(batch.deployments[pk], action)
        _start(batch, intents, standing)
        journal.save()
        intents.save_sightings()
        rerouted = decisions.save()
    publish.publish(journal.rerouted | rerouted | slept | _contradicted(batch))
    failpoint("after_intent")
    refused = _call(batch, intents, failpoint)
    failpoint("before_outcome")
    last = Journal(batch.now)
    with transaction.atomic():
        changed = outcome.write(batch, last, refused)
    failpoint("after_outcome")
    _tell(batch, intents, changed | journal.touched)


def _flip_to_sleep(plans: Plans) -> set[UUID]:
    """Ask before the intent: what the counters refuse was never decided; what they grant and a kill forgets is taken
    back by the next publication."""
    wishes = {pk: action for pk, plan in plans.items() for action in plan if isinstance(action, FallAsleep)}
    return {pk for pk, one in wishes.items() if sleep.fall_asleep(pk, one.epoch, one.idle_seconds) == "asleep"}


def _held(batch: Batch) -> dict[UUID, Deployment]:
    return {row.pk: row for row in leases.held(batch.lease)}


def _standing(plan: Sequence[Action], planned: Deployment, now: Deployment) -> Sequence[Action]:
    """Of a deployment that people changed since it was read only what was seen stands; the next pass decides anew."""
    if now.version == planned.version:
        return plan
    return [action for action in plan if isinstance(action, Record | Confirm | End | Stop)]


def _contradicted(batch: Batch) -> set[UUID]:
    """Deployments that Redis has asleep and their rows awake, or the other way round."""
    return {
        pk
        for pk, snapshot in batch.snapshots.items()
        if snapshot.load and snapshot.load.asleep != (batch.deployments[pk].asleep_since is not None)
    }


def _start(batch: Batch, intents: Intents, plans: Plans) -> None:
    """Insert the rows of new replicas as far as there is place; who gets less keeps its place in the queue."""
    starts = {pk: action for pk, plan in plans.items() for action in plan if isinstance(action, Start)}
    granted = places.grant({batch.deployments[pk]: one.count for pk, one in starts.items()}, batch.now)
    for pk, grant in granted.items():
        deployment = batch.deployments[pk]
        for replica in places.insert(deployment, grant.replicas, batch.now):
            batch.replicas[replica.pk] = replica
            intents.to_start.append(replica)
            gpu = gpu_queue.describe_gpus(replica.gpu_count, deployment.gpu_type.title)
            event = events.replica_replaced if starts[pk].replacing else events.replica_requested
            intents.journal.events.append(event(deployment, replica, gpu, batch.now))
        _queue(deployment, grant, intents.journal)


def _queue(deployment: Deployment, grant: gpu_queue.Grant, journal: Journal) -> None:
    if not grant.reason:
        deployment.pending_since, deployment.pending_reason = None, ""
        return
    if not deployment.pending_reason.startswith("Waits"):
        journal.events.append(events.pending(deployment, grant.reason, journal.now))
    deployment.pending_since = deployment.pending_since or journal.now
    deployment.pending_reason = grant.reason


def _call(batch: Batch, intents: Intents, failpoint: Failpoint) -> dict[UUID, str]:
    """Ask the clusters; returns why starts were refused for good, by replica."""
    refused: dict[UUID, str] = {}
    began, seconds = time.monotonic(), (batch.lease.expires_at - batch.now).total_seconds()
    for replica in intents.to_stop:
        failpoint("before_stop")
        calls.stop(batch.views[replica.cluster_id].driver, replica.name, batch.policy.stop_grace_seconds)
        failpoint("after_stop")
    for replica in (one for one in intents.to_start if one.state in STARTING):
        if time.monotonic() - began > LEASE_SHARE * seconds:
            break  # another pass may hold the lease soon; it finds these intents open
        failpoint("before_start")
        driver = batch.views[replica.cluster_id].driver
        if reason := calls.start(driver, batch.deployments[replica.deployment_id], replica):
            refused[replica.pk] = reason
        failpoint("after_start")
    for replica in intents.to_forget:
        calls.forget(batch.views[replica.cluster_id].driver, replica.name)
    return refused


def _tell(batch: Batch, intents: Intents, changed: set[UUID]) -> None:
    publish.publish(changed)
    notifications.notify_pages(batch.deployments[pk] for pk in changed)
    freed = {places.pool_of(batch.deployments[one.deployment_id]) for one in intents.to_forget}
    for pool in freed:
        wakeups.make_due(queries.waiting(*pool).values_list("pk", flat=True)[:20], batch.now)
