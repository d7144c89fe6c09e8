"""Usage by API: sums of a period, by every group, of one organization."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
import redis
from django.utils import timezone

from billing.usage_ingestion import ingest_batch
from gateway import contract
from tests.integration.api.world import Api

pytestmark = pytest.mark.django_db(transaction=True)
SUMS = {"requests": 2, "input_tokens": 20, "cached_input_tokens": 4, "output_tokens": 10}


@pytest.fixture
def cluster(transactional_db, redis_url):
    from tests.integration.api import world

    world.make_model("small", 8192)
    return world.make_cluster()


def send(url, tenant, deployment_id, at, role="member"):
    user, key = tenant.people[role], tenant.key_ids[role]
    event = contract.UsageEvent(
        request_id=str(uuid.uuid4()),
        admitted_at=at.timestamp(),
        finished_at=at.timestamp() + 1,
        organization_id=str(tenant.organization.pk),
        owner_organization_id=str(tenant.organization.pk),
        deployment_id=deployment_id,
        replica_id=str(uuid.uuid4()),
        key_id=key,
        user_id=str(user.pk),
        gateway_id="gateway-1",
        model="chat",
        stream=False,
        outcome="completed",
        status=200,
        input_tokens=10,
        cached_input_tokens=2,
        output_tokens=5,
        estimated=False,
        ttft_seconds=0.1,
    )
    redis.Redis.from_url(url).xadd(contract.USAGE, {"event": event.to_json()})


@pytest.fixture
def counted(redis_url, northwind, contoso, deployed):
    """Two requests of Northwind and one of Contoso, a moment ago."""
    now = timezone.now()
    for tenant in (northwind, northwind, contoso):
        send(redis_url, tenant, deployed["id"], now - timedelta(seconds=5))
    ingest_batch()
    return now


@pytest.mark.parametrize(
    ("group_by", "name"),
    [
        ("deployment", "chat"),
        ("api_key", "key of member@northwind.example.com"),
        ("user", "member@northwind.example.com"),
        ("organization", "northwind"),
    ],
)
def test_a_group_is_named_by_id_and_name(api, counted, group_by, name):
    answer = api.get(f"/usage?group_by={group_by}").json()
    assert answer["group_by"] == group_by
    (row,) = answer["data"]
    assert uuid.UUID(row.pop(f"{group_by}_id"))
    assert row == {group_by: name, **SUMS}


@pytest.mark.parametrize("group_by", ["hour", "day"])
def test_times_are_groups_too(api, counted, group_by):
    (row,) = api.get(f"/usage?group_by={group_by}").json()["data"]
    start = (counted - timedelta(seconds=5)).astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    start = start if group_by == "hour" else start.replace(hour=0)
    assert row == {group_by: start.isoformat().replace("+00:00", "Z"), **SUMS}


def test_the_period_is_this_month_unless_said(api, counted):
    answer = api.get("/usage").json()
    assert answer["from"] == counted.replace(day=1, hour=0, minute=0, second=0, microsecond=0).isoformat()[:19] + "Z"
    assert datetime.fromisoformat(answer["to"]) >= counted
    yesterday = (counted - timedelta(days=1)).date().isoformat()
    assert api.get(f"/usage?from=2026-01-01&to={yesterday}").json()["data"] == []
    assert len(api.get("/usage?to=9999-12-31T23:59:59.999-12:00&from=1000-01-01").json()["data"]) == 1


@pytest.mark.parametrize("query", ["from=yesterday", "from=2026-02-30", "to=2026-11-21T12:00:00", "group_by=colour"])
def test_bad_periods_and_groups_are_named(api, query):
    answer = api.get(f"/usage?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == query.partition("=")[0]


def test_an_operator_sees_all_or_one_organization(counted, operator):
    root = Api(operator[1])
    rows = root.get("/usage?group_by=organization").json()["data"]
    assert {row["organization"]: row["requests"] for row in rows} == {"northwind": 2, "contoso": 1}
    rows = root.get("/usage?group_by=organization&organization=contoso").json()["data"]
    assert [row["organization"] for row in rows] == ["contoso"]


@pytest.mark.parametrize("group_by", ["api_key", "user"])
def test_by_key_and_by_user_members_see_what_they_called_themselves_as_on_the_page(
    api, counted, redis_url, northwind, deployed, group_by
):
    send(redis_url, northwind, deployed["id"], counted - timedelta(seconds=5), role="admin")
    ingest_batch()

    def count_requests(role, query):
        rows = Api(northwind.secrets[role]).get(f"/usage?group_by={query}").json()["data"]
        return sorted((row[query], row["requests"]) for row in rows)

    of_member, of_admin = (
        (f"{'key of ' if group_by == 'api_key' else ''}{role}@northwind.example.com", requests)
        for role, requests in (("member", 2), ("admin", 1))
    )
    assert count_requests("member", group_by) == [of_member]
    assert count_requests("viewer", group_by) == []
    assert count_requests("admin", group_by) == [of_admin, of_member]
    assert count_requests("member", "deployment") == [("chat", 3)]
