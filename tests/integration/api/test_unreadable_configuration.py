"""A deployment whose configuration this release cannot read: the API shows the rest, it can be terminated, what needs
the configuration is refused as a problem, and other deployments are listed beside it."""

import pytest
from django.utils import timezone

from deployments.models import Cluster, Deployment, Revision, WorkItem
from deployments.states import DeploymentStatus, ReplicaState
from tests.integration.api import world

pytestmark = pytest.mark.django_db
OF_A_LATER_RELEASE = {"schema_version": 99, "engine": {"name": "later"}, "model": {"id": "small"}, "gpu_count": 1}
STORED = ("model", "adapters", "engine", "gpu")


@pytest.fixture(params=[{}, OF_A_LATER_RELEASE], ids=["empty", "of a later release"])
def unreadable(request, deployed):
    """The deployment as it was shown before."""
    Revision.objects.update(spec=request.param)
    WorkItem.objects.update(failures=3, failing_since=timezone.now(), error="KeyError")
    return deployed


def test_it_is_shown_without_what_its_revision_stores(api, unreadable):
    Cluster.objects.update(simulated=False)
    answer = api.get("/deployments/chat")
    assert answer.status_code == 200
    shown = answer.json()
    assert shown["simulated"] is False
    assert [shown[section] for section in STORED] == [None] * len(STORED)
    assert shown["configuration_problem"]["code"] == "unreadable"
    unlike = {*STORED, "simulated", "configuration_problem"}
    assert {name: shown[name] for name in shown if name not in unlike} == {
        name: unreadable[name] for name in unreadable if name not in unlike
    }


def test_a_readable_one_has_no_problem(deployed):
    assert deployed["configuration_problem"] is None


@pytest.mark.parametrize("query", ["", "?q=chat", "?status=PENDING"])
def test_the_list_shows_it_beside_others(api, unreadable, query):
    sound = api.post("/deployments", world.BODY | {"name": "chat-2"}).json()
    listed = api.get(f"/deployments{query}").json()["data"]
    assert [(row["name"], row["model"]) for row in listed] == [("chat-2", sound["model"]), ("chat", None)]


def test_creating_it_again_answers_with_it(api, unreadable):
    answer = api.post("/deployments", world.BODY)
    assert (answer.status_code, answer.json()["engine"]) == (200, None)


def test_it_can_be_terminated_redeployed_and_deleted(api, unreadable):
    answer = api.post("/deployments/chat/terminate")
    assert (answer.status_code, answer.json()["replicas"]["desired"]) == (202, 0)
    world.end(unreadable["id"])
    assert api.post("/deployments/chat/redeploy").status_code == 202
    api.post("/deployments/chat/terminate")
    world.end(unreadable["id"])
    assert api.delete("/deployments/chat").status_code == 204


def test_it_can_be_retried(api, unreadable):
    Deployment.objects.update(status=DeploymentStatus.FAILED, failed_at=world.NOW)
    answer = api.post("/deployments/chat/retry")
    assert (answer.status_code, answer.json()["configuration_problem"]["code"]) == (202, "unreadable")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/deployments/chat", {"description": "new"}),
        ("POST", "/deployments/chat/rollback", {"revision": 1}),
    ],
)
def test_what_needs_the_configuration_is_refused_and_changes_nothing(api, unreadable, method, path, body):
    answer = api(method, path, body)
    assert (answer.status_code, answer.json()["type"]) == (409, "/api/v1/docs#configuration-unreadable")
    assert api.get("/deployments/chat").json()["description"] == unreadable["description"]


def test_a_rollback_to_an_unreadable_revision_is_refused(api, deployed):
    api("PATCH", "/deployments/chat", {"engine": {"max_concurrency": 4}})
    Revision.objects.filter(number=1).update(spec={})
    answer = api.post("/deployments/chat/rollback", {"revision": 1})
    assert (answer.status_code, answer.json()["type"]) == (409, "/api/v1/docs#configuration-unreadable")
    assert api.get("/deployments/chat").json()["revision"] == 2


def test_its_revisions_are_listed(api, unreadable):
    (shown,) = api.get("/deployments/chat/revisions").json()["data"]
    assert (shown["number"], shown["configuration"], shown["changes"]) == (1, None, [])


def test_changes_against_an_unreadable_revision_are_left_out(api, deployed):
    api("PATCH", "/deployments/chat", {"engine": {"max_concurrency": 4}})
    Revision.objects.filter(number=1).update(spec={})
    newest, oldest = api.get("/deployments/chat/revisions").json()["data"]
    assert (newest["configuration"]["engine"]["max_concurrency"], newest["changes"]) == (4, [])
    assert oldest["configuration"] is None


def test_its_replicas_events_and_logs_are_shown(api, unreadable):
    Cluster.objects.update(simulated=False)
    replica = world.make_replica(Deployment.objects.get(), ReplicaState.STOPPED)
    (shown,) = api.get("/deployments/chat/replicas").json()["data"]
    assert (shown["id"], shown["simulated"]) == (str(replica.pk), False)
    for path in ("events", "logs"):
        assert api.get(f"/deployments/chat/{path}").status_code == 200
