"""Who calls: the API key of `Authorization: Bearer mc_…`, its user, and the organization that it works for.

Checked in this order, before anything else about a request is: a usable key (401), its scope (403), the organization
of `?organization=` (404), the role's right (403).
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.http import HttpRequest
from django.utils import timezone
from ninja.security import HttpBearer

from accounts import services
from accounts.models import ApiKey, Organization, User
from accounts.queries import UsableKey, find_usable_key, list_usable_keys
from accounts.roles import Right, Scope, is_scope_granted
from console.access import Actor, actor_of, actor_of_key
from console.api.problems import Problem, missing

USE_IS_NOTED_EVERY = timedelta(minutes=1)
SLUG = "[-a-zA-Z0-9_]{1,63}"


@dataclass(frozen=True)
class Caller:
    """`organization` is where new things go; `actor` says what is seen: for an operator everything, unless narrowed."""

    key: ApiKey
    actor: Actor
    organization: Organization

    @property
    def user(self) -> User:
        return self.key.user


class ApiRequest(HttpRequest):
    """A request that `KeyAuth` let through, and when it did."""

    auth: Caller
    now: datetime


class KeyAuth(HttpBearer):
    """Lets usable keys of `scope` through whose user has `right` in the organization; `request.auth` is the caller."""

    def __init__(self, scope: Scope, right: Right = Right.READ) -> None:
        super().__init__()
        self.scope, self.right = scope, right

    def authenticate(self, request: HttpRequest, token: str) -> Caller:
        now = request.now = timezone.now()  # type: ignore[attr-defined]  # noqa: TID251 - the edge
        key = find_usable_key(token.strip(), now)
        if key is None:
            detail = "This API key is unknown, expired or revoked. Make a new one under API keys in the console."
            raise unauthenticated(detail, ', error="invalid_token"')
        if key.last_used_at is None or now - key.last_used_at > USE_IS_NOTED_EVERY:
            services.record_key_use({key.pk: now})
        if not is_scope_granted(key.scopes, self.scope):
            has = ", ".join(key.scopes) or "none"
            raise Problem("scope-missing", f"This needs the scope {self.scope.value}; the key has: {has}.")
        slug = request.GET.get("organization")
        caller = caller_of(key, slug if slug and re.fullmatch(SLUG, slug) else None)  # else the parameter is refused
        if not caller.actor.may(self.right, caller.organization.id):
            right = self.right.value.replace("_", " ")
            raise Problem("right-missing", f"Your role in this organization lacks the right to {right}.")
        return caller


READ, MANAGE = KeyAuth(Scope.READ), KeyAuth(Scope.MANAGE)
DEPLOY = KeyAuth(Scope.MANAGE, Right.DEPLOY)
MANAGE_OWN_KEYS = KeyAuth(Scope.MANAGE, Right.MANAGE_OWN_KEYS)


def caller_of(key: UsableKey, slug: str | None) -> Caller:
    """The caller in the organization `slug` (None: the key's own). 404 for one that the key may not see."""
    if not key.user.is_operator:
        if slug not in (None, key.organization.slug):
            raise missing("organization")
        return Caller(key, actor_of_key(key), key.organization)
    if slug is None:
        return Caller(key, actor_of(key.user), key.organization)
    organization = key.organization if slug == key.organization.slug else Organization.objects.filter(slug=slug).first()
    if organization is None:
        raise missing("organization")
    return Caller(key, actor_of(key.user, organization), organization)


def recheck(caller: Caller, needed: Scope, now: datetime) -> Caller | None:
    """The same caller as of `now`, with the rights it has by then; None once its key may not be used for this."""
    key = list_usable_keys(now).filter(pk=caller.key.pk).first()
    if key is None or not is_scope_granted(key.scopes, needed):
        return None
    scoped_to = caller.actor.scoped_to
    return caller_of(key, scoped_to.slug if scoped_to else None)


def unauthenticated(detail: str, error: str = "") -> Problem:
    return Problem("unauthenticated", detail, headers={"WWW-Authenticate": f'Bearer realm="Models Console"{error}'})
