"""What `manage.py watch` does about sources that fail."""

import threading

from deployments.management.commands import watch
from tests.polling import eventually


def test_a_source_that_breaks_is_followed_again_and_reported_with_a_traceback(caplog, monkeypatch):
    monkeypatch.setattr(watch, "RETRY_SECONDS", 0.01)
    stop, steps = threading.Event(), []

    def step():
        steps.append("step")
        if len(steps) > 2:
            stop.set()
            return
        raise KeyError("a fault that nobody foresaw")

    followed = watch.Watch(stop)
    followed._active.set()
    followed._follow("cluster one", step)
    eventually(stop.is_set)
    assert len(steps) == 3
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 2
    assert all(record.exc_info and "cluster one" in record.getMessage() for record in errors)
