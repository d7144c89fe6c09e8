"""Request ids."""

import uuid

import pytest

from gateway import request_ids


@pytest.mark.parametrize("entropy", [bytes(10), b"\xff" * 10, bytes(range(10))], ids=["zeros", "ones", "mixed"])
def test_request_ids_are_uuids_of_version_7(entropy):
    text = request_ids.build_uuid7(1_795_250_000_123, request_ids.build_random_tail(entropy))
    parsed = uuid.UUID(text)
    assert str(parsed) == text
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert parsed.int >> 80 == 1_795_250_000_123
    assert request_ids.format_public_id(text) == "req_" + parsed.hex
