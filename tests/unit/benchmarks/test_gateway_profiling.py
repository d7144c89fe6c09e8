import json

import pytest

from benchmarks.gateway.profiling import EVENT_LOOP, name_module, parse_samples, summarize
from benchmarks.gateway.servers import ROOT

OURS = [str(ROOT / "gateway" / "inference.py"), 10, "Request.run"]
THEIRS = ["/opt/python/lib/python3.11/site-packages/redis/client.py", 20, "execute"]
RUNNER = ["/opt/python/lib/python3.11/site-packages/uvloop/__init__.py", 50, "run"]


def samples(*rows):
    return parse_samples(json.dumps(rows))


@pytest.mark.parametrize(
    ("file", "module"),
    [
        (OURS[0], "gateway/inference.py"),
        (THEIRS[0], "redis"),
        ("/opt/python/lib/python3.11/site-packages/six.py", "six"),
        (str(ROOT / ".venv" / "lib" / "python3.11" / "site-packages" / "aiohttp" / "client.py"), "aiohttp"),
        ("/somewhere/else.py", "else"),
        ("<string>", "<string>"),
    ],
)
def test_a_module_of_ours_is_named_by_its_path_and_another_by_its_package(file, module):
    assert name_module(file) == module


def test_the_time_of_a_request_is_distributed_by_the_samples():
    profile = summarize(samples([30, 12, [OURS, RUNNER]], [10, 25, [THEIRS, OURS, RUNNER]]), 200.0)

    assert profile.modules == [("gateway/inference.py", 150.0), ("redis", 50.0)]
    assert profile.functions[:2] == [
        ("gateway/inference.py:10 Request.run", 150.0, 200.0), ("redis:20 execute", 50.0, 50.0)
    ]  # fmt: skip


def test_a_function_that_calls_itself_counts_once_a_sample():
    profile = summarize(samples([10, 12, [OURS, OURS, RUNNER]]), 100.0)

    assert profile.functions[0] == ("gateway/inference.py:10 Request.run", 100.0, 100.0)


def test_what_the_event_loop_does_until_it_calls_a_function_is_its_own():
    at_the_first_line, later, no_function = [4, 10, [OURS, RUNNER]], [5, 11, [OURS, RUNNER]], [1, 77, [RUNNER]]

    profile = summarize(samples(at_the_first_line, later, no_function), 10.0)

    assert profile.modules == [(EVENT_LOOP, 5.0), ("gateway/inference.py", 5.0)]


def test_the_first_line_of_a_function_that_python_calls_is_not_the_event_loop():
    profile = summarize(samples([1, 20, [THEIRS, OURS, RUNNER]]), 10.0)

    assert profile.modules == [("redis", 10.0)]
