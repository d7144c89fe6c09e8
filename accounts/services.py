"""Writes of accounts: organizations, memberships, API keys.

Each change of a key reaches the gateways on commit. With Redis away the change still stands, the error is logged, and
the next full publication brings it over.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction

from accounts import keys, publish
from accounts.models import ApiKey, Membership, Organization, User
from accounts.roles import Role, Scope
from gateway.contract import key_hash

PLAYGROUND_SECONDS = 300


def create_organization(*, slug: str, name: str) -> Organization:
    return Organization.objects.get_or_create(slug=slug, defaults={"name": name})[0]


def set_role(*, organization: Organization, user: User, role: Role) -> Membership:
    """Make `user` a member with `role`, or change the role."""
    membership, _ = Membership.objects.update_or_create(
        organization=organization, user=user, defaults={"role": role.value}
    )
    transaction.on_commit(publish.publish_all, robust=True)
    return membership


@transaction.atomic
def remove_member(*, organization: Organization, user: User, now: datetime) -> None:
    """End the membership; leaving an organization revokes the person's keys in it."""
    Membership.objects.filter(organization=organization, user=user).delete()
    ApiKey.objects.filter(organization=organization, user=user, revoked_at=None).update(revoked_at=now)
    transaction.on_commit(publish.publish_all, robust=True)


@transaction.atomic
def account_changed(user: User, now: datetime) -> None:
    """After a change of a person's account, written already: who is no longer active loses all keys for good, and the
    gateways hear what the others may do now."""
    if not user.is_active:
        ApiKey.objects.filter(user=user, revoked_at=None).update(revoked_at=now)
    transaction.on_commit(publish.publish_all, robust=True)


@transaction.atomic
def create_key(
    *,
    organization: Organization,
    user: User,
    name: str,
    scopes: Sequence[str],
    expires_at: datetime | None,
    deployments: Sequence[uuid.UUID] | None,
    now: datetime,
    kind: str = ApiKey.Kind.USER,
) -> tuple[ApiKey, str]:
    """A new key and its secret, which is nowhere kept. `deployments` None = all that the organization may call."""
    secret = keys.make(secrets.choice)
    key = ApiKey.objects.create(
        organization=organization,
        user=user,
        kind=kind,
        name=name,
        prefix=keys.shown(secret),
        key_hash=key_hash(secret),
        scopes=[Scope(scope).value for scope in scopes],
        expires_at=expires_at,
        deployments=None if deployments is None else list(deployments),
        created_at=now,
    )
    transaction.on_commit(lambda: publish.publish_key(key), robust=True)
    return key, secret


def mint_playground_key(*, organization: Organization, user: User, deployment_id: uuid.UUID, now: datetime) -> str:
    """A secret of five minutes with which the console calls one deployment as `user`."""
    _, secret = create_key(
        organization=organization,
        user=user,
        name="Playground",
        scopes=[Scope.INFERENCE],
        expires_at=now + timedelta(seconds=PLAYGROUND_SECONDS),
        deployments=[deployment_id],
        now=now,
        kind=ApiKey.Kind.PLAYGROUND,
    )
    return secret


@transaction.atomic
def revoke_key(key: ApiKey, now: datetime) -> None:
    """Refused by every gateway within a second. Revoking twice changes nothing."""
    ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=now)
    key.refresh_from_db(fields=["revoked_at"])
    transaction.on_commit(lambda: publish.withdraw_key(key), robust=True)


def note_use(key_ids_to_times: dict[uuid.UUID, datetime]) -> None:
    """Raise `last_used_at` of the given keys; never lowers it."""
    for key in ApiKey.objects.filter(pk__in=key_ids_to_times):
        used_at = key_ids_to_times[key.pk]
        if key.last_used_at is None or key.last_used_at < used_at:
            ApiKey.objects.filter(pk=key.pk).update(last_used_at=used_at)


def forget_old_playground_keys(now: datetime) -> int:
    """Delete playground keys a day after their end; usage keeps their ids."""
    old = ApiKey.objects.filter(kind=ApiKey.Kind.PLAYGROUND, expires_at__lt=now - timedelta(days=1))
    return old.delete()[0]
