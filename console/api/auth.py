"""Who calls: the API key of `Authorization: Bearer mc_…`, its user, and the organization that it works for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.http import HttpRequest

from accounts import services
from accounts.models import ApiKey, Organization, User
from accounts.queries import find_usable_key, list_usable_keys
from accounts.roles import Right, Scope, is_scope_granted
from console.access import Actor, actor_of
from console.api.problems import Problem, missing

USE_IS_NOTED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class Caller:
    """`organization` is where new things go; `actor` says what is seen: for an operator everything, unless narrowed."""

    key: ApiKey
    actor: Actor
    organization: Organization

    @property
    def user(self) -> User:
        return self.key.user

    def may(self, right: Right) -> bool:
        return self.actor.may(right, self.organization.id)

    def require(self, right: Right, to: str, organization: Organization | None = None) -> None:
        """Raises a 403 that says what `to` do it for; `organization` defaults to the caller's."""
        if not self.actor.may(right, (organization or self.organization).id):
            raise Problem("right-missing", f"Your role in this organization does not allow you to {to}.")


def authenticate(request: HttpRequest, now: datetime) -> ApiKey:
    """The usable key of the request, or a 401."""
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise _unauthenticated("This address needs an API key: send Authorization: Bearer mc_….", "")
    key = find_usable_key(secret.strip(), now)
    if key is None:
        detail = "This API key is unknown, expired or revoked. Make a new one under API keys in the console."
        raise _unauthenticated(detail, ', error="invalid_token"')
    if key.last_used_at is None or now - key.last_used_at > USE_IS_NOTED_EVERY:
        services.record_key_use({key.pk: now})
    return key


def check_scope(key: ApiKey, needed: Scope) -> None:
    if not is_scope_granted(key.scopes, needed):
        has = ", ".join(key.scopes) or "none"
        raise Problem("scope-missing", f"This needs the scope {needed.value}; the key has: {has}.")


def caller_of(key: ApiKey, slug: str | None) -> Caller:
    """The caller in the organization `slug` (None: the key's own). 404 for one that the key may not see."""
    if slug is None:
        return Caller(key, actor_of(key.user, None if key.user.is_operator else key.organization), key.organization)
    if slug == key.organization.slug:
        return Caller(key, actor_of(key.user, key.organization), key.organization)
    found = Organization.objects.filter(slug=slug).first() if key.user.is_operator else None
    if found is None:
        raise missing("organization")
    return Caller(key, actor_of(key.user, found), found)


def still(caller: Caller, needed: Scope, now: datetime) -> Caller | None:
    """The same caller as of `now`, with the rights it has by then; None once its key may not be used for this."""
    key = list_usable_keys(now).filter(pk=caller.key.pk).first()
    if key is None or not is_scope_granted(key.scopes, needed):
        return None
    scoped_to = caller.actor.scoped_to
    return caller_of(key, scoped_to.slug if scoped_to else None)


def _unauthenticated(detail: str, error: str) -> Problem:
    return Problem("unauthenticated", detail, headers={"WWW-Authenticate": f'Bearer realm="Models Console"{error}'})
