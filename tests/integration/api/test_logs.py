"""GET /deployments/{id}/logs and the streams of logs and events."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest

from deployments.drivers.base import LogLine
from deployments.logs import line_query, stored_format
from deployments.models import Cluster, Deployment, Replica
from deployments.states import ReplicaState
from tests.integration.api import world
from tests.integration.api.world import NOW, Api

pytestmark = pytest.mark.django_db


def kept(*texts: str, start: float = 0) -> str:
    return stored_format.pack(
        [LogLine(NOW + timedelta(seconds=start + n), text) for n, text in enumerate(texts)], 2**18
    )


def replica_of(deployed: dict[str, Any], log: str, state: ReplicaState = ReplicaState.STOPPED) -> Replica:
    row = Deployment.objects.get(pk=deployed["id"])
    released = None if state == ReplicaState.READY else NOW + timedelta(hours=1)
    return world.make_replica(row, state, log_tail=log, released_at=released)


def texts(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.content
    return [line["text"] for line in answer.json()["data"]]


class TestAPage:
    def test_has_the_lines_with_time_and_replica(self, api, deployed):
        replica = replica_of(deployed, kept("one", "two"))
        page = api.get("/deployments/chat/logs").json()
        assert page == {
            "data": [
                {"at": "2026-11-21T12:00:00Z", "replica": str(replica.pk), "text": "one"},
                {"at": "2026-11-21T12:00:01Z", "replica": str(replica.pk), "text": "two"},
            ],
            "next_cursor": None,
        }

    def test_leads_to_the_lines_before(self, api, deployed):
        replica_of(deployed, kept(*(str(number) for number in range(7))))
        found, cursor = [], ""
        while cursor is not None:
            page = api.get(f"/deployments/chat/logs?tail=3{cursor and f'&cursor={cursor}'}").json()
            found.append([line["text"] for line in page["data"]])
            cursor = page["next_cursor"]
        assert found == [["4", "5", "6"], ["1", "2", "3"], ["0"]]

    def test_has_five_hundred_lines_unless_told_otherwise(self, api, deployed):
        replica_of(deployed, kept(*(str(number) for number in range(600))))
        assert texts(api.get("/deployments/chat/logs")) == [str(number) for number in range(100, 600)]
        assert len(texts(api.get("/deployments/chat/logs?tail=5000"))) == 600

    def test_is_of_one_replica_when_asked(self, api, deployed):
        replica_of(deployed, kept("one"))
        other = replica_of(deployed, kept("two"))
        assert texts(api.get(f"/deployments/chat/logs?replica={other.pk}")) == ["two"]

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("since=2026-11-21T12:00:01Z", ["Error 1", "error 2"]),
            ("until=2026-11-21T12:00:01Z", ["ok .*"]),
            ("since=2026-11-21T12:00:01Z&until=2026-11-21T12:00:02Z", ["Error 1"]),
            ("q=ERROR", ["Error 1", "error 2"]),
            (f"q={quote('.*')}", ["ok .*"]),
            ("since=2026-11-22", []),
        ],
    )
    def test_is_chosen_by_time_and_text(self, api, deployed, query, found):
        replica_of(deployed, kept("ok .*", "Error 1", "error 2"))
        assert texts(api.get(f"/deployments/chat/logs?{query}")) == found

    def test_has_hostile_lines_as_text(self, api, deployed):
        replica_of(deployed, kept("\x1b[31m<b>\x1b[0m", "a\x00\ud800", "x" * 2**20))
        first, second, third = texts(api.get("/deployments/chat/logs"))
        assert (first, second, len(third)) == ("<b>", "a\ufffd?", line_query.MAX_CHARACTERS + 1)

    @pytest.mark.parametrize(
        "query",
        ["tail=0", "tail=5001", "tail=x", "since=yesterday", "q=", "q=%00", "replica=x", "follow=yes", "cursor=abc"],
    )
    def test_refuses_what_it_does_not_understand(self, api, deployed, query):
        answer = api.get(f"/deployments/chat/logs?{query}")
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, query.partition("=")[0])

    def test_that_cannot_be_read_now_says_so(self, api, deployed):
        replica_of(deployed, "", ReplicaState.READY)
        Cluster.objects.update(driver="nowhere")
        answer = api.get("/deployments/chat/logs")
        assert (answer.status_code, answer["retry-after"]) == (503, "5")
        assert answer.json()["type"] == "/api/v1/docs#log-unavailable"


class TestAccess:
    def test_a_replica_of_nobody_or_of_another_deployment_does_not_exist(self, api, deployed):
        api.post("/deployments", world.BODY | {"name": "other"})
        other = replica_of(api.get("/deployments/other").json(), kept("one"))
        nobody = "00000000-0000-4000-8000-000000000000"
        for reference in (str(other.pk), nobody):
            for follow in ("false", "true"):
                answer = api.get(f"/deployments/chat/logs?replica={reference}&follow={follow}")
                assert answer.status_code == 404

    @pytest.mark.parametrize("path", ["logs", "logs?follow=true", "events?follow=true"])
    def test_another_organization_sees_nothing(self, deployed, contoso, path):
        stranger = Api(contoso.secrets["owner"])
        assert stranger.get(f"/deployments/{deployed['id']}/{path}").status_code == 404
        assert stranger.get(f"/deployments/chat/{path}").status_code == 404

    def test_a_viewer_reads_logs(self, northwind, deployed):
        replica_of(deployed, kept("one"))
        assert texts(Api(northwind.secrets["viewer"]).get("/deployments/chat/logs")) == ["one"]

    def test_a_key_for_inference_does_not(self, northwind, deployed):
        _, secret = world.make_key(northwind.organization, northwind.people["admin"], "inference")
        assert Api(secret).get("/deployments/chat/logs").status_code == 403

    def test_a_head_of_a_stream_ends(self, api, deployed):
        for path in ("logs", "events"):
            answer = api("HEAD", f"/deployments/chat/{path}?follow=true")
            assert (answer.status_code, answer.streaming) == (200, False)
            assert answer["content-type"].startswith("text/event-stream")
