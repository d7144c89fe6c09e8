"""Celery tasks of deployments, which read the clock. Messages carry no facts, only that there is work."""

from celery import shared_task
from django.utils import timezone

from deployments import retention, work_queue
from deployments.cluster_drivers import configured_drivers
from deployments.reconciler import reconcile_pass
from deployments.routing import publish

MAX_PASSES = 20


@shared_task(name="deployments.tasks.reconcile_batch")
def reconcile_batch() -> None:
    """Pass after pass until nothing is due; the next tick takes what is left."""
    work_queue.acknowledge()
    drivers = configured_drivers()
    for _ in range(MAX_PASSES):
        if not reconcile_pass.reconcile(timezone.now(), drivers):  # noqa: TID251
            break
    reconcile_pass.sweep_clusters(timezone.now(), drivers)  # noqa: TID251


@shared_task(name="deployments.tasks.publish_routes")
def publish_routes() -> None:
    publish.publish_all()


@shared_task(name="deployments.tasks.apply_retention")
def apply_retention() -> None:
    now = timezone.now()  # noqa: TID251
    retention.delete_kept_logs(now)
    retention.delete_ended_replicas(now)
    retention.delete_events(now)
