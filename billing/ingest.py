"""From the gateways' usage stream into PostgreSQL, exactly once.

Events, hourly sums and the stream position are committed in one transaction: a crash anywhere repeats the batch, and
the key (request_id, admitted_at) makes the repetition change nothing. The stream is trimmed only below what has been
committed.
"""

from __future__ import annotations

import json
import logging
import math
import uuid
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from django.db import connection, transaction

from accounts import services as accounts
from accounts.redis_client import redis_client
from billing.models import StreamPosition
from gateway import contract

CONSUMER = "billing"
BATCH = 1000
START = "0-0"
REJECTED = "mc:usage:rejected"
IDS = (
    "request_id", "organization_id", "owner_organization_id", "deployment_id", "replica_id", "key_id", "user_id",
)  # fmt: skip
log = logging.getLogger(__name__)

STORE = """
WITH given AS (
    SELECT * FROM jsonb_to_recordset(%s::jsonb) AS event (
        request_id uuid, admitted_at timestamptz, finished_at timestamptz, organization_id uuid,
        owner_organization_id uuid, deployment_id uuid, replica_id uuid, key_id uuid, user_id uuid,
        gateway_id text, model text, stream boolean, outcome text, status smallint, input_tokens bigint,
        cached_input_tokens bigint, output_tokens bigint, estimated boolean, ttft_seconds float8)
), fresh AS (
    INSERT INTO billing_usage_event (
        request_id, admitted_at, finished_at, organization_id, owner_organization_id, deployment_id, replica_id,
        key_id, user_id, gateway_id, model, stream, outcome, status, input_tokens, cached_input_tokens,
        output_tokens, estimated, ttft_seconds)
    SELECT * FROM given ON CONFLICT DO NOTHING RETURNING *
), raised AS (
    INSERT INTO billing_usagehour (
        hour, organization_id, owner_organization_id, deployment_id, key_id, user_id,
        requests, input_tokens, cached_input_tokens, output_tokens)
    SELECT date_trunc('hour', admitted_at, 'UTC'), organization_id, owner_organization_id, deployment_id, key_id,
        user_id, count(*), sum(input_tokens), sum(cached_input_tokens), sum(output_tokens)
    FROM fresh GROUP BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (hour, deployment_id, key_id, user_id, organization_id) DO UPDATE SET
        requests = billing_usagehour.requests + EXCLUDED.requests,
        input_tokens = billing_usagehour.input_tokens + EXCLUDED.input_tokens,
        cached_input_tokens = billing_usagehour.cached_input_tokens + EXCLUDED.cached_input_tokens,
        output_tokens = billing_usagehour.output_tokens + EXCLUDED.output_tokens
)
SELECT count(*) FROM fresh
"""


def ingest() -> int:
    """Commit the next batch of the stream; returns how many entries were read (0: nothing waits)."""
    client = redis_client()
    with transaction.atomic(durable=True):
        position = _lock_position()
        after = _readable_after(position.position)
        entries: list[tuple[bytes, dict[bytes, bytes]]] = list(
            client.xrange(contract.USAGE, min=f"({after}", count=BATCH)  # type: ignore[arg-type]
        )
        if not entries:
            return 0
        store([event for _, fields in entries if (event := _decode(fields))])
        position.position = entries[-1][0].decode()
        position.save(update_fields=["position"])
    client.xtrim(contract.USAGE, minid=position.position, approximate=False)
    return len(entries)


def store(events: list[contract.UsageEvent]) -> int:
    """Insert what is new and raise its hours; returns how many were new. Runs in the caller's transaction."""
    ensure_partitions({_time(event.admitted_at) for event in events})
    with connection.cursor() as cursor:
        cursor.execute(STORE, [json.dumps([_row(event) for event in events])])
        fresh: int = cursor.fetchone()[0]
    _note_use(events)
    return fresh


def ensure_partitions(times: Iterable[datetime]) -> None:
    """Make the daily partitions for the given aware times."""
    days = sorted({time.astimezone(UTC).date() for time in times})
    with connection.cursor() as cursor:
        for day in days:
            cursor.execute("SELECT billing_ensure_usage_partition(%s)", [day])


def drop_partitions(before: datetime) -> int:
    """Drop the partitions of days before `before`; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_drop_usage_partitions(%s)", [before.astimezone(UTC).date()])
        dropped: int = cursor.fetchone()[0]
        return dropped


def _lock_position() -> StreamPosition:
    StreamPosition.objects.get_or_create(consumer=CONSUMER, defaults={"position": START})
    return StreamPosition.objects.select_for_update().get(consumer=CONSUMER)


def _readable_after(position: str) -> str:
    """`position`, or the start when Redis came back empty and counts from an earlier id."""
    client = redis_client()
    if not client.exists(contract.USAGE):
        return position
    last = client.xinfo_stream(contract.USAGE)["last-generated-id"].decode()
    return START if _order(last) < _order(position) else position


def _order(stream_id: str) -> tuple[int, int]:
    milliseconds, _, sequence = stream_id.partition("-")
    return int(milliseconds), int(sequence or 0)


def _decode(fields: dict[bytes, bytes]) -> contract.UsageEvent | None:
    """The event of an entry. What is none is set aside for people and never blocks the entries behind it."""
    try:
        event = contract.UsageEvent.from_json(fields[b"event"])
        _check(event)
    except (KeyError, TypeError, ValueError, OverflowError, OSError) as error:
        log.error("A usage entry cannot be read and was moved to %s: %s", REJECTED, error)
        redis_client().xadd(REJECTED, dict(fields), maxlen=10_000)  # type: ignore[arg-type]
        return None
    return event


def _check(event: contract.UsageEvent) -> None:
    """Raise ValueError for what the table could not hold."""
    for name in IDS:
        uuid.UUID(getattr(event, name))
    counts = (event.input_tokens, event.cached_input_tokens, event.output_tokens, event.status)
    if not all(type(count) is int and 0 <= count < 2**62 for count in counts) or event.status > 999:
        raise ValueError(f"counts or status out of range in request {event.request_id}")
    if not (type(event.stream) is bool and type(event.estimated) is bool):
        raise ValueError(f"stream or estimated is neither true nor false in request {event.request_id}")
    if event.ttft_seconds is not None and not math.isfinite(event.ttft_seconds):
        raise ValueError(f"time to first token is no number in request {event.request_id}")
    if len(event.outcome) > 20 or len(event.gateway_id) > 64:
        raise ValueError(f"outcome or gateway too long in request {event.request_id}")
    if b"\x00" in (event.model + event.outcome + event.gateway_id).encode():  # raises for half a character
        raise ValueError(f"text that cannot be stored in request {event.request_id}")
    _row(event)  # raises for times that no calendar has


def _row(event: contract.UsageEvent) -> dict[str, Any]:
    times = {name: _time(getattr(event, name)).isoformat() for name in ("admitted_at", "finished_at")}
    return asdict(event) | times | {"model": event.model[:200]}


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _note_use(events: list[contract.UsageEvent]) -> None:
    latest: dict[uuid.UUID, datetime] = {}
    for event in events:
        key = uuid.UUID(event.key_id)
        latest[key] = max(latest.get(key, _time(0)), _time(event.admitted_at))
    accounts.record_key_use(latest)
