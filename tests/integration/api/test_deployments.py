"""Deployments from creation to deletion, as a program sees them."""

import pytest

from deployments.messages import describe_reason
from deployments.models import Deployment
from deployments.states import DeploymentStatus, ReplicaState
from tests.integration.api import world
from tests.integration.api.world import BODY, Api

pytestmark = pytest.mark.django_db


def fields(answer):
    return {error["field"]: error["code"] for error in answer.json()["errors"]}


def test_a_new_deployment_shows_every_value_in_force(api):
    answer = api.post("/deployments", BODY)
    assert answer.status_code == 201
    shown = answer.json()
    assert answer["Location"] == f"/api/v1/deployments/{shown['id']}"
    created_at = shown.pop("created_at")
    assert created_at.endswith("Z")
    assert shown.pop("updated_at") == created_at
    assert shown == {
        "id": str(Deployment.objects.get().pk),
        "organization": "northwind",
        "name": "chat",
        "description": "",
        "endpoint": "default",
        "model": {"source": "catalog", "id": "small"},
        "engine": {
            "name": "simulator",
            "context_length": 8192,
            "max_concurrency": 16,
            "prefix_caching": True,
            "simulator": {
                "download_seconds": 3.0,
                "initialize_seconds": 2.0,
                "ttft_ms": 120.0,
                "itl_ms": 15.0,
                "fail": None,
            },
        },
        "gpu": {"type": "l40s-48gb", "count": 1},
        "adapters": [],
        "autoscaling": {
            "enabled": True,
            "min_replicas": 1,
            "max_replicas": 3,
            "scale_down_delay_seconds": 300,
            "sleep_after_seconds": None,
        },
        "limits": {
            level: {"requests_per_minute": None, "tokens_per_minute": None}
            for level in ("organization", "user", "api_key")
        },
        "labels": {},
        "status": "PENDING",
        "phase": None,
        "cause": None,
        "configuration_problem": None,
        "revision": 1,
        "replicas": {"desired": 1, "ready": 0, "total": 0},
        "call": {"base_url": "http://127.0.0.1:8001/v1", "model": "chat"},
        "simulated": True,
        "ready_at": None,
    }


def test_the_same_body_again_is_the_same_deployment(api, deployed):
    answer = api.post("/deployments", BODY)
    assert (answer.status_code, answer.json()["id"]) == (200, deployed["id"])


def test_the_same_name_with_another_body_is_a_conflict_at_name(api, deployed):
    answer = api.post("/deployments", BODY | {"description": "other"})
    assert answer.status_code == 409
    assert fields(answer) == {"name": "name_taken"}


def test_what_was_answered_can_be_sent_back_under_another_name(api, deployed):
    sendable = {name: deployed[name] for name in ("model", "engine", "gpu", "autoscaling", "labels", "endpoint")}
    answer = api.post("/deployments", sendable | {"name": "copy"})
    assert (answer.status_code, answer.json()["engine"]) == (201, deployed["engine"])


@pytest.mark.parametrize(
    ("changes", "errors"),
    [
        ({"name": "No Good"}, {"name": "invalid_name"}),
        ({"budget": {}}, {"budget": "unknown_field"}),
        ({"gpu": {"type": "gtx"}}, {"gpu.type": "unknown_gpu"}),
        ({"autoscaling": {"min_replicas": 4, "max_replicas": 3}}, {"autoscaling.max_replicas": "below_minimum"}),
        (
            {"engine": {"context_length": 9000}, "model": {"source": "catalog", "id": "small", "revision": "x"}},
            {"engine.context_length": "above_model_context", "model.revision": "unknown_field"},
        ),
    ],
    ids=["name", "unknown field", "unknown GPU", "autoscaling", "two at once"],
)
def test_bad_input_is_named_field_by_field(api, changes, errors):
    answer = api.post("/deployments", BODY | changes)
    assert answer.status_code == 422
    assert fields(answer) == errors
    assert not Deployment.objects.exists()


@pytest.mark.parametrize("body", [[], "text", None, 1], ids=["list", "text", "null", "number"])
def test_a_body_that_is_no_object_is_refused(api, body):
    answer = api("POST", "/deployments", "null" if body is None else body if body != "text" else '"text"')
    assert answer.status_code == 422


def test_a_deployment_is_found_by_id_and_by_name(api, deployed):
    assert api.get(f"/deployments/{deployed['id']}").json() == deployed
    assert api.get("/deployments/chat").json() == deployed


def test_status_and_text_narrow_the_list(api, deployed):
    api.post("/deployments", BODY | {"name": "other", "model": {"source": "catalog", "id": "wide"}})
    Deployment.objects.filter(name="chat").update(status=DeploymentStatus.RUNNING)

    def names(query):
        return [row["name"] for row in api.get(f"/deployments?{query}").json()["data"]]

    assert names("") == ["other", "chat"]
    assert names("status=RUNNING") == ["chat"]
    assert names("q=WIDE") == ["other"]
    assert names("q=cha&status=PENDING") == []


def test_phase_shows_while_deploying_and_cause_when_failed(api, deployed):
    cause = {"code": "engine_exited", "facts": {"exit_code": 1}, "evidence": "e"}
    rows = Deployment.objects.filter(pk=deployed["id"])
    rows.update(status=DeploymentStatus.DEPLOYING, phase="DOWNLOADING_MODEL", cause=cause)
    shown = api.get("/deployments/chat").json()
    assert (shown["phase"], shown["cause"]) == ("DOWNLOADING_MODEL", None)
    rows.update(status=DeploymentStatus.FAILED)
    shown = api.get("/deployments/chat").json()
    words = describe_reason(cause)
    said = {"code": "engine_exited", "message": words.sentence, "evidence": "e", "action": words.action}
    assert (shown["phase"], shown["cause"]) == (None, said)


def test_termination_is_accepted_at_once_and_twice_is_once(api, deployed):
    for _ in range(2):
        answer = api.post("/deployments/chat/terminate")
        assert answer.status_code == 202
        assert answer.json()["status"] == "TERMINATING"
        assert answer.json()["replicas"]["desired"] == 0
    kinds = [event["kind"] for event in api.get("/deployments/chat/events").json()["data"]]
    assert kinds == ["terminate_requested", "created"]


def test_termination_takes_no_fields(api, deployed):
    answer = api.post("/deployments/chat/terminate", {"force": True})
    assert (answer.status_code, fields(answer)) == (422, {"force": "unknown_field"})


@pytest.mark.parametrize("status", list(DeploymentStatus))
def test_only_what_has_ended_can_be_deleted(api, deployed, status):
    world.end(deployed["id"], status)
    answer = api.delete("/deployments/chat")
    if status in ("TERMINATED", "FAILED"):
        assert (answer.status_code, answer.content) == (204, b"")
        assert api.get("/deployments/chat").status_code == 404
    else:
        assert answer.status_code == 409
        assert "Terminate it" in answer.json()["detail"]


def test_the_name_is_free_again_after_deletion(api, deployed):
    world.end(deployed["id"])
    api.delete("/deployments/chat")
    answer = api.post("/deployments", BODY)
    assert answer.status_code == 201
    assert answer.json()["id"] != deployed["id"]


def test_replicas_are_listed_newest_first_with_their_phases(api, deployed):
    row = Deployment.objects.get()
    old = world.make_replica(row, ReplicaState.STOPPED)
    new = world.make_replica(row, ReplicaState.READY, created_at=world.NOW.replace(hour=13))
    shown = api.get("/deployments/chat/replicas").json()["data"]
    assert [one["id"] for one in shown] == [str(new.pk), str(old.pk)]
    assert shown[0] == {
        "id": str(new.pk),
        "revision": 1,
        "state": "READY",
        "node": "node-1",
        "gpu_indices": [0],
        "phases": [{"name": "REQUESTING_GPU", "started_at": "2026-11-21T12:00:00Z", "ended_at": None}],
        "restarts": 0,
        "cause": None,
        "gone_declared_at": None,
        "simulated": True,
    }
    assert api.get("/deployments/chat").json()["replicas"] == {"desired": 1, "ready": 1, "total": 1}


def test_events_say_who_did_what_and_when(api, deployed):
    event = api.get("/deployments/chat/events").json()["data"][0]
    assert event["kind"] == "created"
    assert event["actor"] == "admin@northwind.example.com"
    assert event["at"] == deployed["created_at"]
    assert set(event) == {"id", "at", "kind", "actor", "summary", "data"}


def test_an_operator_sees_all_organizations_and_may_work_in_one(api, deployed, contoso, operator):
    theirs = Api(contoso.secrets["admin"]).post("/deployments", BODY).json()
    root = Api(operator[1])
    assert {row["id"] for row in root.get("/deployments").json()["data"]} == {deployed["id"], theirs["id"]}
    assert root.get("/deployments/chat").status_code == 404, "the name is ambiguous"
    assert root.get("/deployments/chat?organization=contoso").json()["id"] == theirs["id"]
    made = root.post("/deployments?organization=contoso", BODY | {"name": "by-operator"}).json()
    assert made["organization"] == "contoso"
    assert root.post("/deployments", BODY).json()["organization"] == "platform"
    assert root.get("/deployments?organization=nobody").status_code == 404
