"""Tells the gateways who may be called and who may be chosen (gateway/contract.py), and the pages that something
changed.

Rows are read and written under WATCH of the generation: when another publication comes between, this one reads again,
so an old reading can never bring a drained replica back.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import redis
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

from accounts.redis_client import redis_client
from deployments.models import Deployment, Replica, Revision
from deployments.specs import RevisionSpec
from deployments.states import DeploymentStatus, ReplicaState
from gateway import contract

log = logging.getLogger(__name__)
Replicas = dict[str, dict[str, str]]


@dataclass
class Published:
    """Routes as JSON by deployment id, replicas by deployment id and replica id, and the ids of who sleeps."""

    routes: dict[str, str]
    replicas: Replicas
    asleep: set[str]


def publish_routes(now: datetime) -> None:
    """Everything: the whole routes hash, and the replicas of every deployment that is not deleted."""
    _publish(None)


def publish(deployment_ids: Iterable[UUID]) -> None:
    """What the rows say now of these deployments. With Redis away the next full publication brings it over."""
    ids = list(deployment_ids)
    try:
        if ids:
            _publish(ids)
    except redis.RedisError as error:
        log.warning("Routes of %d deployments not published, the next full publication will do: %s", len(ids), error)


def _publish(ids: Collection[UUID] | None) -> None:
    client = redis_client()
    while True:
        with client.pipeline(transaction=True) as pipeline:
            pipeline.watch(contract.GENERATION)  # type: ignore[no-untyped-call]
            wanted = Published(_routes(ids), _replicas(ids), _asleep(ids))
            before = _published(pipeline, ids, wanted)
            pipeline.multi()
            if not _write(pipeline, wanted, before):
                return
            pipeline.incr(contract.GENERATION)
            try:
                pipeline.execute()
            except redis.WatchError:
                continue
            return


def _published(pipeline: Any, ids: Collection[UUID] | None, wanted: Published) -> Published:
    """What stands in Redis now, of the routes, of each deployment's replicas, and who sleeps."""
    if ids is None:
        routes = _texts(pipeline.hgetall(contract.ROUTES))
        names = sorted(routes.keys() | wanted.replicas.keys() | wanted.asleep)
    else:
        names = [str(one) for one in ids]
        values = pipeline.hmget(contract.ROUTES, names)
        routes = {name: value.decode() for name, value in zip(names, values, strict=True) if value is not None}
    with redis_client().pipeline(transaction=False) as reads:
        for name in names:
            reads.hgetall(contract.replicas_key(name))
            reads.hget(contract.load_key(name), contract.ASLEEP)
        answers = reads.execute()
    replicas = dict(zip(names, map(_texts, answers[::2]), strict=True))
    asleep = {name for name, flag in zip(names, answers[1::2], strict=True) if flag is not None}
    return Published(routes, replicas, asleep)


def _write(pipeline: Any, wanted: Published, before: Published) -> bool:
    """Queue the differences; True when there are any."""
    same = all(old == wanted.replicas.get(name, {}) for name, old in before.replicas.items())
    changed = not same or (wanted.routes, wanted.asleep) != (before.routes, before.asleep)
    gone = before.routes.keys() - wanted.routes.keys()
    for name in gone:
        pipeline.hdel(contract.ROUTES, name)
    if new := {name: text for name, text in wanted.routes.items() if before.routes.get(name) != text}:
        pipeline.hset(contract.ROUTES, mapping=new)
    for name, old in before.replicas.items():
        current = wanted.replicas.get(name, {})
        if old != current:
            pipeline.delete(contract.replicas_key(name))
        if current and old != current:
            pipeline.hset(contract.replicas_key(name), mapping=current)
    for name in wanted.asleep - before.asleep:
        pipeline.hset(contract.load_key(name), contract.ASLEEP, "1")
    for name in before.asleep - wanted.asleep:
        pipeline.hdel(contract.load_key(name), contract.ASLEEP)
    for name in gone:
        pipeline.delete(contract.load_key(name))
    return changed


def _asleep(ids: Collection[UUID] | None) -> set[str]:
    rows = Deployment.objects.filter(asleep_since__isnull=False, deleted_at=None, terminate_requested_at=None)
    if ids is not None:
        rows = rows.filter(pk__in=ids)
    return {str(pk) for pk in rows.values_list("pk", flat=True)}


def _routes(ids: Collection[UUID] | None) -> dict[str, str]:
    """Deployments that callers may name: neither deleted nor on their way out."""
    rows = Deployment.objects.filter(deleted_at=None, terminate_requested_at=None)
    if ids is not None:
        rows = rows.filter(pk__in=ids)
    rows = rows.select_related("organization", "revision", "endpoint__cluster")
    listed = list(rows)
    serving = _serving(one.pk for one in listed)
    return {str(row.pk): route_of(row, serving.get(row.pk, [])).to_json() for row in listed}


def _serving(ids: Iterable[UUID]) -> dict[UUID, list[RevisionSpec]]:
    """What each deployment's serving replicas are configured as: one of each, two while it rolls."""
    rows = Revision.objects.filter(
        replicas__state=ReplicaState.READY, replicas__serving=True, deployment_id__in=list(ids)
    ).distinct()
    found: dict[UUID, list[RevisionSpec]] = defaultdict(list)
    for row in rows:
        found[row.deployment_id].append(RevisionSpec.from_json(row.spec))
    return found


def route_of(deployment: Deployment, serving: Sequence[RevisionSpec]) -> contract.RouteRecord:
    """While it rolls, only what every serving replica can do is offered."""
    spec = RevisionSpec.from_json(deployment.revision.spec) if deployment.revision else None
    has_failed = deployment.status == DeploymentStatus.FAILED
    return contract.RouteRecord(
        deployment_id=str(deployment.pk),
        organization_id=str(deployment.organization_id),
        organization_slug=deployment.organization.slug,
        name=deployment.name,
        state="failed" if has_failed else "open",
        created_at=deployment.created_at.timestamp(),
        context_length=min(each.engine.context_length for each in (spec, *serving)) if spec else 0,
        simulated=deployment.endpoint.cluster.simulated or bool(spec and spec.engine.simulator),
        reason=(deployment.cause or {}).get("message", "") if has_failed else "",
        adapters=[one.name for one in spec.adapters if all(one in each.adapters for each in serving)] if spec else [],
    )


def _replicas(ids: Collection[UUID] | None) -> Replicas:
    """Replicas that `admit` may choose, and the draining ones, which get nothing new."""
    rows = Replica.objects.filter(state__in=[ReplicaState.READY, ReplicaState.DRAINING]).exclude(address="")
    if ids is not None:
        rows = rows.filter(deployment_id__in=ids)
    found: Replicas = defaultdict(dict)
    for row in rows.select_related("revision"):
        draining = row.state == ReplicaState.DRAINING
        if row.serving or draining:
            concurrency = row.revision.spec["engine"]["max_concurrency"]
            record = contract.ReplicaRecord(str(row.pk), row.address, concurrency, draining)
            found[str(row.deployment_id)][str(row.pk)] = record.to_json()
    return found


def _texts(hash_: dict[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in hash_.items()}


def ui_changed(deployments: Iterable[Deployment]) -> None:
    """Tell the open pages to look again; they re-read what they may see. One call per pass."""
    messages = [
        (
            group,
            {"type": "deployment.changed", "deployment_id": str(one.pk), "organization_id": str(one.organization_id)},
        )
        for one in deployments
        for group in (f"deployment.{one.pk}", f"organization.{one.organization_id}", "operators")
    ]
    if messages:
        _robustly(lambda: async_to_sync(_send)(messages))


async def _send(messages: list[tuple[str, dict[str, str]]]) -> None:
    layer = get_channel_layer()
    for group, message in messages:
        await layer.group_send(group, message)


def _robustly(send: Callable[[], None]) -> None:
    try:
        send()
    except (redis.RedisError, OSError) as error:
        log.warning("Open pages were not told of a change: %s", error)
