"""Prepares the database: migrations, grants, partitions, reference data, local cluster, demo data. Idempotent."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.core.management import call_command

from accounts import key_publication
from accounts.services import create_organization
from billing.partitions import ensure_partitions
from console import env
from console.machine import database_roles, demo_accounts
from console.machine.demo_credentials import read_demo_credentials, write_demo_credentials
from deployments.catalog.reference_data import ensure_local_cluster, load_reference_data
from deployments.installation import install_local_clusters
from deployments.routing.publish import publish_all

PLATFORM = "platform"
PARTITION_DAYS_AHEAD = 3
DECLARED_GPUS_PER_TYPE = 8
DECLARED_GPU_TYPES = (
    "a10g-24gb", "l4-24gb", "l40s-48gb", "a100-40gb", "a100-80gb", "h100-pcie-80gb", "h100-sxm-80gb", "h200-141gb",
    "b200-180gb", "rtx-4090", "rtx-6000-ada", "mi300x-192gb",
)  # fmt: skip


def set_up_database(environment: env.Environment, now: datetime, *, adopt: bool = False) -> None:
    """Run all steps. `environment.database_url` must be that of the owner of the tables; `adopt`: take this data
    folder, whatever folder the database had."""
    call_command("migrate", verbosity=0, interactive=False)
    if database_roles.has_application_role(environment.database_url):
        database_roles.grant_table_privileges(environment.database_url)
    ensure_partitions(now + timedelta(days=days) for days in range(PARTITION_DAYS_AHEAD))
    load_reference_data()
    ensure_local_cluster(_declare_inventory(), environment.gateway_url, now)
    install_local_clusters(adopt=adopt)
    create_organization(slug=PLATFORM, name="Platform")
    if environment.demo:
        known = read_demo_credentials(environment.data_dir)
        if not known.get("removed"):  # removed demo data is restored by `manage.py demo` only
            write_demo_credentials(environment.data_dir, demo_accounts.ensure_demo_data(known, now))
    key_publication.publish_keys(now)
    publish_all()


def _declare_inventory() -> dict[str, int] | None:
    """Return the number of simulated GPUs by type that the local cluster declares; None on a machine with real GPUs."""
    from deployments.drivers.registry import driver_for

    driver = driver_for("local", "local", data_dir=settings.DATA_DIR / "clusters", inventory={})
    return None if driver.capacity().gpus else dict.fromkeys(DECLARED_GPU_TYPES, DECLARED_GPUS_PER_TYPE)
