"""Turns actions into guarded writes, and remembers which calls they promise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from deployments import events
from deployments.causes import Cause
from deployments.engines.registry import ENGINES
from deployments.logs import stored
from deployments.models import Deployment, Replica, Revision
from deployments.reconciler import calls, gpu_queue, problems
from deployments.reconciler.actions import Action, Confirm, Drain, End, OfReplica, Record, Resume, Stop
from deployments.reconciler.observe import Batch, weight_bytes
from deployments.reconciler.rows import Journal
from deployments.states import LIVE, ReplicaState

R = ReplicaState


class Intents:
    """The first transaction of a pass. `to_start`, `to_stop`, `to_forget`: what to ask of the cluster afterwards."""

    def __init__(self, batch: Batch, journal: Journal) -> None:
        self.batch = batch
        self.journal = journal
        self.to_start: list[Replica] = []
        self.to_stop: list[Replica] = []
        self.to_forget: list[Replica] = []
        self.first_ready: dict[UUID, datetime] = {}
        self.ready_revisions: dict[UUID, datetime] = {}
        self._seen: list[UUID] = []
        self._logs: dict[UUID, str] = {}

    def read_logs(self, plans: Mapping[UUID, Sequence[Action]]) -> None:
        """The end of the log of what is about to stop or has ended, while the cluster still has it."""
        for plan in plans.values():
            for action in plan:
                if isinstance(action, Stop | End):
                    replica = self.batch.replicas[UUID(action.replica_id)]
                    if replica.state != R.STOPPING or isinstance(action, End):
                        self._logs[replica.pk] = self._log_of(replica)

    def write(self, deployment: Deployment, action: OfReplica) -> None:
        replica = self.batch.replicas[UUID(action.replica_id)]
        match action:
            case Record():
                self._record(deployment, replica, action)
            case Confirm():
                self.to_start.append(replica)
            case Drain():
                self._drain(deployment, replica)
            case Resume():
                self._resume(deployment, replica)
            case Stop():
                self._stop(replica, action)
            case End():
                self._end(deployment, replica, action)

    def save_sightings(self) -> None:
        """`last_seen_at` of everything that was seen alive, in one statement; and what was ready for the first time."""
        Replica.objects.filter(pk__in=self._seen, state__in=LIVE).update(last_seen_at=self.batch.now)
        for pk, stamp in self.first_ready.items():
            Deployment.objects.filter(pk=pk, ready_at=None).update(ready_at=stamp)
        for pk, stamp in self.ready_revisions.items():
            Revision.objects.filter(pk=pk, ready_at=None).update(ready_at=stamp)

    def _record(self, deployment: Deployment, replica: Replica, action: Record) -> None:
        seen, was_serving, was_ready = action.seen, replica.serving, replica.state == R.READY
        self.journal.change(
            replica,
            node=seen.node,
            address=seen.address,
            gpu_indices=list(seen.gpu_indices),
            bytes_done=seen.bytes_done,
            bytes_total=seen.bytes_total,
            restarts=seen.restarts,
            serving=action.serving and not seen.exited,
            unhealthy_since=action.unhealthy_since,
        )
        for state, at in action.steps:
            stamp = self.journal.enter(replica, state, at)
            if state is R.DOWNLOADING_MODEL:
                gpu = self._gpu(deployment, replica)
                self.journal.events.append(events.replica_downloading(deployment, replica, gpu, stamp))
            elif state is R.ENGINE_INITIALIZING:
                self.journal.events.append(events.replica_initializing(deployment, replica, stamp))
            elif state is R.READY:
                self.journal.change(replica, ready_at=stamp)
                self.first_ready[deployment.pk] = stamp
                deployment.woken_at = None  # the wake is over; decisions.py writes it
                self.ready_revisions[replica.revision_id] = stamp
                self.journal.events.append(events.replica_ready(deployment, replica, stamp))
        wanted = deployment.revision
        if wanted and wanted.ready_at is None and replica.state == R.READY and _is_configured(replica, wanted):
            self.ready_revisions.setdefault(wanted.pk, self.batch.now)  # an edit that was taken back runs already
        if was_ready and was_serving != replica.serving and not seen.exited and replica.state == R.READY:
            self.journal.events.append(events.replica_health(deployment, replica, self.batch.now))
        if not seen.exited:
            self._seen.append(replica.pk)

    def _drain(self, deployment: Deployment, replica: Replica) -> None:
        now = self.batch.now
        self.journal.enter(replica, R.DRAINING, now)
        self.journal.change(replica, drain_started_at=now, drain_epoch=self.batch.epoch)
        self.journal.events.append(events.replica_draining(deployment, replica, now))

    def _resume(self, deployment: Deployment, replica: Replica) -> None:
        self.journal.enter(replica, R.READY, self.batch.now)
        self.journal.change(replica, drain_started_at=None, drain_epoch="", serving=True)
        self.journal.events.append(events.replica_resumed(deployment, replica, self.batch.now))

    def _stop(self, replica: Replica, action: Stop) -> None:
        if replica.state != R.STOPPING:
            self.journal.enter(replica, R.STOPPING, self.batch.now)
            self.journal.change(replica, serving=False, stop_reason=action.reason, stop_requested_at=self.batch.now)
            self.journal.keep_log(replica, self._logs[replica.pk])
            if action.problem:
                said = stored.plain_text(self._logs[replica.pk])
                self.journal.blame(replica, problems.of(action.problem, self.batch.policy, said, weight_bytes(replica)))
        self.to_stop.append(replica)

    def _end(self, deployment: Deployment, replica: Replica, action: End) -> None:
        self.journal.keep_log(replica, self._logs[replica.pk])
        if action.crashed:
            self.journal.blame(replica, self._cause(replica, action))
        if replica.state != R.STOPPING:
            self.journal.enter(replica, R.STOPPING, action.at)
        stamp = self.journal.enter(replica, R.FAILED if replica.cause else R.STOPPED, action.at)
        reason = action.reason or replica.stop_reason or ("failed" if replica.cause else "ended")
        self.journal.change(replica, released_at=stamp, serving=False, unhealthy_since=None, stop_reason=reason)
        if replica.cause:
            self.journal.events.append(events.replica_failed(deployment, replica, stamp))
        else:
            gpu = self._gpu(deployment, replica)
            self.journal.events.append(events.replica_stopped(deployment, replica, gpu, stamp))
        self.to_forget.append(replica)

    def _cause(self, replica: Replica, action: End) -> Cause:
        text = stored.plain_text(self._logs[replica.pk])
        if action.exited is None:
            return problems.vanished(text)
        engine = ENGINES.get(replica.revision.spec["engine"]["name"])
        return engine.failure(action.exited, text) if engine else problems.vanished(text)

    def _log_of(self, replica: Replica) -> str:
        view = self.batch.views[replica.cluster_id]
        seen = view.observed.get(replica.name)
        return calls.log_tail(view.driver, seen) if seen else ""

    @staticmethod
    def _gpu(deployment: Deployment, replica: Replica) -> str:
        return gpu_queue.describe_gpus(replica.gpu_count, deployment.gpu_type.title)


def _is_configured(replica: Replica, revision: Revision) -> bool:
    return replica.revision.spec_hash == revision.spec_hash
