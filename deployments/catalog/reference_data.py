"""What must be in the tables before anything can be deployed: GPU types, the catalog, the local cluster. Idempotent."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime

from django.conf import settings
from django.db import transaction

from deployments.catalog import data_files
from deployments.drivers.registry import driver_for
from deployments.models import CatalogModel, Cluster, ClusterGpu, Endpoint, GpuType

log = logging.getLogger(__name__)
LOCAL, DEFAULT = "local", "default"


@transaction.atomic
def load_reference_data() -> None:
    """GPU types and catalog models of gpu_types.json and models.json; entries that left the files stay."""
    for gpu_type in data_files.load_gpu_types():
        GpuType.objects.update_or_create(id=gpu_type.id, defaults=asdict(gpu_type))
    for model in data_files.load_models():
        CatalogModel.objects.update_or_create(id=model.id, defaults=asdict(model))


@transaction.atomic
def ensure_local_cluster(inventory: Mapping[str, int] | None, base_url: str, now: datetime) -> None:
    """The cluster "local" with its endpoint "default" at `base_url`.

    `inventory` declares GPUs by type id; None asks the hardware, and only that cluster is not simulated.
    """
    cluster, _ = Cluster.objects.get_or_create(name=LOCAL, defaults={"driver": Cluster.Driver.LOCAL, "created_at": now})
    gpus = inventory if inventory is not None else _found()
    Cluster.objects.filter(pk=cluster.pk).update(simulated=inventory is not None)
    known = set(GpuType.objects.filter(pk__in=gpus).values_list("pk", flat=True))
    for gpu_type in gpus.keys() - known:
        log.warning("GPU type %s is not known and cannot be deployed on", gpu_type)
    for gpu_type in known:
        ClusterGpu.objects.update_or_create(cluster=cluster, gpu_type_id=gpu_type, defaults={"count": gpus[gpu_type]})
    ClusterGpu.objects.filter(cluster=cluster).exclude(gpu_type__in=known).delete()
    Endpoint.objects.update_or_create(
        name=DEFAULT, defaults={"base_url": base_url}, create_defaults={"base_url": base_url, "cluster": cluster}
    )


def _found() -> Mapping[str, int]:
    driver = driver_for(Cluster.Driver.LOCAL, LOCAL, data_dir=settings.DATA_DIR / "clusters", inventory={})
    return driver.capacity().gpus
