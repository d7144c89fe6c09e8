"""The driver of each cluster, from its row and the settings."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from django.conf import settings

from deployments.drivers.base import Driver
from deployments.drivers.registry import driver_for
from deployments.drivers.time_limit import TimeLimitedDriver
from deployments.models import Cluster, ClusterGpu

DriverLookup = Callable[[Cluster], Driver]


def configured_drivers() -> DriverLookup:
    """Local clusters keep their data below DATA_DIR; the GPU inventory is read once, now."""
    inventory: dict[UUID, dict[str, int]] = {}
    for row in ClusterGpu.objects.all():
        inventory.setdefault(row.cluster_id, {})[row.gpu_type_id] = row.count
    folder = settings.DATA_DIR / "clusters"
    return lambda cluster: driver_for(
        cluster.driver,
        cluster.name,
        data_dir=folder,
        inventory=inventory.get(cluster.pk, {}),
        installation_id=str(cluster.installation_id or ""),
    )


def limited_driver(cluster: Cluster, drivers: DriverLookup) -> TimeLimitedDriver:
    """Every call has CLUSTER_CALL_SECONDS."""
    return TimeLimitedDriver(drivers(cluster), cluster.pk, settings.CLUSTER_CALL_SECONDS)
