"""The deployments list in a browser without script."""

import re
from datetime import datetime

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import escape

from accounts.models import Organization
from accounts.roles import Role
from deployments.messages import describe_reason
from deployments.models import Deployment
from deployments.states import DeploymentStatus as S
from deployments.states import ReplicaState as R
from tests.integration.console import deployment_rows as rows
from tests.integration.console.markup import squeeze

pytestmark = pytest.mark.django_db
BACKEND = "django.contrib.auth.backends.ModelBackend"
NAME = re.compile(r'class="name" id="name-[^"]+" href="[^"]+">([^<]+)<')


@pytest.fixture
def now() -> datetime:
    return timezone.now()


@pytest.fixture
def owner() -> Organization:
    return rows.organization()


def signed_in(organization: Organization | None = None, role: Role = Role.ADMIN, **fields: object) -> Client:
    client = Client()
    client.force_login(rows.person(f"{role}@example.com", organization, role, **fields), backend=BACKEND)
    return client


def listed(client: Client, query: str = "") -> list[str]:
    answer = client.get(f"/deployments/{query}")
    assert answer.status_code == 200
    text = squeeze(answer)
    assert text.count("<h1") == 1
    assert "style=" not in text
    return NAME.findall(text)


def test_an_anonymous_visitor_is_sent_to_the_sign_in_form():
    answer = Client().get("/", follow=True)
    text = squeeze(answer)
    assert answer.redirect_chain[-1][0].startswith("/accounts/login/")
    assert 'name="login"' in text
    assert 'name="password"' in text
    assert "csrfmiddlewaretoken" in text


def test_signing_in_leads_to_the_list_and_a_wrong_password_says_so(owner):
    rows.person("ada@example.com", owner)
    client = Client()
    wrong = client.post("/accounts/login/", {"login": "ada@example.com", "password": "no"})
    assert "do not match" in squeeze(wrong)
    right = client.post("/accounts/login/", {"login": "ada@example.com", "password": rows.PASSWORD}, follow=True)
    assert right.request["PATH_INFO"] == "/deployments/"


def test_signing_out_is_a_post_that_ends_the_session(owner):
    client = signed_in(owner)
    assert client.get("/accounts/logout/").status_code == 200
    assert client.get("/deployments/").status_code == 200
    client.post("/accounts/logout/")
    assert client.get("/deployments/").status_code == 302


def test_members_see_their_organization_and_operators_see_all(owner, now):
    rows.deployment(owner, now, name="ours")
    rows.deployment(rows.organization("halden"), now, name="theirs")
    assert listed(signed_in(owner)) == ["ours"]
    assert sorted(listed(signed_in(is_operator=True, role=Role.OWNER))) == ["ours", "theirs"]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("?status=running", ["in-running"]),
        ("?status=failed", ["in-failed"]),
        ("?status=changing", ["in-deploying", "in-scaling"]),
        ("?q=in-run", ["in-running"]),
        ("?q=blue", ["in-pending"]),
        ("?q=team%3Dblue", ["in-pending"]),
        ("?q=no-such-thing", []),
        ("?gpu=h200-141gb", []),
        ("?endpoint=default&status=waiting", ["in-pending"]),
        ("?status=sleeping", ["in-sleeping"]),
        ("?status=nonsense&sort=nonsense&page=x", None),
    ],
)
def test_tabs_search_and_filters_narrow_the_list(owner, now, query, names):
    shown = (S.RUNNING, S.FAILED, S.DEPLOYING, S.SCALING, S.PENDING, S.SLEEPING)
    for status in shown:
        rows.in_status(owner, status, now)
    Deployment.objects.filter(name="in-pending").update(labels={"team": "blue"})
    expected = sorted(f"in-{status.lower()}" for status in shown) if names is None else names
    assert sorted(listed(signed_in(owner), query)) == expected


def test_a_deployment_is_found_by_the_beginning_of_its_id(owner, now):
    wanted = rows.deployment(owner, now, name="wanted")
    rows.deployment(owner, now, name="other")
    assert listed(signed_in(owner), f"?q={str(wanted.pk)[:13]}") == ["wanted"]


def test_columns_sort_both_ways_and_say_so(owner, now):
    for name in ("b", "a", "c"):
        rows.deployment(owner, now, name=name)
    client = signed_in(owner)
    assert listed(client, "?sort=name") == ["a", "b", "c"]
    assert listed(client, "?sort=-name") == ["c", "b", "a"]
    assert 'aria-sort="descending"' in squeeze(client.get("/deployments/?sort=-name"))


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (S.PENDING, describe_reason(rows.SHORTAGE).phrase),
        (S.DEPLOYING, "2/3 Downloading, 33 %"),
        (S.RUNNING, "since "),
        (S.SCALING, "1 → 2, 3/3 Initializing"),
        (S.ROLLING, "revision 1 → 2, 1 of 2 replaced"),
        (S.SLEEPING, "a request wakes it"),
        (S.FAILED, describe_reason(rows.CAUSE).title),
        (S.TERMINATING, "1 replica to stop"),
        (S.TERMINATED, "Terminated"),
    ],
)
def test_the_line_below_the_status_says_why_or_how_far(owner, now, status, words):
    rows.in_status(owner, status, now)
    assert escape(words) in squeeze(signed_in(owner).get("/deployments/"))


def test_replicas_are_drawn_up_to_the_range_and_a_fixed_number_says_so(owner, now):
    rows.in_status(owner, S.RUNNING, now)
    rows.in_status(owner, S.SLEEPING, now)
    text = re.sub(r"\s+", " ", squeeze(signed_in(owner).get("/deployments/")))
    assert '<span class="cells"><i class="ready"></i></span>fixed' in text
    assert '<span class="cells"><i></i><i></i><i></i></span>0–3' in text


def test_each_row_offers_what_makes_sense_in_its_status(owner, now):
    made = {status: rows.in_status(owner, status, now) for status in (S.RUNNING, S.FAILED, S.TERMINATING)}
    text = squeeze(signed_in(owner).get("/deployments/"))
    offered = {
        status: {verb for verb in ("edit", "clone", "terminate", "delete") if f"/{one.pk}/{verb}/" in text}
        for status, one in made.items()
    }
    assert offered == {
        S.RUNNING: {"edit", "clone", "terminate"},
        S.FAILED: {"edit", "clone", "delete"},
        S.TERMINATING: {"clone"},
    }


def test_only_who_may_deploy_is_offered_to_deploy_and_to_end(owner, now):
    rows.in_status(owner, S.RUNNING, now)
    admin = squeeze(signed_in(owner).get("/deployments/"))
    viewer = squeeze(signed_in(owner, Role.VIEWER).get("/deployments/"))
    assert "New deployment" in admin
    assert "/terminate/" in admin
    assert "New deployment" not in viewer
    assert "/terminate/" not in viewer


def test_the_empty_list_says_what_to_do_next_and_a_filter_without_result_offers_to_clear_it(owner, now):
    client = signed_in(owner)
    assert "No deployments yet" in squeeze(client.get("/deployments/"))
    rows.deployment(owner, now)
    assert "Clear filters" in squeeze(client.get("/deployments/?q=nothing"))


def test_a_thousand_deployments_come_in_pages_with_few_queries(owner, now):
    first = rows.deployment(owner, now, name="d-0000")
    Deployment.objects.bulk_create(
        Deployment(
            organization=owner, endpoint=first.endpoint, name=f"d-{number:04}", gpu_type=first.gpu_type,
            revision=first.revision, created_at=now, updated_at=now, status_since=now, status=S.RUNNING,
        )
        for number in range(1, 1000)
    )  # fmt: skip
    client = signed_in(owner)
    listed(client)  # the first page of a session also records it
    with CaptureQueriesContext(connection) as queries:
        shown = listed(client, "?sort=name&page=2")
    assert shown == [f"d-{number:04}" for number in range(50, 100)]
    assert len(queries) <= 15, "\n".join(one["sql"][:160] for one in queries)


def test_rows_of_every_status_cause_no_query_of_their_own(owner, now):
    client = signed_in(owner)
    listed(client)  # the first page of a session also records it
    counts = []
    for round_ in ("first", "second"):
        for status in S:
            made = rows.deployment(owner, now, f"{round_}-{status.lower()}", status=status)
            if status is S.TERMINATED:
                Deployment.objects.filter(pk=made.pk).update(terminated_by=rows.person(f"{round_}@example.com"))
            for state in (R.READY, R.DOWNLOADING_MODEL, R.DRAINING):
                rows.replica(made, state, now)
        with CaptureQueriesContext(connection) as queries:
            listed(client)
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_the_theme_is_a_cookie_that_the_server_writes_into_the_page(owner):
    client = signed_in(owner)
    answer = client.post("/theme/", {"theme": "dark", "next": "/deployments/"})
    assert answer["Location"] == "/deployments/"
    assert '<html lang="en" data-theme="dark">' in squeeze(client.get("/deployments/"))
    assert client.post("/theme/", {"theme": "dark", "next": "https://evil.example/"})["Location"] == "/"
    assert client.post("/theme/", {"theme": "pink"}).status_code == 400


def test_what_does_not_exist_is_a_page_of_ours(owner):
    answer = signed_in(owner).get("/deployments/nothing/")
    assert answer.status_code == 404
    assert squeeze(answer).count("<h1") == 1
    assert "Page not found" in squeeze(answer)


HREF = re.compile(r'href="(/[^"]*)"')


@pytest.mark.parametrize("is_operator", [True, False])
def test_every_link_of_every_page_leads_to_a_page(owner, now, is_operator):
    for status in (S.RUNNING, S.FAILED, S.TERMINATED):
        rows.in_status(owner, status, now)
    person = {"is_operator": True, "is_staff": True, "is_superuser": True} if is_operator else {}
    client = signed_in(owner, **person)
    seen, waiting = set(), ["/deployments/"]
    while waiting:
        path = waiting.pop()
        seen.add(path)
        answer = client.get(path)
        assert answer.status_code == 200, path
        if path.endswith((".csv", ".json")) or path.startswith(("/static/", "/admin/")):
            continue
        text = squeeze(answer)
        assert text.count("<h1") == 1, path
        if "?" in path:
            continue
        links = {link.replace("&amp;", "&").split("#")[0] for link in HREF.findall(text)}
        links |= {link.split("?")[0] for link in links}
        waiting += [link for link in links - seen if not link.startswith("/static/") and link not in waiting]
    assert {"/usage/", "/settings/api-keys/", "/catalog/", "/deployments/new/"} <= seen
