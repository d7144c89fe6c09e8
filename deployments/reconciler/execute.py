"""Carries out the plans of a batch: intent, calls, outcome.

1. Intent: one transaction locks the deployments still leased and writes what was observed and decided.
2. Calls: the clusters are called, only for what the intent committed.
3. Outcome: a second transaction writes refused starts, derives the status and releases the lease.

Routes are published after each commit; pages and waiting deployments are notified at the end. A kill at any point
leaves an open intent, which the next pass finds. A call that fails and may succeed later is repeated by the next pass.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction

from deployments import causes, events, work_queue
from deployments.causes import Cause
from deployments.codes import Reason, ReasonCode, StopReason
from deployments.config.deployment_spec import RevisionSpec, UnreadableSpec
from deployments.drivers.base import DriverError, LogLine, ObservedReplica, ReplicaSpec
from deployments.drivers.time_limit import TimeLimitedDriver
from deployments.engines.registry import ENGINES
from deployments.logs import stored_format
from deployments.models import Deployment, DeploymentEvent, Replica, Revision
from deployments.notifications import notify_pages
from deployments.reconciler import backoff, deadlines, gpu_allocation, leases
from deployments.reconciler import plan_actions as act
from deployments.reconciler.plan import conclude
from deployments.reconciler.plan_actions import Action
from deployments.reconciler.snapshot import ReplicaView
from deployments.reconciler.snapshot_loader import Batch, deployment_view, last_seen_at, replica_view, weight_bytes
from deployments.reconciler.state_writer import Changes
from deployments.routing import sleep
from deployments.routing.publish import publish
from deployments.states import LIVE, STARTING, DeploymentStatus, ReplicaState

log = logging.getLogger(__name__)
R = ReplicaState
Plans = Mapping[UUID, Sequence[Action]]
Failpoint = Callable[[str], None]
# The shares of its lease after which a pass reads no more logs and starts no more replicas.
LOG_SHARE, START_SHARE = 0.3, 0.5
MAX_WAKEUPS = 20
GPU_SHORTAGES = (ReasonCode.GPU_QUEUE, ReasonCode.GPU_POOL_TOO_SMALL)
LOG_LINES, LOG_BYTES = 8000, 256 * 1024


def apply(batch: Batch, plans: Plans, failpoint: Failpoint) -> None:
    """Deployments without a plan are left out.

    Raises `BrokenDeployments`, before anything is written, and `state_writer.LostRow` when another writer changed a
    replica; that transaction is rolled back.
    """
    logs = _read_logs(batch, plans)
    slept = _put_to_sleep(plans)
    failpoint("before_intent")
    intent = Intent(batch, logs, slept)
    with transaction.atomic():
        intent.write(plans)
    publish(intent.changes.rerouted | slept | _contradicting(batch))
    failpoint("after_intent")
    refused = _call_clusters(batch, intent, failpoint)
    failpoint("before_outcome")
    with transaction.atomic():
        changed = _write_outcome(batch, plans, refused, intent.remembered)
    failpoint("after_outcome")
    changed |= intent.changes.changed
    publish(changed)
    notify_pages(batch.deployments[pk] for pk in changed)
    if freed := {gpu_allocation.pool_key(batch.deployments[replica.deployment_id]) for replica in intent.to_forget}:
        work_queue.make_due(gpu_allocation.waiting(freed).values_list("pk", flat=True)[:MAX_WAKEUPS], batch.now)


def _read_logs(batch: Batch, plans: Plans) -> dict[UUID, str]:
    """The end of the log of each replica that is about to stop or has ended, while the cluster still has it.

    Once LOG_SHARE of the lease has passed, it is what the listing showed. The log of a replica that is to stop is read
    again when it has ended.
    """
    logs = {}
    for action in (action for plan in plans.values() for action in plan if isinstance(action, act.Stop | act.End)):
        replica = batch.replicas[UUID(action.replica_id)]
        if replica.state != R.STOPPING or isinstance(action, act.End):
            cluster = batch.clusters[replica.cluster_id]
            seen = cluster.observed.get(replica.name)
            if seen is None:
                logs[replica.pk] = ""
            elif batch.lease.has_spent(LOG_SHARE):
                log.warning("The log of replica %s is not read: the pass has no time left for it", seen.name)
                logs[replica.pk] = _pack_listed_log(seen)
            else:
                logs[replica.pk] = read_log(cluster.driver, seen)
    return logs


def read_log(driver: TimeLimitedDriver, seen: ObservedReplica) -> str:
    """The last LOG_BYTES of a replica's log, packed; empty when the cluster has none."""
    try:
        lines = list(driver.logs(seen.name, tail=LOG_LINES))
    except DriverError as error:
        log.warning("The log of replica %s cannot be read: %s", seen.name, error)
        lines = []
    return stored_format.pack(lines, LOG_BYTES) if lines else _pack_listed_log(seen)


def _pack_listed_log(seen: ObservedReplica) -> str:
    lines = [LogLine(None, text) for text in seen.log_tail.split("\n")] if seen.log_tail else []
    return stored_format.pack(lines, LOG_BYTES)


def _put_to_sleep(plans: Plans) -> set[UUID]:
    """Change the counters before the intent: what they refuse was never decided. If a kill prevents the intent, the
    next publication restores what the row says."""
    proposals = {pk: action for pk, plan in plans.items() for action in plan if isinstance(action, act.FallAsleep)}
    return {
        pk
        for pk, proposal in proposals.items()
        if sleep.fall_asleep(pk, proposal.epoch, proposal.idle_seconds) == "asleep"
    }


def _contradicting(batch: Batch) -> set[UUID]:
    """Deployments that are asleep in Redis and awake in their row, or the other way round."""
    return {
        pk
        for pk, snapshot in batch.snapshots.items()
        if snapshot.load and snapshot.load.asleep != (batch.deployments[pk].asleep_since is not None)
    }


class BrokenDeployments(Exception):
    """The intent of these deployments cannot be written (`Batch.broken`); the others need a pass without them."""


class Intent:
    """The first transaction of `apply`. `to_start`, `to_stop` and `to_forget` are the calls that follow it,
    `remembered` what the outcome writes of the autoscaler's memory."""

    def __init__(self, batch: Batch, logs: Mapping[UUID, str], slept: set[UUID]) -> None:
        self.changes = Changes(batch.now)
        self.to_start: list[Replica] = []
        self.to_stop: list[Replica] = []
        self.to_forget: list[Replica] = []
        self.remembered: dict[UUID, act.Remember] = {}
        self._batch, self._logs, self._slept = batch, logs, slept

    def write(self, plans: Plans) -> None:
        starts: dict[Deployment, act.Start] = {}
        held = [deployment for deployment in leases.lock_held(self._batch.lease) if deployment.pk in plans]
        self._note_missing({deployment.pk for deployment in held})
        for locked in held:
            deployment, plan = self._batch.deployments[locked.pk], plans[locked.pk]
            if locked.version != deployment.version:
                # Changed by a user since it was read: only observations and stops stand, the next pass decides anew.
                plan = [
                    action
                    for action in plan
                    if isinstance(action, act.Record | act.Confirm | act.MarkUnknown | act.End | act.Stop)
                ]
            with self._batch.attribute_errors(deployment.pk):
                for action in plan:
                    if isinstance(action, act.Start):
                        starts[deployment] = action
                    elif isinstance(action, act.ReplicaAction):
                        self._write_replica(deployment, self._batch.replicas[UUID(action.replica_id)], action)
                    else:
                        self._write_deployment(deployment, action)
        if any(deployment.pk in self._batch.broken for deployment in held):
            raise BrokenDeployments
        self._start(starts)
        self.changes.save()

    def _note_missing(self, held: Collection[UUID]) -> None:
        """Keep when the cluster last showed the replicas that it no longer shows."""
        for replica in self._batch.replicas.values():
            cluster = self._batch.clusters.get(replica.cluster_id)
            if not replica.listed or replica.deployment_id not in held or cluster is None:
                continue
            if cluster.listing.reachable and replica.name not in cluster.observed and replica.state in LIVE:
                observed_at = self._batch.deployments[replica.deployment_id].work.observed_at
                self.changes.set_replica(replica, listed=False, last_seen_at=last_seen_at(replica, observed_at))

    def _write_replica(self, deployment: Deployment, replica: Replica, action: act.ReplicaAction) -> None:
        now, changes = self._batch.now, self.changes
        match action:
            case act.Record():
                self._record(deployment, replica, action)
            case act.Confirm():
                self.to_start.append(replica)
            case act.MarkUnknown():
                transaction.on_commit(partial(_report_unknown, replica.name, deployment.name))
                stamp = changes.enter(replica, R.UNKNOWN, action.at)
                changes.set_replica(replica, serving=False, unhealthy_since=None)
                changes.events.append(events.replica_unknown(deployment, replica, stamp, now))
            case act.Drain():
                changes.enter(replica, R.DRAINING, now)
                changes.set_replica(replica, drain_started_at=now, drain_epoch=self._batch.epoch)
                changes.events.append(events.replica_draining(deployment, replica, now))
            case act.Resume():
                changes.enter(replica, R.READY, now)
                changes.set_replica(replica, drain_started_at=None, drain_epoch="", serving=True)
                changes.events.append(events.replica_resumed(deployment, replica, now))
            case act.Stop():
                if replica.state != R.STOPPING:
                    changes.enter(replica, R.STOPPING, now)
                    changes.set_replica(replica, serving=False, stop_reason=action.reason or "", stop_requested_at=now)
                    changes.set_log(replica, self._logs[replica.pk])
                    if action.problem:
                        text = stored_format.plain_text(self._logs[replica.pk])
                        policy = self._batch.policy
                        changes.set_cause(
                            replica, deadlines.explain(action.problem, policy, text, weight_bytes(replica))
                        )
                self.to_stop.append(replica)
            case act.End():
                self._end(deployment, replica, action)

    def _record(self, deployment: Deployment, replica: Replica, action: act.Record) -> None:
        seen, changes, now = action.seen, self.changes, self._batch.now
        was_ready, was_serving = replica.state == R.READY, replica.serving
        was_unknown = replica.state == R.UNKNOWN
        changes.set_replica(
            replica,
            node=seen.node,
            address=seen.address,
            gpu_indices=list(seen.gpu_indices),
            bytes_done=seen.bytes_done,
            bytes_total=seen.bytes_total,
            restarts=seen.restarts,
            serving=action.serving and not seen.exited,
            unhealthy_since=action.unhealthy_since,
            listed=not seen.exited,
        )
        for state, at in action.steps:
            stamp = changes.enter(replica, state, at)
            if was_unknown:
                changes.set_replica(replica, drain_started_at=None, drain_epoch="", gone_declared_at=None)
                changes.events.append(events.replica_found(deployment, replica, stamp))
                if state is not R.READY or replica.ready_at:
                    continue
            if state is R.READY:
                changes.set_replica(replica, ready_at=stamp)
                changes.mark_revision_ready(replica.revision_id, stamp)
                changes.set_deployment(deployment, woken_at=None, ready_at=deployment.ready_at or stamp)
            changes.events.append(events.replica_entered(deployment, replica, state, stamp))
        desired = deployment.revision
        is_desired = desired is not None and replica.revision.spec_hash == desired.spec_hash
        if desired and is_desired and desired.ready_at is None and replica.state == R.READY:
            changes.mark_revision_ready(desired.pk, now)  # a reverted edit: its configuration already runs
        if was_ready and replica.state == R.READY and was_serving != replica.serving and not seen.exited:
            changes.events.append(events.replica_health(deployment, replica, now))

    def _end(self, deployment: Deployment, replica: Replica, action: act.End) -> None:
        changes = self.changes
        changes.set_log(replica, self._logs[replica.pk])
        if action.crashed:
            changes.set_cause(
                replica, _explain_crash(replica, action, stored_format.plain_text(self._logs[replica.pk]))
            )
        if replica.state != R.STOPPING:
            changes.enter(replica, R.STOPPING, action.at)
        stamp = changes.enter(replica, R.FAILED if replica.cause else R.STOPPED, action.at)
        reason = action.reason or replica.stop_reason or (StopReason.FAILED if replica.cause else StopReason.ENDED)
        changes.set_replica(replica, released_at=stamp, serving=False, unhealthy_since=None, stop_reason=reason)
        changes.events.append(events.replica_ended(deployment, replica, stamp))
        self.to_forget.append(replica)

    def _write_deployment(self, row: Deployment, action: act.DeploymentAction) -> None:
        now, changes = self._batch.now, self.changes
        match action:
            case act.Scale():
                changes.events.append(events.scaled(row, action.replicas, action.reason, now))
                changes.set_deployment(row, desired_replicas=action.replicas)
            case act.Remember():
                self.remembered[row.pk] = action
            case act.FallAsleep():
                if row.pk in self._slept:
                    changes.set_deployment(row, asleep_since=now, woken_at=None, desired_replicas=0, rollout_hold=None)
                    changes.set_deployment(row, pending_since=None, pending_reason=None)
                    changes.events.append(events.fell_asleep(row, action.idle_seconds, now))
            case act.Wake():
                changes.set_deployment(row, asleep_since=None, woken_at=now, desired_replicas=action.replicas)
                changes.events.append(events.woken(row, action.replicas, action.reason, action.waiting, now))
            case act.Hold():
                held = Reason.from_json(row.rollout_hold)
                changes.set_deployment(row, rollout_hold=action.reason.to_json() if action.reason else None)
                if action.reason and (held is None or held.code != action.reason.code):
                    changes.events.append(events.rollout_held(row, action.reason, now))
            case act.RollBack():
                assert row.revision, "every deployment has its first revision from the start"
                failed, cause = row.revision.number, self._latest_cause(row)
                changes.restore_revision(row, Revision.objects.get(pk=action.revision_id), cause)
                changes.set_deployment(row, tried_since=now, rollout_hold=None)
                changes.events.append(events.rolled_back_by_itself(row, failed, cause, now))
            case act.GiveUp():
                cause = self._latest_cause(row)
                changes.set_deployment(row, failed_at=now, cause=cause, rollout_hold=None)
                changes.set_deployment(row, pending_since=None, pending_reason=None)
                changes.events.append(events.failed(row, cause, action.failures, now))

    def _latest_cause(self, row: Deployment) -> dict[str, Any]:
        """The cause of the latest failure of the desired configuration."""
        rows = [replica for replica in self._batch.replicas.values() if replica.deployment_id == row.pk]
        (_, latest), *_ = backoff.list_failures(deployment_view(row), [replica_view(replica) for replica in rows])
        return dict(self._batch.replicas[UUID(latest.id)].cause or {})

    def _start(self, starts: Mapping[Deployment, act.Start]) -> None:
        """Add the replicas that get GPUs; a deployment that gets fewer keeps its position in the queue."""
        now, changes = self._batch.now, self.changes
        grants = gpu_allocation.grant({deployment: start.count for deployment, start in starts.items()}, now)
        for deployment, start in starts.items():
            grant = grants[deployment.pk]
            for replica in changes.add_replicas(deployment, grant.replicas):
                self._batch.replicas[replica.pk] = replica
                self.to_start.append(replica)
                changes.events.append(events.replica_requested(deployment, replica, now, replacing=start.replacing))
            if grant.reason is None:
                changes.set_deployment(deployment, pending_since=None, pending_reason=None)
                continue
            reported = Reason.from_json(deployment.pending_reason)
            if reported is None or reported.code not in GPU_SHORTAGES:
                changes.events.append(events.pending(deployment, grant.reason, now))
            since = deployment.pending_since or now
            changes.set_deployment(deployment, pending_since=since, pending_reason=grant.reason.to_json())


def _report_unknown(replica: str, deployment: str) -> None:
    log.error(
        "Replica %s of deployment %s is unknown: its cluster has no record of it. It keeps its GPUs until an operator "
        "declares it gone",
        replica,
        deployment,
    )


def _explain_crash(replica: Replica, action: act.End, log_text: str) -> Cause:
    engine = ENGINES.get(replica.revision.spec["engine"]["name"])
    if action.exited is None or engine is None:
        return causes.vanished(log_text)
    return engine.failure(action.exited, log_text)


def _call_clusters(batch: Batch, intent: Intent, failpoint: Failpoint) -> dict[UUID, str]:
    """Stop, start and forget replicas. Returns why starts were refused permanently, by replica id."""
    refused: dict[UUID, str] = {}
    for replica in intent.to_stop:
        failpoint("before_stop")
        with batch.attribute_errors(replica.deployment_id):
            try:
                batch.clusters[replica.cluster_id].driver.stop(replica.name, batch.policy.stop_grace_seconds)
            except DriverError as error:
                log.warning("Replica %s was not stopped, tried again soon: %s", replica.name, error)
        failpoint("after_stop")
    starting = [replica for replica in intent.to_start if replica.state in STARTING]
    held_gpu_indices = gpu_allocation.read_held_indices(starting)
    for replica in starting:
        if batch.lease.has_spent(START_SHARE):
            break  # the lease may expire soon; the next pass finds these intents open
        failpoint("before_start")
        with batch.attribute_errors(replica.deployment_id):
            try:
                deployment = batch.deployments[replica.deployment_id]
                spec = _replica_spec(deployment, replica, held_gpu_indices[replica.pk])
                batch.clusters[replica.cluster_id].driver.start(spec)
            except DriverError as error:
                log.warning("Replica %s was not started: %s", replica.name, error)
                if not error.retryable:
                    refused[replica.pk] = str(error)
        failpoint("after_start")
    for replica in intent.to_forget:
        with batch.attribute_errors(replica.deployment_id):
            try:
                batch.clusters[replica.cluster_id].driver.forget(replica.name)
            except DriverError as error:
                log.warning("The record of replica %s stays for now: %s", replica.name, error)
    return refused


def _replica_spec(deployment: Deployment, replica: Replica, held_gpu_indices: frozenset[int]) -> ReplicaSpec:
    """Raises `DriverError` for a revision that this release cannot read."""
    try:
        spec = RevisionSpec.from_json(replica.revision.spec)
    except UnreadableSpec as error:
        raise DriverError(str(error), retryable=False) from error
    served_names = (deployment.name, f"{deployment.organization.slug}/{deployment.name}")
    return ReplicaSpec(
        name=replica.name,
        replica_id=str(replica.pk),
        deployment_id=str(deployment.pk),
        organization_id=str(deployment.organization_id),
        gpu_type=replica.gpu_type_id,
        gpu_count=replica.gpu_count,
        launch=ENGINES[spec.engine.name].launch(spec.engine, spec.launch_context(served_names)),
        held_gpu_indices=held_gpu_indices,
    )


def _write_outcome(
    batch: Batch, plans: Plans, refused: Mapping[UUID, str], remembered: Mapping[UUID, act.Remember]
) -> set[UUID]:
    """Derive the status from the rows as they are now, including what users changed meanwhile. Returns the ids of the
    deployments that changed."""
    changes = Changes(batch.now)
    held = leases.lock_held(batch.lease).select_related("revision", "endpoint__cluster", "gpu_type", "work")
    locked = {row.pk: row for row in held if row.pk in plans and row.pk not in batch.broken}
    for replica_id, reason in refused.items():
        replica = batch.replicas[replica_id]
        if replica.deployment_id in locked:
            changes.enter(replica, R.STOPPING, batch.now)
            changes.set_replica(replica, stop_reason=StopReason.FAILED, stop_requested_at=batch.now)
            changes.set_cause(replica, causes.start_refused(reason))
    replicas: dict[UUID, list[ReplicaView]] = defaultdict(list)
    for replica in batch.replicas.values():
        replicas[replica.deployment_id].append(replica_view(replica))
    due = {}
    for pk, row in locked.items():
        if row.work.failures:
            changes.changed.add(pk)  # its page says no longer that passes fail
        with batch.attribute_errors(pk):
            next_due_at = _conclude(batch, row, replicas[pk], changes)
            listing = batch.clusters[row.endpoint.cluster_id].listing
            due[pk] = leases.Due(
                next_due_at,
                # A listing that came late shows what was then, perhaps before what another process has observed.
                max(listing.listed_at, row.work.observed_at or listing.listed_at)
                if listing.reachable
                else row.work.observed_at,
                remembered[pk].load_known_at if pk in remembered else row.work.load_known_at,
            )
    changes.save()
    memories = {pk: remembered[pk].memory for pk in due if pk in remembered}
    changed = {pk: memory for pk, memory in memories.items() if memory != locked[pk].work.autoscaler}
    leases.release(batch.lease, due, changed)
    return changes.changed


def _conclude(batch: Batch, row: Deployment, replicas: Sequence[ReplicaView], changes: Changes) -> datetime | None:
    """Set the status and what follows from it; returns when the next pass is due."""
    conclusion = conclude(deployment_view(row), replicas, batch.policy, batch.now)
    if row.status != conclusion.status:
        changes.events.extend(_status_events(batch, row, conclusion.status))
        changes.set_deployment(row, status=conclusion.status, status_since=batch.now)
        if conclusion.status is DeploymentStatus.TERMINATED:
            changes.set_deployment(row, terminated_at=batch.now)
    listing, reason = batch.clusters[row.endpoint.cluster_id].listing, conclusion.reason
    if not listing.reachable:
        facts = {"cluster": row.endpoint.cluster.name, "problem": listing.problem}
        reason = Reason(ReasonCode.CLUSTER_UNREACHABLE, **facts)
    changes.set_deployment(row, phase=conclusion.phase, pending_reason=reason.to_json() if reason else None)
    counted = sum(replica.is_counted for replica in replicas)
    if row.terminate_requested_at is not None or counted >= row.desired_replicas:
        changes.set_deployment(row, pending_since=None)
    return conclusion.next_due_at


def _status_events(batch: Batch, row: Deployment, status: DeploymentStatus) -> list[DeploymentEvent]:
    """An update is reported as started once, however often its replicas fail, and as done unless it was reverted."""
    if status is DeploymentStatus.TERMINATED:
        return [] if row.deleted_at else [events.terminated(row, batch.now)]
    if DeploymentStatus.ROLLING not in (row.status, status):
        return []
    started = events.rollout_started(row, batch.now)
    number = started.facts["revision"]
    is_reported = DeploymentEvent.objects.filter(deployment=row, kind=started.kind, facts__revision=number).exists()
    if status is DeploymentStatus.ROLLING:
        return [] if is_reported else [started]
    live = {
        replica.revision.spec_hash
        for replica in batch.replicas.values()
        if replica.deployment_id == row.pk and replica.state in LIVE
    }
    is_done = row.revision is not None and live == {row.revision.spec_hash}
    return [events.rollout_done(row, batch.now)] if is_reported and is_done else []
