"""A cluster belongs to one installation: a folder without its id proves nothing, and other consoles keep off."""

from datetime import UTC, datetime
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from console.machine.installation_check import check_installation
from console.machine.lock_and_secrets import StartupError
from console.machine.process_spec import ProcessSpec
from console.machine.server_selection import Servers
from deployments.cluster_drivers import configured_drivers
from deployments.codes import ClusterProblem
from deployments.drivers.local import installation
from deployments.installation import install_local_clusters
from deployments.models import Cluster, Replica
from deployments.reconciler import reconcile_pass
from deployments.reconciler.console_shutdown import stop_local_replicas
from deployments.states import DeploymentStatus, ReplicaState
from deployments.work_queue import make_due
from tests.polling import eventually
from tests.servers import database_url

pytestmark = pytest.mark.django_db(transaction=True)
QUICK = {"engine": {"simulator": {"download_seconds": 0.1, "initialize_seconds": 0.1}}}


@pytest.fixture
def folder(tmp_path, cluster, settings):
    """The data folder of a console that was started once."""
    Cluster.objects.update(driver=Cluster.Driver.LOCAL, name="local")
    settings.DATA_DIR = tmp_path / "data"
    install_local_clusters()
    yield settings.DATA_DIR
    settings.DATA_DIR = tmp_path / "data"
    for replica in Replica.objects.all():
        configured_drivers()(replica.cluster).stop(replica.name, 0)
    eventually(lambda: all(seen.exited for seen in observe()))


def observe():
    return configured_drivers()(Cluster.objects.get()).observe().replicas


def make_pass(deployment):
    """What a worker does in one round."""
    now = datetime.now(UTC)
    make_due([deployment.pk], now)
    reconcile_pass.reconcile(now, configured_drivers())
    reconcile_pass.sweep_cluster(Cluster.objects.get(), configured_drivers(), now)
    deployment.refresh_from_db()


def run(console, deployment):
    def is_running():
        make_pass(deployment)
        return deployment.status == DeploymentStatus.RUNNING

    eventually(is_running)
    return deployment.replicas.get(state=ReplicaState.READY)


def servers(url):
    return Servers(url, url, "", (), None)


def test_the_first_start_marks_the_folder_and_the_next_one_changes_nothing(folder):
    marked = Cluster.objects.get().installation_id
    install_local_clusters()
    assert Cluster.objects.get().installation_id == marked
    assert installation.read(folder / "clusters" / "local") == str(marked)
    check_installation(servers(database_url()), folder)


def test_before_the_first_start_the_embedded_server_has_no_database(tmp_path):
    administrator = database_url()
    process = ProcessSpec("postgresql", (), lambda: True)
    embedded = Servers(administrator, administrator, "", (process,), administrator)
    check_installation(embedded, tmp_path)


def test_an_external_database_that_cannot_be_opened_is_no_new_one(tmp_path):
    missing = urlunsplit(urlsplit(database_url())._replace(path="/no_such_database"))
    with pytest.raises(psycopg.OperationalError):
        check_installation(servers(missing), tmp_path)


def test_a_first_start_that_was_interrupted_is_made_good(folder):
    Cluster.objects.update(installation_id=None)
    check_installation(servers(database_url()), folder)
    install_local_clusters()
    assert observe() == ()


@pytest.mark.parametrize(
    ("id_of_the_other", "problem"),
    [("", ClusterProblem.DATA_FOLDER_MISSING), ("another", ClusterProblem.DATA_FOLDER_FOREIGN)],
)
def test_two_consoles_on_one_database_keep_off_each_others_replicas(
    console, folder, settings, tmp_path, id_of_the_other, problem
):
    deployment = console.create_range(1, 1, **QUICK)
    replica = run(console, deployment)
    before = deployment.replicas.values().get()
    settings.DATA_DIR = tmp_path / "other"
    if id_of_the_other:
        installation.write(tmp_path / "other" / "clusters" / "local", id_of_the_other)
    make_pass(deployment)
    make_pass(deployment)
    assert stop_local_replicas(datetime.now(UTC)) == [replica.name]
    assert (deployment.status, deployment.replicas.values().get()) == (DeploymentStatus.RUNNING, before)
    assert deployment.pending_reason["facts"] == {"cluster": "local", "problem": problem}
    assert not (tmp_path / "other" / "clusters" / "local" / replica.name).exists()
    with pytest.raises(StartupError, match="--adopt"):
        check_installation(servers(database_url()), tmp_path / "other")
    settings.DATA_DIR = folder
    make_pass(deployment)
    assert [(seen.name, seen.exited) for seen in observe()] == [(replica.name, None)]
    assert deployment.replicas.get().state == ReplicaState.READY


def test_a_folder_with_replicas_of_another_database_is_taken_only_when_told_to(console, folder):
    replica = run(console, console.create_range(1, 1, **QUICK))
    Cluster.objects.update(installation_id=None)
    with pytest.raises(StartupError, match="does not know"):
        check_installation(servers(database_url()), folder)
    install_local_clusters()
    assert Cluster.objects.get().installation_id is None
    marked = installation.read(folder / "clusters" / "local")
    install_local_clusters(adopt=True)
    assert observe() == ()
    installation.write(folder / "clusters" / "local", marked)
    Cluster.objects.update(installation_id=marked)
    assert [(seen.name, seen.exited) for seen in observe()] == [(replica.name, None)]
