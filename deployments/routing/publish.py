"""Publishes routes and replicas to the gateways: which deployments can be called, and which replicas take requests.

Rows are read and written under WATCH of the generation. When another publication commits in between, this one reads the
rows again, so an outdated read never restores a drained replica.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import redis

from accounts.redis_client import redis_client
from deployments.config.deployment_spec import RevisionSpec, UnreadableSpec
from deployments.engines.base import least_usage_reporting
from deployments.engines.registry import ENGINES
from deployments.messages import describe_reason
from deployments.models import Deployment, Replica, Revision
from deployments.states import DeploymentStatus, ReplicaState
from gateway import contract

log = logging.getLogger(__name__)
ReplicaRecords = dict[str, dict[str, str]]


@dataclass
class Publication:
    """Route records (JSON) by deployment id, replica records (text) by deployment id and replica id, and the ids of
    sleeping deployments."""

    routes: dict[str, str]
    replicas: ReplicaRecords
    asleep: set[str]


def publish_all() -> None:
    """Publish every deployment that is not deleted, and remove every other route. Raises `redis.RedisError`."""
    _publish(None)


def publish(deployment_ids: Iterable[UUID]) -> None:
    """Publish these deployments. When Redis is unavailable, the next full publication catches up."""
    ids = list(deployment_ids)
    if not ids:
        return
    try:
        _publish(ids)
    except redis.RedisError as error:
        log.warning("Routes of %d deployments not published, the next full publication will do: %s", len(ids), error)


def _publish(ids: Collection[UUID] | None) -> None:
    client = redis_client()
    while True:
        with client.pipeline(transaction=True) as pipeline:
            pipeline.watch(contract.GENERATION)  # type: ignore[no-untyped-call]
            target = Publication(_read_routes(ids), _read_replicas(ids), _read_asleep(ids))
            current = _read_published(pipeline, ids, target)
            pipeline.multi()
            if not _queue_differences(pipeline, target, current):
                return
            pipeline.incr(contract.GENERATION)
            try:
                pipeline.execute()
            except redis.WatchError:
                continue
            return


def _read_published(pipeline: Any, ids: Collection[UUID] | None, target: Publication) -> Publication:
    """What Redis holds now for these deployments, or for all of them (`ids` None)."""
    if ids is None:
        routes = _decode(pipeline.hgetall(contract.ROUTES))
        names = sorted(routes.keys() | target.replicas.keys() | target.asleep)
    else:
        names = [str(pk) for pk in ids]
        values = pipeline.hmget(contract.ROUTES, names)
        routes = {name: value.decode() for name, value in zip(names, values, strict=True) if value is not None}
    with redis_client().pipeline(transaction=False) as reads:
        for name in names:
            reads.hgetall(contract.replicas_key(name))
            reads.hget(contract.load_key(name), contract.ASLEEP)
        answers = reads.execute()
    replicas = dict(zip(names, map(_decode, answers[::2]), strict=True))
    asleep = {name for name, flag in zip(names, answers[1::2], strict=True) if flag is not None}
    return Publication(routes, replicas, asleep)


def _queue_differences(pipeline: Any, target: Publication, current: Publication) -> bool:
    """Queue the commands that turn `current` into `target`; returns whether there are any."""
    outdated = {name: old for name, old in current.replicas.items() if old != target.replicas.get(name, {})}
    removed = current.routes.keys() - target.routes.keys()
    for name in removed:
        pipeline.hdel(contract.ROUTES, name)
    if new := {name: text for name, text in target.routes.items() if current.routes.get(name) != text}:
        pipeline.hset(contract.ROUTES, mapping=new)
    for name in outdated:
        pipeline.delete(contract.replicas_key(name))
        if records := target.replicas.get(name):
            pipeline.hset(contract.replicas_key(name), mapping=records)
    for name in target.asleep - current.asleep:
        pipeline.hset(contract.load_key(name), contract.ASLEEP, "1")
    for name in current.asleep - target.asleep:
        pipeline.hdel(contract.load_key(name), contract.ASLEEP)
    for name in removed:
        pipeline.delete(contract.load_key(name))
    return bool(outdated) or (target.routes, target.asleep) != (current.routes, current.asleep)


def _read_asleep(ids: Collection[UUID] | None) -> set[str]:
    rows = Deployment.objects.filter(asleep_since__isnull=False, deleted_at=None, terminate_requested_at=None)
    if ids is not None:
        rows = rows.filter(pk__in=ids)
    return {str(pk) for pk in rows.values_list("pk", flat=True)}


def _read_routes(ids: Collection[UUID] | None) -> dict[str, str]:
    """Routes of the deployments that are neither deleted nor terminating nor terminated."""
    rows = Deployment.objects.filter(deleted_at=None, terminate_requested_at=None)
    if ids is not None:
        rows = rows.filter(pk__in=ids)
    deployments = list(rows.select_related("organization", "revision", "endpoint__cluster"))
    serving_revisions = Revision.objects.filter(
        replicas__state=ReplicaState.READY, replicas__serving=True, deployment_id__in=[row.pk for row in deployments]
    ).distinct()
    serving: dict[UUID, list[RevisionSpec]] = defaultdict(list)
    for revision in serving_revisions:
        if spec := _read_spec(revision):
            serving[revision.deployment_id].append(spec)
    return {str(row.pk): _route_record(row, serving[row.pk]).to_json() for row in deployments}


def _read_spec(revision: Revision | None) -> RevisionSpec | None:
    """None if this release cannot read it: the route then offers what the serving replicas support."""
    try:
        return RevisionSpec.from_json(revision.spec) if revision else None
    except UnreadableSpec as error:
        log.warning("Revision %s cannot be read: %s", revision and revision.pk, type(error.__cause__).__name__)
        return None


def _route_record(deployment: Deployment, serving: Sequence[RevisionSpec]) -> contract.RouteRecord:
    """`serving`: the configurations of the serving replicas, two during a rolling update. The route offers only what
    all of them support."""
    spec = _read_spec(deployment.revision)
    readable = [each for each in (spec, *serving) if each]
    has_failed = deployment.status == DeploymentStatus.FAILED
    adapters = spec.adapters if spec else ()
    return contract.RouteRecord(
        deployment_id=str(deployment.pk),
        organization_id=str(deployment.organization_id),
        organization_slug=deployment.organization.slug,
        name=deployment.name,
        state="failed" if has_failed else "open",
        created_at=deployment.created_at.timestamp(),
        context_length=min((each.engine.context_length for each in readable), default=0),
        simulated=deployment.endpoint.cluster.simulated or bool(spec and spec.engine.name == "simulator"),
        reason=describe_reason(deployment.cause).sentence if has_failed and deployment.cause else "",
        usage_reporting=least_usage_reporting(ENGINES[each.engine.name] for each in readable),
        adapters=[adapter.name for adapter in adapters if all(adapter in each.adapters for each in serving)],
    )


def _read_replicas(ids: Collection[UUID] | None) -> ReplicaRecords:
    """Replicas that `admit` may choose, and draining ones, which get no new requests."""
    rows = Replica.objects.filter(state__in=[ReplicaState.READY, ReplicaState.DRAINING]).exclude(address="")
    if ids is not None:
        rows = rows.filter(deployment_id__in=ids)
    records: ReplicaRecords = defaultdict(dict)
    for row in rows.select_related("revision"):
        is_draining = row.state == ReplicaState.DRAINING
        if row.serving or is_draining:
            concurrency = row.revision.spec.get("engine", {}).get("max_concurrency", 1)
            record = contract.ReplicaRecord(str(row.pk), row.address, concurrency, is_draining)
            records[str(row.deployment_id)][str(row.pk)] = record.to_text()
    return records


def _decode(fields: dict[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in fields.items()}
