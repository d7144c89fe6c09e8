import json

import pytest

from benchmarks.gateway.load import Target, is_whole_response
from benchmarks.gateway.measurements import subtract_calls
from benchmarks.gateway.replica import IS_STREAMED, PACE, WHOLE

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"


@pytest.mark.parametrize("response", [WHOLE, CHUNKED, b"HTTP/1.1 204 No Content\r\n\r\n"])
def test_a_response_is_whole_with_its_last_byte(response):
    assert is_whole_response(response)
    assert not is_whole_response(response[:-1])


def test_the_replica_reads_the_pace_that_the_callers_ask_for():
    request = Target(80, "bench-1", "mc_x").build_request("64 chunks, one every 20 ms", stream=True)

    pace = PACE.search(request)
    assert pace
    assert (pace[1], pace[2]) == (b"64", b"20")
    assert IS_STREAMED.search(request)
    assert not IS_STREAMED.search(Target(80, "bench-1", "mc_x").build_request())


def test_a_request_states_the_length_of_its_body():
    head, _, body = Target(80, "bench-1", "mc_x").build_request().partition(b"\r\n\r\n")

    assert b"content-length: %d" % len(body) in head
    assert json.loads(body)["model"] == "bench-1"


def test_commands_are_counted_a_request():
    before = {"evalsha": (100, 1.0), "ping": (5, 0.5)}
    after = {"evalsha": (140, 1.004), "ping": (5, 0.5), "get": (10, 0.00001)}

    calls = subtract_calls(after, before, 20)

    assert calls.keys() == {"evalsha", "get"}
    assert calls["evalsha"] == (2.0, pytest.approx(200.0))
    assert calls["get"] == (0.5, pytest.approx(0.5))
