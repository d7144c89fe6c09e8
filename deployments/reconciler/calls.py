"""The only place that asks a cluster to do something, always after the intent is committed.

A call that fails and may succeed later is left to the next pass, which sees that its intent is still open.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from deployments.drivers.base import Driver, DriverError, LogLine, ObservedReplica, ReplicaSpec
from deployments.engines.registry import ENGINES
from deployments.logs import stored
from deployments.models import Deployment, Replica
from deployments.specs import RevisionSpec

log = logging.getLogger(__name__)
LOG_LINES, LOG_BYTES = 8000, 256 * 1024
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
    """What the driver needs to start this replica. Raises `DriverError` for a revision of another release."""
    try:
        spec = RevisionSpec.from_json(replica.revision.spec)
        engine = ENGINES[spec.engine.name]
    except (KeyError, TypeError) as error:
        raise DriverError(f"Its revision cannot be read by this release: {error}", retryable=False) from error
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


def stop(driver: Driver, name: str, grace_seconds: float) -> None:
    try:
        driver.stop(name, grace_seconds)
    except DriverError as error:
        log.warning("Replica %s was not stopped, tried again soon: %s", name, error)


def forget(driver: Driver, name: str) -> None:
    try:
        driver.forget(name)
    except DriverError as error:
        log.warning("The record of replica %s stays for now: %s", name, error)


def log_tail(driver: Driver, seen: ObservedReplica) -> str:
    """The last 256 KiB of the log with their times (logs/stored.py); empty when the cluster has none."""
    try:
        lines = list(driver.logs(seen.name, follow=False, tail=LOG_LINES))
    except DriverError as error:
        log.warning("The log of replica %s cannot be read: %s", seen.name, error)
        lines = []
    rest = [LogLine(None, text) for text in seen.log_tail.split("\n")] if seen.log_tail else []
    return stored.pack(lines or rest, LOG_BYTES)
