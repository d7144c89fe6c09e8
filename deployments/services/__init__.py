"""Writes of desired state, the only place that does. A service writes rows, makes the deployment due and returns; it
calls no cluster, except to set up the local cluster and to stop its replicas.

Raises: `NameTaken`, `NotEnded`, `NotNow`, `UnknownRevision`, `VersionConflict`.
"""

from deployments.catalog.reference_data import ensure_local_cluster as ensure_local_cluster
from deployments.catalog.reference_data import load_reference_data as load_reference_data
from deployments.reconciler.console_shutdown import stop_local_replicas as stop_local_replicas
from deployments.services.create import NameTaken as NameTaken
from deployments.services.create import create_deployment as create_deployment
from deployments.services.create import request_hash as request_hash
from deployments.services.desired_state_writer import NotNow as NotNow
from deployments.services.desired_state_writer import VersionConflict as VersionConflict
from deployments.services.edit import Edited as Edited
from deployments.services.edit import UnknownRevision as UnknownRevision
from deployments.services.edit import edit as edit
from deployments.services.edit import rollback as rollback
from deployments.services.lifecycle import NotEnded as NotEnded
from deployments.services.lifecycle import check_deletable as check_deletable
from deployments.services.lifecycle import declare_replica_gone as declare_replica_gone
from deployments.services.lifecycle import delete as delete
from deployments.services.lifecycle import redeploy as redeploy
from deployments.services.lifecycle import retry as retry
from deployments.services.lifecycle import terminate as terminate
