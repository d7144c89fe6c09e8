"""Ingests usage events from the gateways' Redis stream into PostgreSQL, exactly once.

Events, hourly sums and the stream position are committed in one transaction. A crash repeats the batch, which inserts
nothing again. The stream is trimmed only below the committed position.
"""

from __future__ import annotations

import json
import logging
import math
import uuid
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from django.db import connection, transaction

from accounts import services as accounts
from accounts.redis_client import redis_client
from billing.models import StreamPosition
from billing.partitions import ensure_partitions
from gateway import contract

CONSUMER = "billing"
BATCH_SIZE = 1000
STREAM_START = "0-0"
REJECTED_STREAM = "mc:usage:rejected"
MAX_REJECTED = 10_000
ID_FIELDS = (
    "request_id", "organization_id", "owner_organization_id", "deployment_id", "replica_id", "key_id", "user_id",
)  # fmt: skip
LATENCY_FIELDS = ("ttft_seconds", "itl_mean_seconds", "itl_p99_seconds", "queue_seconds")
log = logging.getLogger(__name__)

# Of several events of a request the best one counts: a final one, else the provisional one that finished last. It is
# inserted with the tokens that the rows before it lack, unless they hold an event that is as good.
INSERT_EVENTS = """
WITH given AS (
    SELECT DISTINCT ON (request_id, admitted_at) * FROM jsonb_to_recordset(%s::jsonb) AS event (
        request_id uuid, admitted_at timestamptz, finished_at timestamptz, organization_id uuid,
        owner_organization_id uuid, deployment_id uuid, replica_id uuid, key_id uuid, user_id uuid,
        gateway_id text, model text, stream boolean, outcome text, status smallint, input_tokens bigint,
        cached_input_tokens bigint, output_tokens bigint, estimated boolean, ttft_seconds float8,
        itl_mean_seconds float8, itl_p99_seconds float8, queue_seconds float8, cold boolean, provisional boolean)
    ORDER BY request_id, admitted_at, provisional, finished_at DESC
), fresh AS (
    INSERT INTO billing_usage_event (
        request_id, admitted_at, sequence, finished_at, organization_id, owner_organization_id, deployment_id,
        replica_id, key_id, user_id, gateway_id, model, stream, outcome, status, input_tokens, cached_input_tokens,
        output_tokens, estimated, ttft_seconds, itl_mean_seconds, itl_p99_seconds, queue_seconds, cold, provisional)
    SELECT given.request_id, given.admitted_at, stored.rows, finished_at, organization_id, owner_organization_id,
        deployment_id, replica_id, key_id, user_id, gateway_id, model, stream, outcome, status,
        given.input_tokens - stored.input_tokens, given.cached_input_tokens - stored.cached_input_tokens,
        given.output_tokens - stored.output_tokens, estimated, ttft_seconds, itl_mean_seconds, itl_p99_seconds,
        queue_seconds, cold, provisional
    FROM given CROSS JOIN LATERAL (
        SELECT count(*) AS rows, coalesce(sum(known.input_tokens), 0) AS input_tokens,
            coalesce(sum(known.cached_input_tokens), 0) AS cached_input_tokens,
            coalesce(sum(known.output_tokens), 0) AS output_tokens,
            bool_and(known.provisional) AS are_provisional, max(known.finished_at) AS last_finished_at
        FROM billing_usage_event AS known
        WHERE known.request_id = given.request_id AND known.admitted_at = given.admitted_at
    ) AS stored
    WHERE stored.rows = 0
        OR stored.are_provisional AND (NOT given.provisional OR given.finished_at > stored.last_finished_at)
    ON CONFLICT DO NOTHING RETURNING *
), raised AS (
    INSERT INTO billing_usagehour (
        hour, organization_id, owner_organization_id, deployment_id, key_id, user_id,
        requests, input_tokens, cached_input_tokens, output_tokens)
    SELECT date_trunc('hour', admitted_at, 'UTC'), organization_id, owner_organization_id, deployment_id, key_id,
        user_id, count(*) FILTER (WHERE sequence = 0), sum(input_tokens), sum(cached_input_tokens), sum(output_tokens)
    FROM fresh GROUP BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (hour, deployment_id, key_id, user_id, organization_id) DO UPDATE SET
        requests = billing_usagehour.requests + EXCLUDED.requests,
        input_tokens = billing_usagehour.input_tokens + EXCLUDED.input_tokens,
        cached_input_tokens = billing_usagehour.cached_input_tokens + EXCLUDED.cached_input_tokens,
        output_tokens = billing_usagehour.output_tokens + EXCLUDED.output_tokens
)
SELECT count(*) FROM fresh
"""


def ingest_batch() -> int:
    """Commit the next batch of at most BATCH_SIZE entries; returns how many were read: 0 at the end of the stream, and
    while another process ingests."""
    client = redis_client()
    with transaction.atomic(durable=True):
        StreamPosition.objects.get_or_create(consumer=CONSUMER, defaults={"position": STREAM_START})
        position = StreamPosition.objects.select_for_update(skip_locked=True).filter(consumer=CONSUMER).first()
        if position is None:
            return 0
        after = _get_read_position(position.position)
        entries: list[tuple[bytes, dict[bytes, bytes]]] = list(
            client.xrange(contract.USAGE, min=f"({after}", count=BATCH_SIZE)  # type: ignore[arg-type]
        )
        if not entries:
            return 0
        store_events([event for _, fields in entries if (event := _decode_or_reject(fields))])
        position.position = entries[-1][0].decode()
        position.save(update_fields=["position"])
    client.xtrim(contract.USAGE, minid=position.position, approximate=False)
    return len(entries)


def store_events(events: list[contract.UsageEvent]) -> int:
    """Insert new events, add them to their hours and update `last_used_at` of their keys.

    Returns how many rows were inserted. Runs in the caller's transaction, which no other one that inserts events may
    overlap.
    """
    ensure_partitions({_to_datetime(event.admitted_at) for event in events})
    with connection.cursor() as cursor:
        cursor.execute(INSERT_EVENTS, [json.dumps([_build_row(event) for event in events])])
        inserted: int = cursor.fetchone()[0]
    used_at_by_key_id: dict[uuid.UUID, datetime] = {}
    for event in events:
        key_id, admitted_at = uuid.UUID(event.key_id), _to_datetime(event.admitted_at)
        used_at_by_key_id[key_id] = max(used_at_by_key_id.get(key_id, admitted_at), admitted_at)
    accounts.record_key_use(used_at_by_key_id)
    return inserted


def _get_read_position(position: str) -> str:
    """Return `position`, or the start of the stream if Redis lost its data and assigns lower ids again."""
    client = redis_client()
    if not client.exists(contract.USAGE):
        return position
    last = client.xinfo_stream(contract.USAGE)["last-generated-id"].decode()
    return STREAM_START if _parse_stream_id(last) < _parse_stream_id(position) else position


def _parse_stream_id(stream_id: str) -> tuple[int, int]:
    milliseconds, _, sequence = stream_id.partition("-")
    return int(milliseconds), int(sequence or 0)


def _decode_or_reject(fields: dict[bytes, bytes]) -> contract.UsageEvent | None:
    """Decode the event of an entry. An invalid entry is moved to the rejected stream for inspection; returns None."""
    try:
        event = contract.UsageEvent.from_json(fields[b"event"])
        _validate(event)
    except (KeyError, TypeError, ValueError, OverflowError, OSError) as error:
        log.error("An invalid usage entry was moved to %s: %s", REJECTED_STREAM, error)
        redis_client().xadd(REJECTED_STREAM, dict(fields), maxlen=MAX_REJECTED)  # type: ignore[arg-type]
        return None
    return event


def _validate(event: contract.UsageEvent) -> None:
    """Raise an error that `_decode_or_reject` handles if the table cannot store the event."""
    for name in ID_FIELDS:
        uuid.UUID(getattr(event, name))
    counts = (event.input_tokens, event.cached_input_tokens, event.output_tokens, event.status)
    if not all(type(count) is int and 0 <= count < 2**62 for count in counts) or event.status > 999:
        raise ValueError(f"counts or status out of range in request {event.request_id}")
    if not all(type(value) is bool for value in (event.stream, event.estimated, event.provisional)):
        raise ValueError(f"stream, estimated or provisional is not a boolean in request {event.request_id}")
    for name in LATENCY_FIELDS:
        if (seconds := getattr(event, name)) is not None and not math.isfinite(seconds):
            raise ValueError(f"{name} is not a finite number in request {event.request_id}")
    if not (event.cold is None or type(event.cold) is bool):
        raise ValueError(f"cold is not a boolean in request {event.request_id}")
    if len(event.outcome) > 20 or len(event.gateway_id) > 64:
        raise ValueError(f"outcome or gateway too long in request {event.request_id}")
    if b"\x00" in (event.model + event.outcome + event.gateway_id).encode():  # raises for a lone surrogate
        raise ValueError(f"text contains a null character in request {event.request_id}")
    _build_row(event)  # raises for times out of the range of datetime


def _build_row(event: contract.UsageEvent) -> dict[str, Any]:
    times = {name: _to_datetime(getattr(event, name)).isoformat() for name in ("admitted_at", "finished_at")}
    return asdict(event) | times | {"model": event.model[:200]}


def _to_datetime(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
