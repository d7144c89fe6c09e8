"""`manage.py watch` as a process: wakeups of gateways become work, one copy is active, and it ends at once."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from deployments.models import Cluster, Deployment
from gateway import contract
from tests.polling import eventually

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).parents[3]


@pytest.fixture
def watch(cluster, tmp_path):
    Cluster.objects.update(driver=Cluster.Driver.LOCAL)
    database = settings.DATABASES["default"]
    url = (
        f"postgresql://{database['USER']}:{database['PASSWORD']}@{database['HOST']}:{database['PORT']}"
        f"/{connection.settings_dict['NAME']}"
    )
    environment = os.environ | {"DATABASE_URL": url, "CONSOLE_DATA_DIR": str(tmp_path)}
    started = []

    def start():
        command = [sys.executable, "manage.py", "watch"]
        started.append(subprocess.Popen(command, cwd=ROOT, env=environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def locks():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted")
        return cursor.fetchone()[0]


def test_wakeups_become_work_one_copy_is_active_and_its_end_is_immediate(console, watch, store, now):
    deployment = console.create()
    Deployment.objects.update(next_due_at=now + timedelta(days=3650))
    first = watch()
    eventually(lambda: locks() == 1)
    second = watch()
    store.lpush(contract.WAKEUPS, "no wakeup at all", contract.Wakeup(str(deployment.pk)).to_json())

    def is_due():
        deployment.refresh_from_db()
        return deployment.next_due_at < now + timedelta(days=365)

    eventually(is_due)
    began = time.monotonic()
    first.send_signal(signal.SIGTERM)
    assert first.wait(5) == 0
    assert time.monotonic() - began < 2
    eventually(lambda: locks() == 1)
    assert second.poll() is None
