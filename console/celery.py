"""The Celery application and its schedule. The queue of work is `WorkItem.next_due_at`; messages only say that
there is work, so a tick that is late is dropped (`expires`)."""

import logging
import os
import signal
import threading
import time
import warnings
from typing import Any

from billiard.process import current_process
from celery import Celery
from celery.exceptions import SecurityWarning
from celery.schedules import crontab
from celery.signals import beat_init, worker_process_init, worker_ready

from console.machine.console_processes import mark_ready
from console.machine.process_spec import PR_SET_PDEATHSIG
from console.queues import QUEUE_BY_TASK

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")
warnings.filterwarnings("ignore", category=SecurityWarning)  # as root in a container: our messages are JSON

log = logging.getLogger(__name__)
app = Celery("console")
app.set_default()
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.conf.task_routes = {task: {"queue": queue} for task, queue in QUEUE_BY_TASK.items()}
app.conf.beat_schedule = {
    "reconcile": {"task": "deployments.tasks.reconcile_batch", "schedule": 1.0, "options": {"expires": 1}},
    "publish routes": {"task": "deployments.tasks.publish_routes", "schedule": 15.0, "options": {"expires": 15}},
    "publish keys": {"task": "accounts.tasks.publish_keys", "schedule": 15.0, "options": {"expires": 15}},
    "ingest usage": {"task": "billing.tasks.ingest_usage", "schedule": 2.0, "options": {"expires": 2}},
    "roll partitions": {"task": "billing.tasks.roll_partitions", "schedule": crontab(minute="0")},
    "delete expired playground keys": {
        "task": "accounts.tasks.delete_expired_playground_keys",
        "schedule": crontab(minute="30"),
    },
    "delete ended sessions": {"task": "accounts.tasks.delete_ended_sessions", "schedule": crontab(minute="20")},
    "apply retention": {"task": "deployments.tasks.apply_retention", "schedule": crontab(minute="45")},
    "check the memory of Redis": {
        "task": "console.tasks.check_redis_memory",
        "schedule": 60.0,
        "options": {"expires": 60},
    },
    "delete idempotency records": {
        "task": "console.tasks.delete_idempotency_records",
        "schedule": crontab(minute="15"),
    },
}


@worker_ready.connect
@beat_init.connect
def _say_ready(**_: Any) -> None:
    mark_ready()


def _is_pool_process() -> bool:
    return str(current_process().name) != "MainProcess"


@worker_process_init.connect
def _use_no_connection_pool(**_: Any) -> None:
    """Celery closes the pool of a pool process after every task, also under the thread that records heartbeats."""
    if _is_pool_process():
        from django.db import connection

        connection.settings_dict["OPTIONS"].pop("pool", None)  # of all threads


@worker_process_init.connect
def _record_heartbeats(**_: Any) -> None:
    """In a thread of each pool process, so that the console counts as up while a pass takes long. Only the worker that
    runs passes has a pool."""
    if _is_pool_process():
        threading.Thread(target=_beat, name="heartbeat", daemon=True).start()


def _beat() -> None:
    from django.db import DatabaseError, InterfaceError, connection
    from django.utils import timezone

    from deployments import worker_heartbeat

    while True:
        try:
            worker_heartbeat.record(timezone.now())  # noqa: TID251
        except (DatabaseError, InterfaceError) as error:
            log.warning("The heartbeat was not recorded, tried again soon: %s", error)
        finally:
            connection.close()
        time.sleep(worker_heartbeat.BEAT_SECONDS)


@worker_process_init.connect
def _die_with_the_worker(**_: Any) -> None:
    """A pool process whose worker was killed would wait for work for ever, with its database connections. A worker
    without pool processes is a child of `manage.py up`, and dies with that."""
    if not _is_pool_process():
        return
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:
        os._exit(1)
