"""The usage page and its CSV."""

import csv
import io
from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Organization, User
from accounts.roles import Role
from accounts.services import create_key
from billing.models import UsageHour
from deployments.models import Deployment
from tests.integration.console import deployment_rows as rows

pytestmark = pytest.mark.django_db
BACKEND = "django.contrib.auth.backends.ModelBackend"


@pytest.fixture
def now() -> datetime:
    return timezone.now()


@pytest.fixture
def owner() -> Organization:
    return rows.organization()


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user, backend=BACKEND)
    return client


def used(of: Deployment, by: User, at: datetime, requests: int, key_id: object = None) -> None:
    UsageHour.objects.create(
        organization_id=of.organization_id, owner_organization_id=of.organization_id, deployment_id=of.pk,
        key_id=key_id or uuid4(), user_id=by.pk, hour=at.replace(minute=0, second=0, microsecond=0), requests=requests,
        input_tokens=1000 * requests, cached_input_tokens=10, output_tokens=7 * requests,
    )  # fmt: skip


def table(client: Client, address: str) -> list[dict[str, str]]:
    answer = client.get(address)
    assert answer["Content-Type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(answer.content.decode())))


def test_requests_and_tokens_are_summed_by_deployment_of_ones_own_organizations(owner, now):
    admin = rows.person("ada@example.com", owner)
    mine = rows.deployment(owner, now, name="mine")
    theirs = rows.deployment(rows.organization("halden"), now, name="theirs")
    yesterday = now - timedelta(days=1)
    used(mine, admin, yesterday, 3)
    used(mine, admin, yesterday - timedelta(hours=1), 2)
    used(theirs, admin, yesterday, 50)
    text = signed_in(admin).get("/usage/?period=week").content.decode()
    assert "5,000" in text
    assert "theirs" not in text
    (line,) = table(signed_in(admin), "/usage/week/deployment.csv")
    assert (line["name"], line["requests"], line["input_tokens"], line["cached_input_tokens"]) == (
        "mine", "5", "5000", "20",
    )  # fmt: skip


def test_members_see_by_key_only_what_they_called_themselves(owner, now):
    member, admin = rows.person("m@example.com", owner, Role.MEMBER), rows.person("a@example.com", owner)
    one = rows.deployment(owner, now)
    for user, name, requests in ((member, "members-key", 1), (admin, "admins-key", 2)):
        key, _ = create_key(
            organization=owner, user=user, name=name, scopes=["inference"], expires_at=None, deployments=None, now=now
        )
        used(one, user, now - timedelta(days=1), requests, key.pk)
    assert [line["name"] for line in table(signed_in(member), "/usage/week/api_key.csv")] == ["members-key"]
    assert [line["name"] for line in table(signed_in(admin), "/usage/week/api_key.csv")] == [
        "admins-key",
        "members-key",
    ]


def test_a_custom_period_is_whole_days_and_its_last_day_counts(owner, now):
    admin = rows.person("ada@example.com", owner)
    one = rows.deployment(owner, now)
    day = (now - timedelta(days=5)).replace(hour=23)
    used(one, admin, day, 4)
    used(one, admin, day + timedelta(days=1), 40)
    (line,) = table(signed_in(admin), f"/usage/{day:%Y-%m-%d}--{day:%Y-%m-%d}/deployment.csv")
    assert line["requests"] == "4"


def test_choosing_a_custom_period_offers_its_fields_without_an_error_and_shows_this_month(owner, now):
    page = signed_in(rows.person("ada@example.com", owner)).get("/usage/?period=custom").content.decode()
    assert 'name="first"' in page
    assert "Enter a date" not in page
    assert f"1 {now:%b %Y}, 00:00" in page


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?period=custom&first=&last=", "Enter a date"),
        ("?period=custom&first=2026-02-02&last=2026-02-01", "before the first day"),
        ("?period=custom&first=2020-01-01&last=2026-02-01", "more than 400 days"),
    ],
)
def test_a_wrong_period_is_said_at_its_field(owner, query, words):
    answer = signed_in(rows.person("ada@example.com", owner)).get(f"/usage/{query}")
    assert answer.status_code == 200
    assert words in answer.content.decode()


def test_without_requests_the_page_says_how_they_come(owner):
    client = signed_in(rows.person("ada@example.com", owner))
    assert "No requests in this period" in client.get("/usage/").content.decode()
    assert client.get("/usage/nonsense/deployment.csv").status_code == 404


def test_a_name_that_looks_like_a_formula_is_text_in_the_csv(owner, now):
    admin = rows.person("ada@example.com", owner)
    owner.name = "=HYPERLINK(1)"
    owner.save()
    used(rows.deployment(owner, now), admin, now - timedelta(days=1), 1)
    (line,) = table(signed_in(admin), "/usage/week/deployment.csv")
    assert line["organization"] == "'=HYPERLINK(1)"
