"""Every task has a queue, every queue a worker, and what must not wait for each other has workers of its own."""

from celery import current_app

from console import env
from console.machine import console_processes
from console.queues import INGEST, PUBLISH, QUEUE_BY_TASK, QUEUES_BY_WORKER, RECONCILE


def find_worker(queue: str) -> str:
    (worker,) = (name for name, queues in QUEUES_BY_WORKER.items() if queue in queues)
    return worker


def test_every_task_has_a_queue():
    current_app.loader.import_default_modules()
    ours = {name for name in current_app.tasks if not name.startswith("celery.")}
    assert ours == set(QUEUE_BY_TASK)
    scheduled = {entry["task"] for entry in current_app.conf.beat_schedule.values()}
    assert scheduled <= ours


def test_messages_go_to_the_queue_of_their_task():
    for task, queue in QUEUE_BY_TASK.items():
        assert current_app.amqp.router.route({}, task)["queue"].name == queue


def test_reconcile_passes_usage_and_publications_have_a_worker_each():
    assert len({find_worker(queue) for queue in (RECONCILE, INGEST, PUBLISH)}) == 3
    assert {find_worker(queue) for queue in QUEUE_BY_TASK.values()} == set(QUEUES_BY_WORKER)


def test_each_worker_is_started_for_its_queues(tmp_path):
    processes = console_processes.build_console_processes(env.read({}), {}, tmp_path)
    for name, queues in QUEUES_BY_WORKER.items():
        command = processes[name].command
        assert command[command.index("--queues") + 1] == ",".join(queues)
