"""The reconciler over real processes: the local driver, its shims and the simulator, on the real clock."""

import os
import shutil
import signal
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from deployments import services
from deployments.cluster_drivers import limited_driver
from deployments.config.build_spec import parse
from deployments.drivers.local import installation, processes
from deployments.drivers.local.driver import LocalDriver
from deployments.drivers.local.replica_folder import Folder
from deployments.logs import stored_format
from deployments.messages import describe_reason
from deployments.models import Cluster
from deployments.reconciler import execute, reconcile_pass
from deployments.reconciler.console_shutdown import stop_local_replicas
from deployments.states import DeploymentStatus, ReplicaState
from deployments.work_queue import make_due
from tests.polling import eventually

pytestmark = pytest.mark.django_db(transaction=True)
S = DeploymentStatus


def real_now():
    return datetime.now(UTC)


class LocalConsole:
    def __init__(self, folder, organization, user, options):
        self.folder, self.organization, self.user, self.options = folder, organization, user, options
        installation.write(folder / "clusters" / "memory", "ours")
        self.driver = LocalDriver(folder / "clusters" / "memory", {"l40s-48gb": 8, "h100-sxm-80gb": 2}, "ours")

    def create(self, name, replicas=1, **simulator):
        quick = {"download_seconds": 0.2, "initialize_seconds": 0.1, "ttft_ms": 1, "itl_ms": 1}
        body = {
            "name": name,
            "model": {"source": "catalog", "id": "small"},
            "engine": {"simulator": quick | simulator},
            "autoscaling": {"enabled": False, "replicas": replicas},
        }
        return services.create_deployment(
            organization=self.organization,
            spec=parse(body, self.options),
            body=body,
            by=self.user,
            now=real_now(),
        )[0]

    def run_until(self, deployment, *statuses):
        """Pass after pass, as the workers do, until the status is reached."""

        def is_there():
            make_due([deployment.pk], real_now())
            reconcile_pass.reconcile(real_now(), lambda _: self.driver)
            deployment.refresh_from_db()
            return deployment.status in statuses

        eventually(is_there)

    def processes(self):
        """Every process that belongs to a replica of this console."""
        found = []
        for process in psutil.process_iter():
            try:
                variables = process.environ()
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
            is_mine = variables.get("CONSOLE_REPLICA_DIR", "").startswith(str(self.folder))
            if is_mine and "CONSOLE_REPLICA_ID" in variables and process.status() != psutil.STATUS_ZOMBIE:
                found.append(variables["CONSOLE_REPLICA_ID"])
        return found


@pytest.fixture
def local(tmp_path: Path, organization, user, options, settings):
    settings.RESTART_BACKOFF_SECONDS = (0.1, 0.1, 0.1)
    settings.DRAIN_SECONDS = 0
    console = LocalConsole(tmp_path, organization, user, options)
    yield console
    for seen in console.driver.observe().replicas:
        console.driver.stop(seen.name, 0)
    eventually(lambda: console.driver.observe() and not console.processes())


def test_a_deployment_goes_live_and_ends_with_nothing_left(local):
    deployment = local.create("chat")
    local.run_until(deployment, S.RUNNING)
    (replica,) = deployment.replicas.all()
    assert local.processes() == [str(replica.pk)]
    limited = limited_driver(replica.cluster, lambda _: local.driver)
    said = stored_format.unpack(execute.read_log(limited, local.driver.find(replica.name)))
    assert [phase.name for phase in replica.phases.all()][-2:] == [ReplicaState.ENGINE_INITIALIZING, ReplicaState.READY]
    services.terminate(deployment, by=local.user, now=real_now())
    local.run_until(deployment, S.TERMINATED)
    replica.refresh_from_db()
    assert (replica.state, local.processes()) == (ReplicaState.STOPPED, [])
    kept = stored_format.unpack(replica.log_tail)
    assert kept[: len(said)] == said
    assert all(line.at and replica.created_at < line.at < replica.released_at for line in kept)
    assert local.driver.observe().replicas == ()


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("download", "download_failed"),
        ("initialize", "engine_exited"),
        ("out_of_memory", "out_of_memory"),
        ("crash", "engine_exited"),
        ("never_healthy", "never_healthy"),
    ],
)
def test_every_fault_of_the_simulator_ends_in_its_cause(local, settings, fault, code):
    if fault == "never_healthy":
        settings.PHASE_DEADLINE_SECONDS = settings.PHASE_DEADLINE_SECONDS | {"ENGINE_INITIALIZING": 2}
    deployment = local.create("chat", fail=fault)
    local.run_until(deployment, S.FAILED)
    assert deployment.cause["code"] == code
    assert describe_reason(deployment.cause).evidence
    assert deployment.replicas.filter(state=ReplicaState.FAILED).count() == 3
    assert local.processes() == []


def test_an_engine_that_is_killed_is_replaced(local):
    deployment = local.create("chat")
    local.run_until(deployment, S.RUNNING)
    (first,) = deployment.replicas.all()
    for process in psutil.process_iter():
        if process.pid != os.getpid() and _is_of(process, str(first.pk)):
            process.kill()
    local.run_until(deployment, S.PENDING, S.DEPLOYING, S.SCALING)
    local.run_until(deployment, S.RUNNING)
    states = deployment.replicas.order_by("created_at").values_list("state", flat=True)
    assert list(states) == [ReplicaState.FAILED, ReplicaState.READY]


def _is_of(process, replica_id):
    try:
        return process.environ().get("CONSOLE_REPLICA_ID") == replica_id
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def test_after_a_reboot_every_replica_has_ended_without_a_failure_and_is_replaced(local):
    deployments = [local.create("chat", replicas=3), local.create("code")]
    for deployment in deployments:
        local.run_until(deployment, S.RUNNING)
    replicas = [replica for deployment in deployments for replica in deployment.replicas.all()]
    folders = [Folder(local.folder / "clusters" / "memory" / seen.name) for seen in local.driver.observe().replicas]
    for folder in folders:
        folder.state().shim.signal(signal.SIGKILL)
    eventually(lambda: not local.processes())
    for folder in folders:  # the process ids are somebody else's now, who started at another time
        state = folder.state()
        init = processes.find(1)
        shim = replace(init, started=init.started + 1)
        folder.write("state.json", replace(state, shim=shim, boot_id="of the time before"))
    for deployment in deployments:
        local.run_until(deployment, S.PENDING, S.DEPLOYING, S.SCALING)
        local.run_until(deployment, S.RUNNING)
        assert not deployment.events.filter(kind="replica_unknown").exists()
    for replica in replicas:
        replica.refresh_from_db()
        assert (replica.state, replica.stop_reason) == (ReplicaState.STOPPED, "machine_restarted")


def test_a_replica_whose_folder_was_deleted_is_unknown_and_its_gpu_is_given_to_nobody(local):
    deployment = local.create("chat")
    local.run_until(deployment, S.RUNNING)
    (replica,) = deployment.replicas.all()
    shutil.rmtree(local.folder / "clusters" / "memory" / replica.name)
    local.run_until(deployment, S.SCALING)
    replica.refresh_from_db()
    assert replica.state == ReplicaState.UNKNOWN
    other = local.create("code")
    local.run_until(other, S.RUNNING)
    assert set(other.replicas.get().gpu_indices).isdisjoint(replica.gpu_indices)
    services.declare_replica_gone(replica, by=local.user, now=real_now())
    local.run_until(deployment, S.RUNNING)
    replica.refresh_from_db()
    assert (replica.state, replica.cause["code"]) == (ReplicaState.FAILED, "vanished")


def test_switching_off_stamps_what_the_shim_wrote_down(local):
    Cluster.objects.update(driver=Cluster.Driver.LOCAL)
    deployment = local.create("chat")
    local.run_until(deployment, S.RUNNING)
    assert stop_local_replicas(real_now(), lambda _: local.driver) == []
    (replica,) = deployment.replicas.all()
    assert (replica.state, replica.stop_reason, local.processes()) == (ReplicaState.STOPPED, "console_off", [])
    assert replica.released_at <= real_now()
