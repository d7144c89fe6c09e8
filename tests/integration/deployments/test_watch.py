"""`manage.py watch` as a process: wakeups of gateways become work, one copy is active, and it ends at once."""

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection

from deployments.management.commands.watch import LOCK
from deployments.models import Cluster, WorkItem
from gateway import contract
from tests.polling import eventually
from tests.servers import database_url

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).parents[3]


@pytest.fixture
def watch(cluster, tmp_path):
    Cluster.objects.update(driver=Cluster.Driver.LOCAL)
    environment = os.environ | {"DATABASE_URL": database_url(), "CONSOLE_DATA_DIR": str(tmp_path)}
    started = []

    def start():
        command = [sys.executable, "manage.py", "watch"]
        with (tmp_path / "output").open("ab") as output:
            started.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def locks():
    return len(holders())


def holders():
    """The backends that hold the lock of the watch in this database."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            " AND (classid::bigint << 32) + objid::bigint = %s",
            [LOCK],
        )
        return [pid for (pid,) in cursor.fetchall()]


def test_wakeups_become_work_one_copy_is_active_and_its_end_is_immediate(console, watch, store, now):
    deployment = console.create()
    WorkItem.objects.update(next_due_at=now + timedelta(days=3650))
    first = watch()
    eventually(lambda: locks() == 1)
    second = watch()
    store.lpush(contract.WAKEUPS, "no wakeup at all", contract.Wakeup(str(deployment.pk)).to_json())

    def is_due():
        deployment.refresh_from_db()
        return deployment.work.next_due_at < now + timedelta(days=365)

    eventually(is_due)
    first.send_signal(signal.SIGTERM)
    assert first.wait(20) == 0
    eventually(lambda: locks() == 1)
    assert second.poll() is None


def test_a_database_that_goes_away_is_one_line_and_the_watch_goes_on(console, watch, store, now, tmp_path):
    deployment = console.create()
    process = watch()
    eventually(lambda: locks() == 1)
    (lost,) = holders()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [lost])
    eventually(lambda: holders() not in ([], [lost]))
    WorkItem.objects.update(next_due_at=now + timedelta(days=3650))
    store.lpush(contract.WAKEUPS, contract.Wakeup(str(deployment.pk)).to_json())

    def is_due():
        deployment.refresh_from_db()
        return deployment.work.next_due_at < now + timedelta(days=365)

    eventually(is_due)
    assert process.poll() is None
    output = (tmp_path / "output").read_text()
    assert "Traceback" not in output
    (line,) = (line for line in output.splitlines() if "database cannot be used" in line)
    assert line.endswith(("terminating connection due to administrator command", "closed the connection unexpectedly"))
