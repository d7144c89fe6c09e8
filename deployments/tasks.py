"""Celery tasks of deployments, which read the clock. Messages carry no facts, only that there is work."""

from celery import shared_task
from django.utils import timezone

from deployments.cluster_drivers import configured_drivers
from deployments.reconciler import worker
from deployments.routing import publish, wakeups

MAX_PASSES = 20


@shared_task(name="deployments.tasks.reconcile_batch")
def reconcile_batch() -> None:
    """Pass after pass until nothing is due; the next tick takes what is left."""
    wakeups.acknowledge()
    drivers = configured_drivers()
    for _ in range(MAX_PASSES):
        if not worker.reconcile(timezone.now(), drivers):  # noqa: TID251
            break
    worker.sweep_clusters(timezone.now(), drivers)  # noqa: TID251


@shared_task(name="deployments.tasks.publish_routes")
def publish_routes() -> None:
    publish.publish_all()
