"""The Celery queues: which task waits in which, and which process of `manage.py up` works on which. Pure.

Reconcile passes, usage and publications wait for nobody but their own kind: a cluster that answers slowly delays
neither the counting of requests nor the revocation of a key.
"""

from __future__ import annotations

RECONCILE, INGEST, PUBLISH, MAINTENANCE = "reconcile", "ingest", "publish", "maintenance"
QUEUE_BY_TASK = {
    "deployments.tasks.reconcile_batch": RECONCILE,
    "billing.tasks.ingest_usage": INGEST,
    "deployments.tasks.publish_routes": PUBLISH,
    "accounts.tasks.publish_keys": PUBLISH,
    "accounts.tasks.delete_expired_playground_keys": MAINTENANCE,
    "accounts.tasks.delete_ended_sessions": MAINTENANCE,
    "billing.tasks.roll_partitions": MAINTENANCE,
    "deployments.tasks.apply_retention": MAINTENANCE,
    "console.tasks.delete_idempotency_records": MAINTENANCE,
    "console.tasks.check_redis_memory": MAINTENANCE,
}
QUEUES_BY_WORKER = {
    "worker": (RECONCILE, MAINTENANCE),
    "ingest": (INGEST,),
    "publish": (PUBLISH,),
}
