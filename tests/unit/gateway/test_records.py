"""Snapshots, request ids, usage: what follows from what was published or read."""

import uuid

import pytest

from gateway import config, identifiers, usage
from gateway.contract import Admitted, KeyRecord, RouteRecord
from gateway.snapshot import KEEP_SECONDS, Published, following
from gateway.usage import Counts, Tally

KEY = KeyRecord("k", "o", "acme", "u", ["inference"])
ROUTE = RouteRecord("d", "o", "acme", "chat", "open", 1.0, 100, simulated=True)
FULL = Published(7, {"h": KEY.to_json()}, {"d": ROUTE.to_json()})


def test_a_snapshot_finds_keys_by_hash_and_routes_by_organization_and_name():
    snapshot = following(None, FULL, 0)
    assert snapshot
    assert snapshot.keys == {"h": KEY}
    assert snapshot.routes == {("o", "chat"): ROUTE}


def test_a_missing_generation_keeps_the_last_snapshot():
    snapshot = following(None, FULL, 0)
    assert following(snapshot, Published(None, {}, {}), 1) is snapshot


def test_a_withdrawn_key_is_gone_at_the_next_generation():
    snapshot = following(following(None, FULL, 0), Published(8, {}, FULL.routes), 1)
    assert snapshot
    assert snapshot.keys == {}


def test_after_a_restart_of_redis_what_is_not_published_yet_is_kept_for_a_while():
    before = following(None, FULL, 0)
    after = following(before, Published(1, {}, FULL.routes), 100)
    assert after
    assert after.keys == {"h": KEY}
    later = following(after, Published(2, {}, FULL.routes), 100 + KEEP_SECONDS)
    assert later
    assert later.keys == {}


def test_a_record_that_cannot_be_read_costs_only_itself():
    snapshot = following(None, Published(1, {"h": KEY.to_json(), "x": "{}", "y": "nonsense"}, {}), 0)
    assert snapshot
    assert list(snapshot.keys) == ["h"]


@pytest.mark.parametrize("entropy", [bytes(10), b"\xff" * 10, bytes(range(10))], ids=["zeros", "ones", "mixed"])
def test_request_ids_are_uuids_of_version_7(entropy):
    text = identifiers.uuid7(1_795_250_000_123, identifiers.random_tail(entropy))
    found = uuid.UUID(text)
    assert str(found) == text
    assert (found.version, found.variant) == (7, uuid.RFC_4122)
    assert found.int >> 80 == 1_795_250_000_123
    assert identifiers.public(text) == "req_" + found.hex


def test_cumulative_usage_is_taken_last_and_never_summed():
    tally = Tally(input_estimate=4)
    for output in (1, 2, 3):
        tally.note({"prompt_tokens": 9, "completion_tokens": output}, pieces=1)
    tally.note(None, pieces=1)
    assert tally.counts() == Counts(9, 0, 3)


def test_without_usage_the_pieces_are_counted_and_flagged():
    tally = Tally(input_estimate=4)
    tally.note(None, pieces=2)
    assert tally.counts() == Counts(4, 0, 2, estimated=True)


USAGES = {
    "cached": ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 3}}, Counts(5, 3, 0)),
    "more cached than sent": ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9}}, Counts(5, 5, 0)),
    "details null": ({"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": None}, Counts(5, 0, 2)),
    "negative": ({"prompt_tokens": -5}, None),
    "text": ({"prompt_tokens": "5"}, None),
    "null": (None, None),
}  # fmt: skip


@pytest.mark.parametrize(("given", "counts"), USAGES.values(), ids=USAGES.keys())
def test_reading_a_usage_object(given, counts):
    assert usage.counts_of(given) == counts


def test_an_answer_without_usage_is_estimated_from_its_text():
    body = b'{"choices":[{"message":{"content":"12345"}},{"text":"678"}]}'
    assert usage.counts_of_answer(body, 4) == Counts(4, 0, 2, estimated=True)
    assert usage.counts_of_answer(b"no json", 4) == Counts(4, 0, 0, estimated=True)


def test_an_event_never_ends_before_it_began():
    note = Admitted("id", 10.5, "g", "o", "p", "d", "r", "k", "u", "m", True, 4)
    event = usage.event_of(note, Counts(1, 0, 2), outcome="completed", status=200, seconds=-1, ttft_seconds=0.25)
    assert (event.finished_at, event.ttft_seconds, event.output_tokens) == (10.5, 0.25, 2)


def test_settings_are_read_from_the_environment(tmp_path):
    found = config.read({"CONSOLE_DATA_DIR": str(tmp_path), "GATEWAY_PORT": "9001", "DRAIN_SECONDS": "7"})
    assert (found.port, found.drain_seconds, found.spool_dir) == (9001, 7.0, tmp_path / "spool")
    assert config.read({"DRAIN_SECONDS": "7", "GATEWAY_DRAIN_SECONDS": "5"}).drain_seconds == 5.0


@pytest.mark.parametrize("value", ["many", "-1", "nan", "inf"])
def test_a_setting_that_is_no_number_is_named(value):
    with pytest.raises(config.InvalidSetting, match="GATEWAY_PORT"):
        config.read({"GATEWAY_PORT": value})
