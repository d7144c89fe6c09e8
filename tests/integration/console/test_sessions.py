"""The profile lists the browsers in which a person is signed in, and signs out of one or of all others."""

from datetime import timedelta

import pytest
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import services
from accounts.models import User
from accounts.roles import Role
from tests.integration.console import deployment_rows as rows
from tests.integration.console.markup import squeeze, words_of

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "correct horse battery"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
EDGE = "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0"


def make_person(email: str = "ada@example.com") -> User:
    user = rows.person(email, rows.organization(), Role.MEMBER)
    user.set_password(PASSWORD)
    user.save()
    return user


def sign_in(user: User, browser: str = FIREFOX, address: str = "192.0.2.7") -> Client:
    client = Client(headers={"User-Agent": browser}, REMOTE_ADDR=address)
    assert client.post("/accounts/login/", {"login": user.email, "password": PASSWORD}).status_code == 302
    return client


def is_signed_in(client: Client) -> bool:
    return bool(client.get("/deployments/").status_code == 200)


def session_of(client: Client) -> UserSession:
    return UserSession.objects.get(session_key=client.session.session_key)


def end_address(session: UserSession) -> str:
    return f"/settings/profile/sessions/{session.pk}/end/"


@pytest.fixture
def ada() -> User:
    return make_person()


def test_the_profile_lists_every_browser_with_address_and_last_use(ada: User) -> None:
    here, other = sign_in(ada), sign_in(ada, EDGE, "192.0.2.8")
    page = squeeze(here.get("/settings/profile/"))
    assert page.index("Firefox on Linux") < page.index("this browser") < page.index("Edge on Windows")
    assert "192.0.2.7 · signed in" in page
    assert "192.0.2.8 · signed in" in page
    assert page.count("last used <time") == 1
    assert end_address(session_of(other)) in page
    assert end_address(session_of(here)) not in page


def test_alone_there_is_nothing_to_sign_out_of(ada: User) -> None:
    page = squeeze(sign_in(ada).get("/settings/profile/"))
    assert "You are not signed in anywhere else." in page
    assert "Sign out of all other browsers" not in page


def test_signing_out_of_one_browser_leaves_the_others(ada: User) -> None:
    here, lost, third = sign_in(ada), sign_in(ada, EDGE), sign_in(ada)
    page = squeeze(here.post(end_address(session_of(lost)), follow=True))
    assert "Signed out of Edge on Windows." in page
    assert [is_signed_in(client) for client in (here, lost, third)] == [True, False, True]
    assert page.count("last used") == 1


def test_signing_out_of_all_others_leaves_this_browser(ada: User) -> None:
    here, lost, third = sign_in(ada), sign_in(ada, EDGE), sign_in(ada)
    page = squeeze(here.post("/settings/profile/sessions/end-others/", follow=True))
    assert "Signed out of all other browsers." in page
    assert "You are not signed in anywhere else." in page
    assert [is_signed_in(client) for client in (here, lost, third)] == [True, False, False]


def test_nobody_ends_a_session_of_another_person(ada: User) -> None:
    eve, hers = sign_in(make_person("eve@example.com")), sign_in(ada)
    assert eve.post(end_address(session_of(hers))).status_code == 404
    eve.post("/settings/profile/sessions/end-others/")
    assert is_signed_in(hers)
    assert "192.0.2.9" not in squeeze(eve.get("/settings/profile/"))


def test_the_last_use_is_recorded_at_most_once_a_minute(ada: User) -> None:
    client = sign_in(ada)
    client.get("/deployments/")
    UserSession.objects.update(last_seen_at=timezone.now() - timedelta(hours=1))
    with CaptureQueriesContext(connection) as queries:
        client.get("/deployments/")
    assert [query["sql"] for query in queries if "usersession" in query["sql"]] == []
    later = Client(headers={"User-Agent": EDGE}, REMOTE_ADDR="192.0.2.9")  # its requests meet another process
    later.cookies = client.cookies
    later.get("/deployments/")
    session = session_of(client)
    assert timezone.now() - session.last_seen_at < timedelta(minutes=1)
    assert (session.ip, session.user_agent) == ("192.0.2.9", EDGE)


def test_a_visitor_and_a_call_of_the_api_leave_no_session(ada: User) -> None:
    for address in ("/accounts/login/", "/api/v1/deployments", "/deployments/"):
        Client().get(address)
    assert not UserSession.objects.exists()


def test_ended_sessions_are_deleted_with_what_was_recorded_of_them(ada: User) -> None:
    kept, expired, ended = sign_in(ada), sign_in(ada), sign_in(ada)
    kept_key = kept.session.session_key
    now = timezone.now()
    Session.objects.filter(session_key=expired.session.session_key).update(expire_date=now - timedelta(days=1))
    ended.post("/accounts/logout/")
    services.delete_ended_sessions(now)
    assert list(Session.objects.values_list("session_key", flat=True)) == [kept_key]
    assert list(UserSession.objects.values_list("session_key", flat=True)) == [kept_key]


def test_times_name_their_zone(ada: User) -> None:
    page = sign_in(ada).get("/settings/profile/").content.decode()
    assert "data-zone" in page
    assert "UTC" in words_of(page, "main")
