"""Drivers by the name in a cluster's row."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from deployments.drivers.base import Driver, DriverError


def driver_for(
    kind: str, name: str, *, data_dir: Path, inventory: Mapping[str, int], installation_id: str = ""
) -> Driver:
    """The driver of cluster `name`, whose files are below `data_dir`, for the replicas of one installation.

    `inventory`: GPUs by type id as declared; empty means that the driver detects them. Without an installation it says
    its capacity and nothing else. Raises `DriverError`.
    """
    if kind == "local":
        from deployments.drivers.local.driver import LocalDriver

        return LocalDriver((data_dir / name).absolute(), inventory, installation_id)
    if kind == "memory":
        return memory_cluster(name, tuple(sorted(inventory.items())))
    raise DriverError(f"There is no driver {kind!r} for cluster {name!r}; use local or memory.", retryable=False)


@cache
def memory_cluster(name: str, inventory: tuple[tuple[str, int], ...]) -> Driver:
    """A cluster in the memory of this process; equal arguments return the same cluster."""
    from deployments.drivers.memory import MemoryDriver

    return MemoryDriver(dict(inventory), lambda: datetime.now(UTC))  # noqa: TID251
