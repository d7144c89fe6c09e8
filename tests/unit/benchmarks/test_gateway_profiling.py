import pytest

from benchmarks.gateway.profiling import name_module, summarize_functions, summarize_modules
from benchmarks.gateway.servers import ROOT

OURS = (str(ROOT / "gateway" / "inference.py"), 10, "handle")
THEIRS = ("/opt/python/lib/python3.11/site-packages/redis/client.py", 20, "execute")
BUILT_IN = ("~", 0, "<built-in method time.time>")
STATS = {
    OURS: (200, 200, 0.002, 0.009, {}),
    THEIRS: (100, 100, 0.004, 0.004, {OURS: (100, 100, 0.004, 0.004)}),
    BUILT_IN: (400, 400, 0.003, 0.003, {OURS: (300, 300, 0.001, 0.001), THEIRS: (100, 100, 0.002, 0.002)}),
}


@pytest.mark.parametrize(
    ("file", "module"),
    [
        (OURS[0], "gateway/inference.py"),
        (THEIRS[0], "redis"),
        ("/opt/python/lib/python3.11/site-packages/six.py", "six"),
        ("~", "built in"),
        ("<string>", "built in"),
        ("/somewhere/else.py", "else"),
    ],
)
def test_a_module_of_ours_is_named_by_its_path_and_another_by_its_package(file, module):
    assert name_module(file) == module


def test_functions_are_ordered_by_their_own_time_in_microseconds_of_one_request():
    costs = summarize_functions(STATS, 100)

    assert [(cost.calls, cost.own) for cost in costs] == [
        (1.0, pytest.approx(40)), (4.0, pytest.approx(30)), (2.0, pytest.approx(20))
    ]  # fmt: skip
    assert costs[2].within == pytest.approx(90)
    assert costs[2].name == "gateway/inference.py:10 handle"


def test_what_is_built_in_belongs_to_the_module_that_calls_it():
    costs = {cost.name: cost.own for cost in summarize_modules(STATS, 100)}

    assert costs == {"redis": pytest.approx(60), "gateway/inference.py": pytest.approx(30)}
