"""Signing in and resetting a password: limits that all processes share, and e-mail only where it is configured."""

import re
from collections.abc import Iterator

import pytest
import redis
from django.core import mail
from django.core.cache import cache
from django.test import Client, override_settings

from accounts.models import User
from console.machine.embedded_servers import find_free_port

PASSWORD = "correct horse battery"
TOO_MANY = "Too many failed sign-in attempts"
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def store(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url)


@pytest.fixture
def staff() -> User:
    return User.objects.create_user("ada@example.com", PASSWORD, is_staff=True, is_superuser=True)


@pytest.fixture
def without_redis(settings) -> Iterator[None]:
    location = f"redis://127.0.0.1:{find_free_port()}/0"
    with override_settings(CACHES={"default": settings.CACHES["default"] | {"LOCATION": location}}):
        yield
        cache._own.clear()


def sign_in(password: str, address: str = "/accounts/login/") -> str:
    """The final address, and with it the page."""
    answer = Client().post(address, {"login": "ada@example.com", "password": password}, follow=True)
    assert answer.status_code == 200
    return answer.request["PATH_INFO"] + answer.content.decode()


def test_django_admin_has_no_sign_in_of_its_own(staff):
    client = Client()
    assert client.get("/admin/accounts/user/", follow=True).redirect_chain[-1][0] == (
        "/accounts/login/?next=/admin/accounts/user/"
    )
    credentials = {"username": staff.email, "password": PASSWORD, "next": "/admin/"}
    assert client.post("/admin/login/", credentials)["Location"] == "/accounts/login/?next=/admin/"
    assert "_auth_user_id" not in client.session
    form = {"login": staff.email, "password": PASSWORD, "next": "/admin/"}
    assert client.post("/accounts/login/", form)["Location"] == "/admin/"
    assert client.post("/admin/login/?next=https://evil.example/", credentials)["Location"] == "/admin/"


def test_people_who_are_not_staff_are_refused_by_django_admin(staff):
    User.objects.filter(pk=staff.pk).update(is_staff=False)
    client = Client()
    client.login(username=staff.email, password=PASSWORD)
    assert client.get("/admin/", follow=True).status_code == 403


def test_failed_attempts_are_counted_where_every_process_sees_them(staff, store):
    for _ in range(5):
        assert TOO_MANY not in sign_in("wrong")
    assert TOO_MANY in sign_in(PASSWORD)
    keys = [key.decode() for key in store.scan_iter("mc:cache:*")]
    assert [key for key in keys if "login_failed" in key]
    store.flushdb()
    assert sign_in(PASSWORD).startswith("/deployments/")


def test_people_sign_in_while_redis_is_away_and_attempts_stay_limited(staff, without_redis):
    assert sign_in(PASSWORD).startswith("/deployments/")
    for _ in range(5):
        assert TOO_MANY not in sign_in("wrong")
    assert TOO_MANY in sign_in(PASSWORD)


def test_connections_that_redis_has_closed_are_not_used_again(store):
    cache.set("counter", [1])
    own = store.client_info()
    for client in store.client_list():  # of this test process: others have databases of their own
        if client["db"] == str(own["db"]) and client["id"] != str(own["id"]):
            store.client_kill_filter(_id=client["id"])
    assert cache.get("counter") == [1]


@override_settings(SENDS_EMAIL=False)
@pytest.mark.parametrize("method", ["get", "post"])
def test_without_a_mail_server_the_reset_page_says_so_and_sends_nothing(staff, method):
    answer = getattr(Client(), method)("/accounts/password/reset/", {"email": staff.email})
    text = answer.content.decode()
    assert answer.status_code == 200
    assert "This console does not send e-mail" in text
    assert "<form" not in text
    assert mail.outbox == []


@override_settings(SENDS_EMAIL=True)
def test_with_a_mail_server_the_reset_page_sends_a_link(staff):
    answer = Client().post("/accounts/password/reset/", {"email": staff.email}, follow=True)
    assert "Check your e-mail" in answer.content.decode()
    (sent,) = mail.outbox
    assert sent.to == [staff.email]
    assert re.search(r"/accounts/password/reset/key/\S+", sent.body)


def test_a_mail_server_that_is_away_is_said_and_no_link_is_logged(staff, settings, caplog):
    settings.SENDS_EMAIL = True
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", find_free_port()
    answer = Client().post("/accounts/password/reset/", {"email": staff.email})
    assert answer.status_code == 503
    assert "could not be sent" in answer.content.decode()
    assert "did not take an e-mail" in caplog.text
    assert "/reset/key/" not in caplog.text
