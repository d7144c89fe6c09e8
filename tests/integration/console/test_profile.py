"""The profile, the change of a password, and the reset by e-mail: pages and texts in the words of the console."""

import re

import pytest
from django.core import mail
from django.test import Client

from accounts.models import User
from accounts.roles import Role
from tests.integration.console import deployment_rows as rows
from tests.integration.console.markup import squeeze

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD, NEW_PASSWORD = "correct horse battery", "another long password"


@pytest.fixture
def ada() -> User:
    user = rows.person("ada@example.com", rows.organization(), Role.MEMBER)
    user.set_password(PASSWORD)
    user.save()
    return user


@pytest.fixture
def client(ada) -> Client:
    client = Client()
    assert client.post("/accounts/login/", {"login": ada.email, "password": PASSWORD}).status_code == 302
    return client


def test_the_sidebar_of_every_page_links_to_the_profile_with_name_address_and_role(client, ada):
    assert 'href="/settings/profile/"' in client.get("/deployments/").content.decode()
    page = squeeze(client.get("/settings/profile/"))
    assert "ada@example.com" in page
    assert "Member" in page
    assert "/accounts/password/change/" in page


def test_the_name_can_be_changed_and_removed(client, ada):
    for name, shown in (("Ada Lovelace", "Ada Lovelace"), ("", "ada@example.com")):
        page = client.post("/settings/profile/", {"name": name}, follow=True)
        assert "Profile saved." in squeeze(page)
        ada.refresh_from_db()
        assert str(ada) == shown


def test_a_name_that_is_too_long_is_refused_at_its_field_and_kept(client, ada):
    answer = client.post("/settings/profile/", {"name": "a" * 121})
    assert answer.status_code == 422
    assert "at most 120 characters" in squeeze(answer)
    assert "a" * 121 in squeeze(answer)


def test_changing_the_password_ends_other_sessions_and_returns_to_the_profile(client, ada):
    other = Client()
    other.force_login(ada, backend="django.contrib.auth.backends.ModelBackend")
    words = {"oldpassword": PASSWORD, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    answer = client.post("/accounts/password/change/", words, follow=True)
    assert answer.redirect_chain == [("/settings/profile/", 302)]
    assert "Password changed. You are signed out of all other browsers." in squeeze(answer)
    assert other.get("/deployments/").status_code == 302


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"oldpassword": "wrong"}, "This is not your current password."),
        ({"password2": "something else"}, "The two passwords are different."),
        ({"password1": "short", "password2": "short"}, "at least 12 characters"),
        ({"password2": ""}, "This field is required."),
    ],
)
def test_a_refused_password_is_explained_at_its_field(client, changes, words):
    body = {"oldpassword": PASSWORD, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD} | changes
    page = squeeze(client.post("/accounts/password/change/", body))
    assert words in page
    for label in ("Current password", "New password", "Repeat the new password"):
        assert label in page


def test_a_reset_by_e_mail_speaks_the_words_of_the_console(ada):
    visitor = Client()
    answer = visitor.post("/accounts/password/reset/", {"email": ada.email}, follow=True)
    assert "Check your e-mail" in squeeze(answer)
    (message,) = mail.outbox
    assert message.subject == "Reset your Models Console password"
    assert "within 24 hours" in message.body
    assert "testserver!" not in message.body
    link = re.search(r"http://testserver(/\S+)", message.body.partition("open this link")[2])[1]
    form = visitor.get(link, follow=True)
    assert "Choose a new password" in squeeze(form)
    address = form.redirect_chain[-1][0]
    words = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    assert "Sign in with the new password" in squeeze(visitor.post(address, words, follow=True))
    assert "This link was used before or has expired." in squeeze(Client().get(link, follow=True))
    ada.refresh_from_db()
    assert ada.check_password(NEW_PASSWORD)


def test_a_reset_for_an_unknown_address_does_not_offer_to_sign_up():
    Client().post("/accounts/password/reset/", {"email": "nobody@example.com"})
    (message,) = mail.outbox
    assert message.subject == "Password reset: no account for this address"
    assert "signup" not in message.body
    assert "ask an owner of your organization" in message.body


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("/accounts/password/reset/", "We send you a link"),
        ("/accounts/password/reset/done/", "Check your e-mail"),
        ("/accounts/password/reset/key/1-set-password/", "Link not valid"),
        ("/accounts/password/reset/key/done/", "Sign in with the new password"),
        ("/accounts/inactive/", "Ask an operator to activate it again"),
        ("/accounts/signup/", "Accounts are created by invitation"),
    ],
)
def test_every_account_page_has_the_layout_of_the_console(db, address, words):
    page = squeeze(Client().get(address))
    assert words in page
    assert "Models Console" in page
    assert "css/tokens.css" in page
