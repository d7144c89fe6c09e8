"""Ingestion of the usage stream into PostgreSQL: exactly once despite repeated, lost or invalid entries."""

import itertools
import json
import random
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import redis
from django.db import DatabaseError, connection
from django.db.models import Q

from billing import partitions, queries, usage_ingestion
from billing.models import StreamPosition, UsageEvent, UsageHour
from gateway import contract

ORGANIZATION, DEPLOYMENT, KEY, USER, REPLICA = (str(uuid.UUID(int=n)) for n in range(1, 6))
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def store(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url)


def build_event(number: int = 1, **changes: object) -> contract.UsageEvent:
    admitted = (NOON + timedelta(seconds=number)).timestamp()
    base = contract.UsageEvent(
        request_id=str(uuid.UUID(int=1000 + number)), admitted_at=admitted, finished_at=admitted + 2,
        organization_id=ORGANIZATION, owner_organization_id=ORGANIZATION, deployment_id=DEPLOYMENT,
        replica_id=REPLICA, key_id=KEY, user_id=USER, model="chat", stream=True, outcome="completed", status=200,
        input_tokens=10, cached_input_tokens=0, output_tokens=5, estimated=False, ttft_seconds=0.2, gateway_id="g1",
    )  # fmt: skip
    return replace(base, **changes)


def send(store: redis.Redis, *events: contract.UsageEvent) -> None:
    for event in events:  # as a producer that also writes what the gateway never does, such as NaN
        store.xadd(contract.USAGE, {"event": json.dumps(vars(event))})


def sum_all_usage() -> tuple[int, int, int]:
    since, until = NOON - timedelta(days=60), NOON + timedelta(days=60)
    rows = queries.sum_usage(condition=Q(), since=since, until=until, group_by="organization")
    return (
        sum(row.requests for row in rows),
        sum(row.input_tokens for row in rows),
        sum(row.output_tokens for row in rows),
    )


def test_each_event_becomes_one_row_and_is_added_to_its_hour(store):
    send(store, build_event(1), build_event(2), build_event(3, output_tokens=7))
    assert usage_ingestion.ingest_batch() == 3
    assert UsageEvent.objects.count() == 3
    hour = UsageHour.objects.get()
    assert (hour.hour, hour.requests, hour.input_tokens, hour.output_tokens) == (NOON, 3, 30, 17)


def test_a_replay_of_the_whole_stream_changes_nothing(store):
    send(store, build_event(1), build_event(2))
    usage_ingestion.ingest_batch()
    StreamPosition.objects.update(position=usage_ingestion.STREAM_START)
    send(store, build_event(1), build_event(2))
    usage_ingestion.ingest_batch()
    assert sum_all_usage() == (2, 20, 10)


def test_duplicates_late_and_shuffled_events_give_the_sums_of_the_clean_run(store):
    rng = random.Random(7)
    clean = [build_event(n, output_tokens=n % 9, admitted_at=(NOON - timedelta(hours=n % 30 * 24)).timestamp())
             for n in range(400)]  # fmt: skip
    sent = clean + rng.sample(clean, 120)
    rng.shuffle(sent)
    send(store, *sent)
    while usage_ingestion.ingest_batch():
        pass
    assert sum_all_usage() == (400, 4000, sum(event.output_tokens for event in clean))


def test_a_crash_before_the_commit_loses_nothing_and_counts_nothing_twice(store, monkeypatch):
    send(store, build_event(1), build_event(2))

    def crash(*_args: object, **_values: object) -> None:
        raise RuntimeError("the process dies before the commit")

    with monkeypatch.context() as broken:
        broken.setattr(StreamPosition, "save", crash)
        with pytest.raises(RuntimeError):
            usage_ingestion.ingest_batch()
    assert sum_all_usage() == (0, 0, 0)
    assert usage_ingestion.ingest_batch() == 2
    assert sum_all_usage() == (2, 20, 10)


def test_the_stream_is_trimmed_only_below_the_committed_position(store):
    send(store, build_event(1), build_event(2))
    usage_ingestion.ingest_batch()
    send(store, build_event(3))
    position = StreamPosition.objects.get().position
    assert next(name.decode() for name, _ in store.xrange(contract.USAGE)) == position
    assert usage_ingestion.ingest_batch() == 1
    assert sum_all_usage()[0] == 3


def test_a_stream_that_redis_lost_is_read_from_its_start(store):
    send(store, build_event(1))
    usage_ingestion.ingest_batch()
    StreamPosition.objects.update(position="99999999999999-0")
    store.delete(contract.USAGE)
    send(store, build_event(2))
    assert usage_ingestion.ingest_batch() == 1
    assert sum_all_usage()[0] == 2


def test_the_latency_of_a_request_is_stored_and_an_event_without_it_accepted(store):
    latency = {"itl_mean_seconds": 0.02, "itl_p99_seconds": 0.05, "queue_seconds": 1.5, "cold": True}
    send(store, build_event(1, **latency), build_event(2))
    usage_ingestion.ingest_batch()
    first, second = UsageEvent.objects.order_by("admitted_at").values(*latency)
    assert (first, second) == (latency, dict.fromkeys(latency))


def test_an_invalid_entry_is_rejected_without_blocking_later_entries(store):
    store.xadd(contract.USAGE, {"event": "{not json"})
    store.xadd(contract.USAGE, {"event": build_event(1, key_id="nobody").to_json()})
    store.xadd(contract.USAGE, {"event": build_event(1, output_tokens=2**80).to_json()})
    send(store, build_event(2))
    usage_ingestion.ingest_batch()
    assert sum_all_usage()[0] == 1
    assert store.xlen(usage_ingestion.REJECTED_STREAM) == 3


@pytest.mark.parametrize(
    "broken",
    [{"model": "a\x00b"}, {"model": "\ud800"}, {"outcome": "\x00"}, {"ttft_seconds": float("nan")},
     {"ttft_seconds": "soon"}, {"itl_p99_seconds": float("inf")}, {"queue_seconds": "long"}, {"cold": "yes"},
     {"admitted_at": float("inf")}, {"finished_at": 1e18}, {"output_tokens": 1.5},
     {"stream": "perhaps"}, {"provisional": "no"}, {"status": 200.5}],
    ids=lambda changes: " ".join(map(ascii, *changes.items())),
)  # fmt: skip
def test_an_event_that_postgresql_cannot_store_does_not_block_later_events(store, broken):
    send(store, build_event(1, **broken), build_event(2))
    usage_ingestion.ingest_batch()
    assert sum_all_usage()[0] == 1
    assert store.xlen(usage_ingestion.REJECTED_STREAM) == 1


def test_usage_events_can_neither_be_changed_nor_deleted(store):
    send(store, build_event(1))
    usage_ingestion.ingest_batch()
    for statement in ("UPDATE billing_usage_event SET output_tokens = 0", "DELETE FROM billing_usage_event"):
        with pytest.raises(DatabaseError, match="append-only"), connection.cursor() as cursor:
            cursor.execute(statement)
    assert sum_all_usage()[2] == 5


def test_partial_hours_are_summed_from_the_events(store):
    send(store, *(build_event(n, admitted_at=(NOON + timedelta(minutes=n)).timestamp()) for n in range(0, 180, 10)))
    usage_ingestion.ingest_batch()
    since, until = NOON + timedelta(minutes=20), NOON + timedelta(minutes=150)
    rows = queries.sum_usage(condition=Q(), since=since, until=until, group_by="hour")
    assert [(row.group, row.requests) for row in rows] == [
        (NOON, 4), (NOON + timedelta(hours=1), 6), (NOON + timedelta(hours=2), 3),
    ]  # fmt: skip


@pytest.mark.parametrize("group_by", list(queries.GROUP_COLUMNS))
def test_every_grouping_sums_to_the_total(store, group_by):
    send(store, *(build_event(n, key_id=str(uuid.UUID(int=50 + n % 3))) for n in range(9)))
    usage_ingestion.ingest_batch()
    rows = queries.sum_usage(
        condition=Q(), since=NOON - timedelta(days=1), until=NOON + timedelta(minutes=30), group_by=group_by
    )
    assert sum(row.requests for row in rows) == 9
    assert len(rows) == (3 if group_by == "api_key" else 1)


def test_partitions_past_their_retention_are_dropped(store):
    partitions.ensure_partitions([datetime(2025, 2, 3, tzinfo=UTC), NOON])
    assert partitions.drop_partitions(datetime(2025, 2, 4, tzinfo=UTC)) >= 1
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('billing_usage_event_20250203')")
        assert cursor.fetchone() == (None,)


def test_a_second_ingestion_returns_at_once_while_another_holds_the_stream(store):
    send(store, build_event(1))
    StreamPosition.objects.create(consumer=usage_ingestion.CONSUMER, position=usage_ingestion.STREAM_START)
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": psycopg.Cursor}) as other:
        other.execute("SELECT * FROM billing_streamposition FOR UPDATE")
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '100ms'")
            assert usage_ingestion.ingest_batch() == 0
            cursor.execute("RESET lock_timeout")  # the connection goes back to the pool that other tests use
    assert usage_ingestion.ingest_batch() == 1


REAPED = {"outcome": "interrupted", "status": 499, "estimated": True, "provisional": True}


@pytest.mark.parametrize("order", list(itertools.permutations(["early", "late", "final"])), ids=" ".join)
@pytest.mark.parametrize("batch_size", [1, 100])
def test_the_sums_are_those_of_the_final_event_in_whatever_order_provisional_ones_arrive(
    store, monkeypatch, order, batch_size
):
    finished_at = build_event(1).finished_at
    event_by_name = {
        "early": build_event(1, input_tokens=90, output_tokens=0, **REAPED),
        "late": build_event(1, input_tokens=12, output_tokens=3, finished_at=finished_at + 30, **REAPED),
        "final": build_event(1, input_tokens=10, cached_input_tokens=4, output_tokens=70, finished_at=finished_at + 1),
    }
    monkeypatch.setattr(usage_ingestion, "BATCH_SIZE", batch_size)
    send(store, *(event_by_name[name] for name in order for _ in range(2)), build_event(2))
    while usage_ingestion.ingest_batch():
        pass
    assert sum_all_usage() == (2, 20, 75)
    part_of_an_hour = queries.sum_usage(
        condition=Q(), since=NOON, until=NOON + timedelta(minutes=30), group_by="deployment"
    )
    assert [(row.requests, row.input_tokens, row.output_tokens) for row in part_of_an_hour] == [(2, 20, 75)]
    rows = UsageEvent.objects.filter(request_id=event_by_name["final"].request_id).order_by("sequence")
    assert [row.sequence for row in rows] == list(range(len(rows)))
    last = rows[len(rows) - 1]
    assert (last.outcome, last.estimated, last.provisional) == ("completed", False, False)
    hour = UsageHour.objects.get()
    assert (hour.requests, hour.cached_input_tokens) == (2, 4)


def test_of_the_provisional_events_of_a_request_the_last_one_to_finish_counts(store):
    early = build_event(1, output_tokens=30, **REAPED)
    late = replace(early, output_tokens=50, finished_at=early.finished_at + 20)
    for event in (early, late, early, late):
        send(store, event)
        usage_ingestion.ingest_batch()
    assert sum_all_usage() == (1, 10, 50)
    assert list(UsageEvent.objects.order_by("sequence").values_list("output_tokens", flat=True)) == [30, 20]
