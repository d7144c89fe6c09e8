"""Snapshots of published keys and routes."""

from gateway.contract import KeyRecord, RouteRecord
from gateway.key_and_route_cache import KEEP_SECONDS, PublishedState, build_next_snapshot

KEY = KeyRecord("k", "o", "acme", "u", ["inference"])
ROUTE = RouteRecord("d", "o", "acme", "chat", "open", 1.0, 100, simulated=True)
FULL = PublishedState(7, {"h": KEY.to_json()}, {"d": ROUTE.to_json()})


def test_a_snapshot_finds_keys_by_hash_and_routes_by_organization_and_name():
    snapshot = build_next_snapshot(None, FULL, 0)
    assert snapshot
    assert snapshot.keys == {"h": KEY}
    assert snapshot.routes == {("o", "chat"): ROUTE}


def test_a_missing_generation_keeps_the_last_snapshot():
    snapshot = build_next_snapshot(None, FULL, 0)
    assert build_next_snapshot(snapshot, PublishedState(None, {}, {}), 1) is snapshot


def test_a_withdrawn_key_is_absent_in_the_next_generation():
    snapshot = build_next_snapshot(build_next_snapshot(None, FULL, 0), PublishedState(8, {}, FULL.routes), 1)
    assert snapshot
    assert snapshot.keys == {}


def test_after_redis_lost_its_data_unpublished_keys_are_kept_for_a_limited_time():
    before = build_next_snapshot(None, FULL, 0)
    after = build_next_snapshot(before, PublishedState(1, {}, FULL.routes), 100)
    assert after
    assert after.keys == {"h": KEY}
    later = build_next_snapshot(after, PublishedState(2, {}, FULL.routes), 100 + KEEP_SECONDS)
    assert later
    assert later.keys == {}


def test_an_invalid_record_is_skipped():
    snapshot = build_next_snapshot(None, PublishedState(1, {"h": KEY.to_json(), "x": "{}", "y": "nonsense"}, {}), 0)
    assert snapshot
    assert list(snapshot.keys) == ["h"]
