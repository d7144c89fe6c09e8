"""Lists in pages: complete, without repetition, and stable while others add rows."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from deployments.models import Deployment
from deployments.states import ReplicaState
from tests.integration.api import world
from tests.integration.api.world import BODY

pytestmark = pytest.mark.django_db


def walk(api, path, limit, between=lambda: None):
    """All entries, page by page."""
    found, cursor = [], ""
    while cursor is not None:
        page = api.get(f"{path}?limit={limit}{cursor and f'&cursor={cursor}'}").json()
        assert set(page) == {"data", "next_cursor"}
        assert len(page["data"]) <= limit
        found += page["data"]
        cursor = page["next_cursor"]
        between()
    return found


@pytest.fixture
def seven(api):
    return [api.post("/deployments", BODY | {"name": f"d{number}"}).json()["id"] for number in range(7)]


@pytest.mark.parametrize("limit", [1, 3, 7, 200])
def test_pages_together_are_the_list(api, seven, limit):
    assert [row["id"] for row in walk(api, "/deployments", limit)] == seven[::-1]


def test_rows_of_the_same_moment_are_neither_lost_nor_repeated(api, seven):
    Deployment.objects.update(created_at=world.NOW)
    assert sorted(row["id"] for row in walk(api, "/deployments", 2)) == sorted(seven)


def test_rows_added_meanwhile_change_nothing_behind_the_cursor(api, seven):
    added = iter(range(100))
    found = walk(api, "/deployments", 2, lambda: api.post("/deployments", BODY | {"name": f"new{next(added)}"}))
    assert [row["id"] for row in found] == seven[::-1]


def test_a_cursor_outlives_the_row_it_came_from(api, seven):
    cursor = api.get("/deployments?limit=3").json()["next_cursor"]
    Deployment.objects.filter(pk=seven[4]).update(deleted_at=world.NOW)
    page = api.get(f"/deployments?limit=2&cursor={cursor}").json()
    assert [row["id"] for row in page["data"]] == [seven[3], seven[2]]


def test_fifty_is_the_usual_size_of_a_page(api, seven):
    row = Deployment.objects.get(pk=seven[0])
    for number in range(45):
        row.pk, row.name, row.created_at = None, f"copy{number}", row.created_at + timedelta(microseconds=1)
        row._state.adding = True
        row.id = uuid4()
        row.save()
    page = api.get("/deployments").json()
    assert (len(page["data"]), page["next_cursor"] is None) == (50, False)


def test_events_keys_and_catalog_come_in_pages(api, seven, northwind):
    api.post("/deployments/d0/terminate")
    assert [event["kind"] for event in walk(api, "/deployments/d0/events", 1)] == ["terminate_requested", "created"]
    assert len(walk(api, "/api-keys", 1)) == len(northwind.key_ids)
    assert [model["id"] for model in walk(api, "/models", 1)] == ["small", "wide"]
    assert [one["id"] for one in walk(api, "/gpu-types", 1)] == ["h100-sxm-80gb", "l40s-48gb"]
    assert [one["name"] for one in walk(api, "/endpoints", 1)] == ["default"]


def test_the_list_of_deployments_takes_the_same_queries_however_many_there_are(api, seven):
    def count_queries(limit):
        with CaptureQueriesContext(connection) as queries:
            assert len(api.get(f"/deployments?limit={limit}").json()["data"]) == limit
        return len(queries)

    assert count_queries(1) == count_queries(7) <= 5


def test_replicas_are_listed_without_the_logs_that_were_kept(api, seven):
    deployment = Deployment.objects.get(pk=seven[0])
    world.make_replica(deployment, ReplicaState.FAILED, log_tail="last words", released_at=world.NOW)
    with CaptureQueriesContext(connection) as queries:
        assert len(api.get(f"/deployments/{seven[0]}/replicas").json()["data"]) == 1
    assert not [query["sql"] for query in queries if "log_tail" in query["sql"]]
