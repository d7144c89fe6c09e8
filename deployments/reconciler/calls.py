"""The only place that asks a cluster to do something, always after the intent is committed.

A call that fails and may succeed later is left to the next pass, which sees that its intent is still open.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from uuid import UUID

from deployments.drivers.base import Driver, DriverError, ReplicaSpec
from deployments.models import Deployment, Replica
from deployments.specs import RevisionSpec

log = logging.getLogger(__name__)
STOP_GRACE_SECONDS = 5.0
LOG_LINES = 5000
Failpoint = Callable[[str], None]


def start(driver: Driver, deployment: Deployment, replica: Replica) -> str:
    """Create or confirm; returns why the cluster refuses for good, else an empty string."""
    try:
        driver.start(spec_of(deployment, replica))
    except DriverError as error:
        log.warning("Replica %s was not started: %s", replica.name, error)
        return "" if error.retryable else str(error)
    return ""


def spec_of(deployment: Deployment, replica: Replica) -> ReplicaSpec:
    """What the driver needs to start this replica. Raises `DriverError` for an engine that is not there."""
    from deployments.engines.registry import ENGINES

    spec = RevisionSpec.from_json(replica.revision.spec)
    engine = ENGINES.get(spec.engine.name)
    if engine is None:
        raise DriverError(f"There is no engine {spec.engine.name!r}.", retryable=False)
    names = (deployment.name, f"{deployment.organization.slug}/{deployment.name}")
    return ReplicaSpec(
        name=replica.name,
        replica_id=str(replica.pk),
        deployment_id=str(deployment.pk),
        organization_id=str(deployment.organization_id),
        gpu_type=replica.gpu_type_id,
        gpu_count=replica.gpu_count,
        launch=engine.launch(spec, names, replica.gpu_count),
    )


def stop(driver: Driver, name: str) -> None:
    try:
        driver.stop(name, STOP_GRACE_SECONDS)
    except DriverError as error:
        log.warning("Replica %s was not stopped, tried again soon: %s", name, error)


def forget(driver: Driver, name: str) -> None:
    try:
        driver.forget(name)
    except DriverError as error:
        log.warning("The record of replica %s stays for now: %s", name, error)


def log_tail(driver: Driver, name: str) -> str:
    """The end of the log that the cluster still has; empty when it has none."""
    try:
        return "\n".join(line.text for line in driver.logs(name, follow=False, tail=LOG_LINES))
    except DriverError as error:
        log.warning("The log of replica %s cannot be read: %s", name, error)
        return ""


def names_of(rows: Iterable[Replica]) -> dict[UUID, str]:
    return {row.pk: row.name for row in rows}
