"""Every setting that an engine declares works everywhere: form, API, patch, diff, settings page and command line."""

import pytest
from django.test import Client

from console.deployments.configuration_diff import format_value
from deployments.config.deployment_spec import RevisionSpec
from deployments.config.settings_index import SETTINGS
from deployments.engines.registry import ENGINES
from deployments.models import Cluster, Deployment
from tests.integration.api import world

pytestmark = pytest.mark.django_db
DECLARED = [
    pytest.param(engine, declared, id=f"{engine} {declared.path}")
    for engine in ENGINES
    for declared in SETTINGS.values()
    if engine in declared.engines and declared.path != "engine.name"
]


@pytest.fixture
def real_gpus(cluster):
    """The cluster of the endpoint has real GPUs, so that every engine can be chosen."""
    Cluster.objects.update(simulated=False)


def other_value(declared):
    """A value that is valid and differs from the default."""
    match declared.kind:
        case "boolean":
            return not declared.default
        case "choice":
            return declared.choices[0]
        case "integer" | "number":
            return 2 * max(int(declared.minimum or 0), 1) + (declared.default or 0)
    raise AssertionError(f"no value for a setting of kind {declared.kind}")


def nested(path, value):
    for name in reversed(path.split(".")):
        value = {name: value}
    return value


@pytest.mark.parametrize(("engine", "declared"), DECLARED)
def test_a_declared_setting_works_everywhere(api, northwind, real_gpus, engine, declared):
    created = api.post("/deployments", world.BODY | {"engine": {"name": engine}})
    assert created.status_code == 201
    value = other_value(declared)
    page = Client()
    page.force_login(northwind.people["admin"], backend="django.contrib.auth.backends.ModelBackend")
    address = f"/deployments/{created.json()['id']}"

    form = page.get(f"{address}/edit/").content.decode()
    assert f'name="{declared.name}"' in form
    assert declared.setting.title in form

    patched = api("PATCH", "/deployments/chat", nested(declared.path, value))
    assert patched.status_code == 200
    shown = patched.json()
    for name in declared.path.split("."):
        shown = shown[name]
    assert shown == value
    changes = api.get("/deployments/chat/revisions").json()["data"][0]["changes"]
    assert [(change["field"], change["after"]) for change in changes] == [(declared.path, value)]

    settings = page.get(f"{address}/settings/").content.decode()
    assert declared.setting.title in settings
    assert format_value(declared.path, value) in settings

    spec = RevisionSpec.from_json(Deployment.objects.get().revision.spec)
    command = ENGINES[engine].launch(spec.engine, spec.launch_context(("chat",))).command
    flag = dict(declared.flags).get(engine)
    if flag:
        assert " ".join(flag.arguments(value)) in " ".join(command)
