"""A client generated from docs/openapi.json works: what its types allow is what the API accepts and answers."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.integration.api import world

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"
PACKAGE = "generated_console_client"


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """Generates the package and makes it importable. A warning means that a part of the document was left out."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "config.yaml").write_text("post_hooks: []\n")
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning", "--meta", "none"]
    options = ["--path", DOCUMENT, "--output-path", folder / PACKAGE, "--config", folder / "config.yaml"]
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, timeout=120, env=os.environ, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    yield PACKAGE
    sys.path.remove(str(folder))


def module(package: str, name: str) -> ModuleType:
    return importlib.import_module(f"{package}.{name}")


@pytest.mark.django_db(transaction=True)
def test_it_creates_reads_and_edits_a_deployment(package, live_server, redis_url):
    world.make_model("small", 8192)
    world.make_cluster()
    secret = world.make_tenant("northwind").secrets["admin"]
    connect = module(package, "client").AuthenticatedClient
    models = module(package, "models")
    with connect(base_url=f"{live_server.url}/api/v1", token=secret) as client:
        body = models.NewDeployment.from_dict({**world.BODY, "autoscaling": {"max_replicas": 2}})
        made = module(package, "api.deployments.create_deployment").sync(client=client, body=body)
        assert (made.name, made.autoscaling.min_replicas, made.autoscaling.max_replicas) == ("chat", 1, 2)
        assert module(package, "api.deployments.get_deployment").sync("chat", client=client) == made

        patch = models.DeploymentPatch.from_dict({"autoscaling": {"max_replicas": 5}})
        answer = module(package, "api.deployments.edit_deployment").sync_detailed(
            "chat", client=client, body=patch, if_match='"1"'
        )
        assert (answer.status_code, answer.parsed.autoscaling.max_replicas) == (200, 5)

        (listed,) = module(package, "api.deployments.list_deployments").sync(client=client, limit=1).data
        assert listed == answer.parsed

        refused = models.NewDeployment.from_dict({**world.BODY, "gpu": {"type": "gtx"}})
        problem = module(package, "api.deployments.create_deployment").sync(client=client, body=refused)
        assert [(error.field, error.code) for error in problem.errors] == [("gpu.type", "unknown_gpu")]
