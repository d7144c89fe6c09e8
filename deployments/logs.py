"""A replica's log: from the cluster while it lives, from its row once it has ended."""

from __future__ import annotations

from deployments.drivers.base import LogLine
from deployments.models import Replica
from deployments.reconciler.observe import configured_drivers
from deployments.states import ENDED


def log_lines(replica: Replica, *, tail: int) -> list[LogLine]:
    """The last `tail` lines, oldest first. Raises `DriverError` when the cluster cannot say."""
    if replica.state in ENDED:
        return [LogLine(None, line) for line in replica.log_tail.splitlines()[-tail:]]
    return list(configured_drivers()(replica.cluster).logs(replica.name, follow=False, tail=tail))
