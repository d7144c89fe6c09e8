"""The installation that a local cluster belongs to: an id in its row, in its folder and on every shim.

The id is made at the first start. The folder gets it before the row does: a start that is interrupted in between leaves
a folder without replicas, which the next start takes again.
"""

from __future__ import annotations

import uuid

from django.conf import settings

from deployments.drivers.local import installation
from deployments.models import Cluster


def install_local_clusters(*, adopt: bool = False) -> None:
    """Give every local cluster without an id one, unless its folder holds replicas of somebody else.

    `adopt`: give every cluster whose folder is not its own a new id and this folder. Replicas of the former folder then
    have no record, so they are unknown.
    """
    for cluster in Cluster.objects.filter(driver=Cluster.Driver.LOCAL):
        folder = settings.DATA_DIR / "clusters" / cluster.name
        if cluster.installation_id is None:
            is_due = adopt or not installation.has_replicas(folder)
        else:
            is_due = adopt and bool(installation.find_problem(folder, str(cluster.installation_id)))
        if is_due:
            installation_id = uuid.uuid4()
            installation.write(folder, str(installation_id))
            Cluster.objects.filter(pk=cluster.pk).update(installation_id=installation_id)
