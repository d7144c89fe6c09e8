"""Edits, actions and revisions, as a program sees them."""

import json
import threading

import pytest
from django.db import connection

from deployments.messages import describe_reason
from deployments.models import Deployment, DeploymentEvent, Revision
from deployments.states import DeploymentStatus, ReplicaState
from tests.integration.api import world
from tests.integration.api.world import BODY, Api

pytestmark = pytest.mark.django_db
CAUSE = {"code": "engine_exited", "facts": {"exit_code": 1}, "evidence": "e"}
S = DeploymentStatus


def fields(answer):
    return {error["field"]: error["code"] for error in answer.json()["errors"]}


def patch(api, body, **headers):
    return api("PATCH", "/deployments/chat", body, **headers)


def put(status, **columns):
    """As the reconciler leaves it."""
    if status in (S.TERMINATING, S.TERMINATED):
        columns["terminate_requested_at"] = world.NOW
    if status is S.FAILED:
        columns |= {"failed_at": world.NOW, "cause": CAUSE}
    Deployment.objects.update(status=status, phase="", **columns)


def test_a_patch_answers_with_every_value_in_force(api, deployed):
    answer = patch(api, {"engine": {"max_concurrency": 4}, "labels": {"team": "support"}})
    assert answer.status_code == 200
    shown = answer.json()
    assert shown["engine"] == deployed["engine"] | {"max_concurrency": 4}
    assert (shown["labels"], shown["revision"]) == ({"team": "support"}, 2)
    assert shown["updated_at"] > deployed["updated_at"]
    assert shown == api.get("/deployments/chat").json()
    same = {"engine", "labels", "revision", "updated_at"}
    assert {name: shown[name] for name in shown if name not in same} == {
        name: deployed[name] for name in deployed if name not in same
    }


@pytest.mark.parametrize("content_type", ["application/json", "application/merge-patch+json; charset=utf-8"])
def test_a_patch_may_call_itself_one(api, deployed, content_type):
    answer = patch(api, {"description": "new"}, content_type=content_type)
    assert (answer.status_code, answer.json()["description"]) == (200, "new")


@pytest.mark.parametrize("method", ["PATCH", "POST"])
def test_other_media_types_are_refused_with_those_that_work(api, deployed, method):
    address = "/deployments" if method == "POST" else "/deployments/chat"
    answer = api(method, address, "{}", content_type="application/json-patch+json")
    assert answer.status_code == 415
    assert ("merge-patch" in answer.json()["detail"]) == (method == "PATCH")


def test_null_takes_a_value_away(api, deployed):
    patch(api, {"description": "old", "labels": {"a": "b", "c": "d"}, "autoscaling": {"sleep_after_seconds": 600}})
    shown = patch(
        api, {"description": None, "labels": {"a": None}, "autoscaling": {"sleep_after_seconds": None}}
    ).json()
    assert (shown["description"], shown["labels"]) == ("", {"c": "d"})
    assert shown["autoscaling"]["sleep_after_seconds"] is None


def test_the_replica_range_acts_at_once(api, deployed):
    shown = patch(api, {"autoscaling": {"enabled": False, "replicas": 4}}).json()
    assert (shown["autoscaling"], shown["revision"]) == ({"enabled": False, "replicas": 4}, 1)
    assert shown["replicas"]["desired"] == 4


def test_what_was_shown_may_be_sent_back_as_it_is(api, deployed):
    sendable = {name: deployed[name] for name in ("name", "endpoint", *BODY, "engine", "gpu", "autoscaling", "labels")}
    answer = patch(api, sendable)
    assert (answer.status_code, answer.json(), answer["ETag"]) == (200, deployed, '"1"')


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({"name": "other"}, {"name": "immutable"}),
        ({"gpu": {"type": "h100-sxm-80gb"}}, {"gpu.type": "immutable"}),
        ({"name": None, "gpu": {"type": None}}, {"name": "wrong_type", "gpu.type": "wrong_type"}),
        ({"endpoint": "moon"}, {"endpoint": "unknown_endpoint"}),
        ({"limits": {"team": {}}}, {"limits.team": "unknown_field"}),
        ({"status": "RUNNING"}, {"status": "unknown_field"}),
        ({"engine": {"context_length": 9000}}, {"engine.context_length": "above_model_context"}),
        ({"autoscaling": {"min_replicas": 9}}, {"autoscaling.max_replicas": "below_minimum"}),
        ([], {"": "wrong_type"}),
    ],
)
def test_what_a_patch_may_not_say_is_named_and_nothing_is_written(api, deployed, body, errors):
    answer = patch(api, json.dumps(body))
    assert (answer.status_code, fields(answer)) == (422, errors)
    assert api.get("/deployments/chat").json() == deployed


def test_a_shorter_model_needs_a_shorter_context(api):
    api.post("/deployments", BODY | {"model": {"source": "catalog", "id": "wide"}, "engine": {"context_length": 20000}})
    assert fields(patch(api, {"model": {"id": "small"}})) == {"engine.context_length": "above_model_context"}
    shown = patch(api, {"model": {"id": "small"}, "engine": {"context_length": None}}).json()
    assert (shown["model"]["id"], shown["engine"]["context_length"]) == ("small", 8192)


def test_the_version_is_the_etag_of_every_answer(api):
    assert api.post("/deployments", BODY)["ETag"] == '"1"'
    assert api.post("/deployments", BODY)["ETag"] == '"1"'
    assert patch(api, {"description": "new"})["ETag"] == '"2"'
    assert patch(api, {"engine": {"max_concurrency": 4}})["ETag"] == '"3"'
    assert api.post("/deployments/chat/rollback")["ETag"] == '"4"'
    assert api.post("/deployments/chat/terminate")["ETag"] == '"5"'
    assert api.get("/deployments/chat")["ETag"] == '"5"'
    assert "304" not in str(api.get("/deployments/chat", **{"If-None-Match": '"5"'}).status_code)


@pytest.mark.parametrize("tag", ['"1"', "*", '"7", "1"', ' "1" '])
def test_a_change_for_the_present_version_is_made(api, deployed, tag):
    assert patch(api, {"description": "new"}, **{"If-Match": tag}).status_code == 200


@pytest.mark.parametrize("tag", ['"2"', 'W/"1"', '"abc"', '"7", "8"'])
def test_a_change_for_another_version_is_told_who_was_faster(api, deployed, tag):
    answer = patch(api, {"description": "new", "name": "bad"}, **{"If-Match": tag})
    assert (answer.status_code, answer["ETag"]) == (412, '"1"')
    assert answer.json()["type"].endswith("#changed-meanwhile")
    at = deployed["created_at"][:19].replace("T", " ")
    assert f"admin@northwind.example.com changed the deployment at {at} UTC" in answer.json()["detail"]
    assert api.get("/deployments/chat").json() == deployed


@pytest.mark.parametrize("tag", ["", "1", '"1', '"1" "2"', "W/1"])
def test_what_is_no_etag_is_refused(api, deployed, tag):
    assert fields(patch(api, {}, **{"If-Match": tag})) == {"If-Match": "invalid_header"}


@pytest.mark.parametrize("action", ["redeploy", "retry", "rollback"])
def test_actions_honour_if_match_too(api, deployed, action):
    put(S.FAILED)
    assert api.post(f"/deployments/chat/{action}", **{"If-Match": '"9"'}).status_code == 412


@pytest.mark.django_db(transaction=True)
def test_of_two_patches_for_the_same_version_one_wins_and_without_one_both(api, deployed, northwind):
    def at_once(bodies, **headers):
        answers, barrier = [], threading.Barrier(len(bodies))

        def send(body):
            other = Api(northwind.secrets["owner"])
            barrier.wait()
            try:
                answers.append(patch(other, body, **headers).status_code)
            finally:
                connection.close()

        threads = [threading.Thread(target=send, args=[body]) for body in bodies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        return sorted(answers)

    assert at_once([{"labels": {"a": "1"}}, {"labels": {"b": "2"}}], **{"If-Match": '"1"'}) == [200, 412]
    assert at_once([{"description": "new"}, {"labels": {"c": "3"}}, {"engine": {"max_concurrency": 4}}]) == [200] * 3
    shown = api.get("/deployments/chat").json()
    assert (shown["description"], shown["labels"]["c"], shown["engine"]["max_concurrency"]) == ("new", "3", 4)


@pytest.mark.parametrize("status", list(S))
def test_an_edit_is_taken_in_every_status_but_while_it_terminates(api, deployed, status):
    put(status)
    answer = patch(api, {"engine": {"max_concurrency": 4}})
    if status is S.TERMINATING:
        assert (answer.status_code, answer.json()["type"]) == (409, "/api/v1/docs#not-now")
        assert "Wait until it is TERMINATED" in answer.json()["detail"]
    else:
        assert (answer.status_code, answer.json()["revision"]) == (200, 2)
        assert answer.json()["status"] == (S.PENDING if status is S.FAILED else status)


@pytest.mark.parametrize("status", list(S))
@pytest.mark.parametrize(("action", "taken"), [("retry", {S.FAILED}), ("redeploy", {S.FAILED, S.TERMINATED})])
def test_what_failed_is_retried_and_what_ended_redeployed(api, deployed, action, taken, status):
    put(status)
    answer = api.post(f"/deployments/chat/{action}")
    if status in taken:
        assert answer.status_code == 202
        assert (answer.json()["status"], answer.json()["cause"]) == ("PENDING", None)
        assert answer.json()["replicas"]["desired"] == 1
    else:
        assert (answer.status_code, answer.json()["type"]) == (409, "/api/v1/docs#not-now")


def test_who_waits_after_a_failure_is_retried(api, deployed, settings):
    settings.RESTART_BACKOFF_SECONDS = (600,)
    row = Deployment.objects.get()
    made = row.created_at
    world.make_replica(row, ReplicaState.FAILED, created_at=made, released_at=made)
    assert api.post("/deployments/chat/retry").status_code == 202
    assert api.post("/deployments/chat/retry").status_code == 409


def test_a_roll_back_brings_the_configuration_back_and_nothing_else(api, deployed):
    patch(api, {"engine": {"max_concurrency": 4}, "description": "kept"})
    patch(api, {"engine": {"max_concurrency": 8}})
    answer = api.post("/deployments/chat/rollback", {"revision": 1})
    shown = answer.json()
    assert (answer.status_code, shown["revision"], shown["description"]) == (202, 4, "kept")
    assert shown["engine"] == deployed["engine"]
    assert api.post("/deployments/chat/rollback").json()["engine"]["max_concurrency"] == 8


@pytest.mark.parametrize(
    ("body", "status", "errors"),
    [
        ({"revision": 9}, 404, {"revision": "unknown_revision"}),
        ({"revision": 0}, 422, {"revision": "below_minimum"}),
        ({"revision": "1"}, 422, {"revision": "wrong_type"}),
        ({"to": 1}, 422, {"to": "unknown_field"}),
    ],
)
def test_a_roll_back_to_nothing_is_refused(api, deployed, body, status, errors):
    answer = api.post("/deployments/chat/rollback", body)
    assert (answer.status_code, fields(answer)) == (status, errors)


@pytest.mark.parametrize("body", [None, {}, {"revision": None}, {"revision": 1}])
def test_a_roll_back_to_what_is_in_force_is_a_conflict(api, deployed, body):
    assert api.post("/deployments/chat/rollback", body).status_code == 409


@pytest.mark.parametrize("action", ["redeploy", "retry"])
def test_actions_take_no_fields(api, deployed, action):
    put(S.FAILED)
    assert fields(api.post(f"/deployments/chat/{action}", {"force": True})) == {"force": "unknown_field"}


def test_an_action_with_an_idempotency_key_is_done_once(api, deployed):
    patch(api, {"engine": {"max_concurrency": 4}})
    first, again = (api.post("/deployments/chat/rollback", **{"Idempotency-Key": "k1"}) for _ in range(2))
    assert (first.json(), first["ETag"]) == (again.json(), again["ETag"])
    assert again["Idempotency-Replayed"] == "true"
    assert Revision.objects.count() == 3


def test_revisions_are_listed_newest_first_with_what_changed(api, deployed):
    patch(api, {"engine": {"max_concurrency": 4}, "adapters": [{"name": "sql", "repository": "lab/sql"}]})
    api.post("/deployments/chat/rollback", {"revision": 1})
    Revision.objects.filter(number=2).update(cause=CAUSE)
    found = api.get("/deployments/chat/revisions").json()["data"]
    configuration = {name: deployed[name] for name in ("model", "adapters", "engine", "gpu")}
    assert [(one["number"], one["restores"], one["current"]) for one in found] == [
        (3, 1, True),
        (2, None, False),
        (1, None, False),
    ]
    assert found[0]["configuration"] == found[2]["configuration"] == configuration
    words = describe_reason(CAUSE)
    said = {"code": "engine_exited", "message": words.sentence, "evidence": "e", "action": words.action}
    assert (found[1]["cause"], found[2]["cause"]) == (said, None)
    assert found[2] == {
        "number": 1,
        "current": False,
        "created_at": deployed["created_at"],
        "created_by": "admin@northwind.example.com",
        "restores": None,
        "ready_at": None,
        "cause": None,
        "configuration": configuration,
        "changes": [],
    }
    assert found[1]["changes"] == [
        {"field": "engine.max_concurrency", "before": 16, "after": 4},
        {"field": "adapters.sql.repository", "before": None, "after": "lab/sql"},
        {"field": "adapters.sql.revision", "before": None, "after": ""},
    ]


def test_a_page_of_revisions_knows_the_one_before_it(api, deployed):
    for number in (4, 8):
        patch(api, {"engine": {"max_concurrency": number}})
    first = api.get("/deployments/chat/revisions?limit=1").json()
    assert first["data"][0]["changes"] == [{"field": "engine.max_concurrency", "before": 4, "after": 8}]
    rest = api.get(f"/deployments/chat/revisions?cursor={first['next_cursor']}").json()
    assert [one["number"] for one in rest["data"]] == [2, 1]


def test_events_tell_what_was_changed(api, deployed):
    patch(api, {"autoscaling": {"max_replicas": 5}})
    event = api.get("/deployments/chat/events").json()["data"][0]
    assert (event["kind"], event["actor"]) == ("edited", "admin@northwind.example.com")
    assert event["summary"] == DeploymentEvent.objects.latest("id").summary
    assert event["data"] == {
        "changes": [{"field": "autoscaling.max_replicas", "before": 3, "after": 5}],
        "revision": None,
    }


def test_adapters_are_part_of_what_is_shown(api):
    body = BODY | {"adapters": [{"repository": "lab/tone"}, {"name": "sql", "repository": "lab/sql", "revision": "v1"}]}
    assert api.post("/deployments", body).json()["adapters"] == [
        {"name": "sql", "repository": "lab/sql", "revision": "v1"},
        {"name": "tone", "repository": "lab/tone", "revision": ""},
    ]
