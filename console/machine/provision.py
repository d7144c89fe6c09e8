"""What must be in the database before the console can work; every step may be repeated."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.core.management import call_command

from accounts import publish as accounts_publish
from accounts.services import create_organization
from billing.ingest import ensure_partitions
from console import env
from console.machine import datafolder, demo, roles
from deployments.reference import ensure_local_cluster, load_reference_data
from deployments.routing import publish as deployments_publish

PLATFORM = "platform"
DECLARED_PER_TYPE = 8
DECLARED = (
    "a10g-24gb", "l4-24gb", "l40s-48gb", "a100-40gb", "a100-80gb", "h100-pcie-80gb", "h100-sxm-80gb", "h200-141gb",
    "b200-180gb", "rtx-4090", "rtx-6000-ada", "mi300x-192gb",
)  # fmt: skip


def provision(environment: env.Environment, now: datetime) -> None:
    """Run as the owner of the tables."""
    call_command("migrate", verbosity=0, interactive=False)
    if roles.exist(environment.database_url):
        roles.grant(environment.database_url)
    ensure_partitions(now + timedelta(days=ahead) for ahead in range(3))
    load_reference_data()
    ensure_local_cluster(declared_inventory(), environment.gateway_url, now)
    create_organization(slug=PLATFORM, name="Platform")
    if environment.demo:
        _ensure_demo(environment, now)
    accounts_publish.publish_keys(now)
    deployments_publish.publish_all()


def _ensure_demo(environment: env.Environment, now: datetime) -> None:
    """Demo data that somebody removed stays removed; `manage.py demo` brings it back."""
    known = datafolder.read_demo(environment.data_dir)
    if not known.get("removed"):
        datafolder.write_demo(environment.data_dir, demo.ensure(known, now))


def declared_inventory() -> dict[str, int] | None:
    """GPUs that the local cluster declares, by type; None where real ones are found (they are taken instead)."""
    from deployments.drivers.registry import driver_for

    driver = driver_for("local", "local", data_dir=settings.DATA_DIR / "clusters", inventory={})
    return None if driver.capacity().gpus else dict.fromkeys(DECLARED, DECLARED_PER_TYPE)
