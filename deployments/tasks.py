"""Celery tasks of deployments: the edge where the clock is read. Messages carry no facts, only "there is work"."""

from celery import shared_task
from django.utils import timezone

from deployments.clusters import configured_drivers
from deployments.reconciler import passes
from deployments.routing import publish, wakeups

PASSES_AT_MOST = 20


@shared_task(name="deployments.tasks.reconcile_batch")
def reconcile_batch() -> None:
    """Pass after pass until nothing is due; the next tick takes what is left."""
    wakeups.acknowledge()
    drivers = configured_drivers()
    for _ in range(PASSES_AT_MOST):
        if not passes.reconcile(timezone.now(), drivers):  # noqa: TID251
            break
    passes.sweep_clusters(timezone.now(), drivers)  # noqa: TID251


@shared_task(name="deployments.tasks.publish_routes")
def publish_routes() -> None:
    publish.publish_all()
