import os

from console.machine import metrics_endpoint


def test_gauges_of_ended_processes_are_dropped_and_counters_kept(tmp_path):
    dead, alive = 2**22 + 1, os.getpid()
    for name in (f"gauge_livesum_{dead}.db", f"gauge_livesum_{alive}.db", f"counter_{dead}.db"):
        (tmp_path / name).touch()
    metrics_endpoint.remove_gauges_of_ended_processes(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"gauge_livesum_{alive}.db", f"counter_{dead}.db"}
