"""The restart back-off of a deployment as of now, for readers outside the reconciler. Not a part of `queries`, because
the reconciler imports `queries`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from deployments.models import Deployment, Replica
from deployments.reconciler import backoff, observe
from deployments.reconciler.backoff import Backoff as Backoff


def compute_backoff(deployment: Deployment, ended: Iterable[Replica], now: datetime) -> Backoff:
    """How many starts of the wanted configuration failed in a row, and when the next may begin; `ended` are the
    replicas that ended lately, with their revisions."""
    views = [observe.replica_view(replica) for replica in ended]
    return backoff.of(observe.deployment_view(deployment), views, observe.policy(), now)
