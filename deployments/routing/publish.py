"""Publishes routes and replicas to the gateways: which deployments can be called, and which replicas take requests.

A publication compares a bounded number of deployments with their rows, writes only the differences, and announces them
in the stream `mc:changes`. It reads the rows under a lock per deployment that it holds until Redis has them, so an
outdated read never restores a drained replica.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import redis
from django.db import transaction

from accounts.publication_lock import lock_published
from accounts.publication_mark import mark_complete
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
BATCH_SIZE = 100
# How many deployments a periodic publication compares; the next one continues after them.
MAX_COMPARED = 2000
AFTER, CURSOR = "routes after", "routes cursor"


@dataclass
class Publication:
    """Route records (JSON) by deployment id, replica records (text) by deployment id and replica id, and the ids of
    sleeping deployments."""

    routes: dict[str, str]
    replicas: ReplicaRecords
    asleep: set[str]


def publish_all() -> None:
    """Compare deployments with what is published, and remove routes of those that are deleted.

    One call compares at most MAX_COMPARED, the next one continues after them; all of them after Redis lost its data.
    Raises `redis.RedisError`.
    """
    client = redis_client()
    epoch = client.get(contract.EPOCH)
    is_complete = bool(client.hexists(contract.PUBLISHED, contract.ROUTES_COMPLETE))
    _compare_rows(client, MAX_COMPARED if is_complete else None)
    _compare_published(client, MAX_COMPARED if is_complete else None)
    if not is_complete:
        mark_complete(client, contract.ROUTES_COMPLETE, "1", epoch)


def publish(deployment_ids: Iterable[UUID]) -> None:
    """Publish these deployments. When Redis is unavailable, a later full publication catches up."""
    ids = list(deployment_ids)
    try:
        _publish(ids)
    except redis.RedisError as error:
        log.warning("Routes of %d deployments not published, a full publication will do: %s", len(ids), error)


def _compare_rows(client: Any, limit: int | None) -> None:
    """Compare deployments in the order of their ids, from where the last publication ended; `limit` None: all."""
    after = None if limit is None else (client.hget(contract.PUBLISHED, AFTER) or b"").decode() or None
    compared = 0
    while limit is None or compared < limit:
        rows = Deployment.objects.filter(deleted_at=None).order_by("pk")
        ids = list((rows.filter(pk__gt=after) if after else rows).values_list("pk", flat=True)[:BATCH_SIZE])
        _publish(ids)
        compared += len(ids)
        after = str(ids[-1]) if len(ids) == BATCH_SIZE else None
        if not after:
            break
    client.hset(contract.PUBLISHED, AFTER, after or "")


def _compare_published(client: Any, limit: int | None) -> None:
    """Compare what Redis has with the rows, to remove the routes of deployments that are gone."""
    cursor = 0 if limit is None else int(client.hget(contract.PUBLISHED, CURSOR) or 0)
    compared = 0
    while limit is None or compared < limit:
        cursor, found = client.hscan(contract.ROUTES, cursor, count=BATCH_SIZE)
        names = [name.decode() for name in found]
        ids = [UUID(name) for name in names if _is_uuid(name)]
        _publish(ids)
        if strangers := [name for name in names if not _is_uuid(name)]:
            client.hdel(contract.ROUTES, *strangers)
        compared += len(names)
        if not cursor:
            break
    client.hset(contract.PUBLISHED, CURSOR, cursor)


def _is_uuid(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


def _publish(ids: Sequence[UUID]) -> None:
    for start in range(0, len(ids), BATCH_SIZE):
        with transaction.atomic():
            _publish_batch(ids[start : start + BATCH_SIZE])


def _publish_batch(ids: Sequence[UUID]) -> None:
    names = [str(pk) for pk in ids]
    lock_published(names)
    target = Publication(_read_routes(ids), _read_replicas(ids), _read_asleep(ids))
    current = _read_published(names)
    pipeline = redis_client().pipeline(transaction=True)
    changed = [name for name in names if _queue_differences(pipeline, name, target, current)]
    for name in changed:
        pipeline.xadd(contract.CHANGES, {contract.DEPLOYMENT_CHANGED: name}, maxlen=contract.MAX_CHANGES)
    if changed:
        pipeline.execute()


def _read_published(names: Sequence[str]) -> Publication:
    """What Redis holds now for these deployments."""
    with redis_client().pipeline(transaction=False) as reads:
        reads.hmget(contract.ROUTES, list(names))
        for name in names:
            reads.hgetall(contract.replicas_key(name))
            reads.hget(contract.load_key(name), contract.ASLEEP)
        values, *answers = reads.execute()
    routes = {name: value.decode() for name, value in zip(names, values, strict=True) if value is not None}
    replicas = dict(zip(names, map(_decode, answers[::2]), strict=True))
    asleep = {name for name, flag in zip(names, answers[1::2], strict=True) if flag is not None}
    return Publication(routes, replicas, asleep)


def _queue_differences(pipeline: Any, name: str, target: Publication, current: Publication) -> bool:
    """Queue the commands that turn a deployment of `current` into that of `target`; returns whether there are any."""
    before = len(pipeline)
    route, records = target.routes.get(name), target.replicas.get(name, {})
    if route is None and name in current.routes:
        pipeline.hdel(contract.ROUTES, name)
        pipeline.delete(contract.load_key(name), contract.waiting_gateways_key(name))
    elif route is not None and route != current.routes.get(name):
        pipeline.hset(contract.ROUTES, name, route)
    if records != current.replicas[name]:
        pipeline.delete(contract.replicas_key(name))
        if records:
            pipeline.hset(contract.replicas_key(name), mapping=records)
    if name in target.asleep and name not in current.asleep:
        pipeline.hset(contract.load_key(name), contract.ASLEEP, "1")
    elif name in current.asleep and name not in target.asleep:
        pipeline.hdel(contract.load_key(name), contract.ASLEEP)
    return len(pipeline) > before


def _read_asleep(ids: Collection[UUID]) -> set[str]:
    rows = Deployment.objects.filter(
        pk__in=ids, asleep_since__isnull=False, deleted_at=None, terminate_requested_at=None
    )
    return {str(pk) for pk in rows.values_list("pk", flat=True)}


def _read_routes(ids: Collection[UUID]) -> dict[str, str]:
    """Routes of the deployments that are neither deleted nor terminating nor terminated."""
    rows = Deployment.objects.filter(pk__in=ids, deleted_at=None, terminate_requested_at=None)
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
        limits=deployment.limits,
    )


def _read_replicas(ids: Collection[UUID]) -> ReplicaRecords:
    """Replicas that `admit` may choose, and draining ones, which get no new requests."""
    rows = Replica.objects.filter(deployment_id__in=ids, state__in=[ReplicaState.READY, ReplicaState.DRAINING]).exclude(
        address=""
    )
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
