"""The only way to an object: the access check is the lookup. What an actor may not see does not exist (404)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from django.db.models import Q, QuerySet
from django.http import Http404

from accounts.models import ApiKey, Membership, Organization, User
from accounts.queries import api_keys as listed_api_keys
from accounts.roles import Right, Role, rights_of
from deployments.models import Deployment, Replica


@dataclass(frozen=True)
class Actor:
    """Who asks, and for which organizations: `roles` maps organization id → role. `scoped_to` narrows an API key to
    its organization (None: all of the person's organizations; for an operator, all there are)."""

    user: User
    roles: dict[uuid.UUID, Role]
    scoped_to: Organization | None = None

    @property
    def is_operator(self) -> bool:
        return self.user.is_operator

    def may(self, right: Right, organization_id: uuid.UUID) -> bool:
        return right in rights_of(self.roles.get(organization_id), is_operator=self.is_operator)


def actor_of(user: User, scoped_to: Organization | None = None) -> Actor:
    """The actor for a signed-in user, or for an API key of `user` in `scoped_to`."""
    rows = Membership.objects.filter(user=user)
    if scoped_to and not user.is_operator:
        rows = rows.filter(organization=scoped_to)
    return Actor(user, {row.organization_id: Role(row.role) for row in rows}, scoped_to)


def visible(actor: Actor, path: str = "organization_id") -> Q:
    """The condition that keeps what belongs to the actor's organizations; `path` names the organization column."""
    if actor.is_operator:
        return Q(**{path: actor.scoped_to.id}) if actor.scoped_to else Q()
    return Q(**{f"{path}__in": list(actor.roles)})


def may_somewhere(actor: Actor, right: Right) -> bool:
    """Whether the actor has the right in any organization."""
    return actor.is_operator or any(actor.may(right, organization_id) for organization_id in actor.roles)


def organization_ids(actor: Actor, right: Right) -> list[uuid.UUID]:
    """The organizations of the actor's memberships in which the actor has the right."""
    return [organization_id for organization_id in actor.roles if actor.may(right, organization_id)]


def organizations(actor: Actor) -> QuerySet[Organization]:
    return Organization.objects.filter(visible(actor, "pk")).order_by("name")


def api_keys(actor: Actor) -> QuerySet[ApiKey]:
    """Keys that people made: a person's own, and all of the organizations where the person manages keys."""
    managed = organization_ids(actor, Right.MANAGE_ORGANIZATION_KEYS)
    condition = Q() if actor.is_operator else Q(user=actor.user) | Q(organization_id__in=managed)
    return listed_api_keys().filter(visible(actor), condition)


def deployments(actor: Actor) -> QuerySet[Deployment]:
    return Deployment.objects.filter(visible(actor), deleted_at=None).select_related(
        "organization", "endpoint__cluster", "gpu_type", "revision", "created_by"
    )


def deployment(actor: Actor, reference: str) -> Deployment:
    """By id, or by name where that names exactly one; raises Http404."""
    try:
        condition = Q(id=uuid.UUID(reference))
    except ValueError:
        condition = Q(name=reference)
    found = list(deployments(actor).filter(condition)[:2])
    if len(found) != 1:
        raise Http404("No such deployment.")
    return found[0]


def replica(actor: Actor, deployment: Deployment, reference: str) -> Replica:
    try:
        return deployment.replicas.get(visible(actor), id=uuid.UUID(reference))
    except (ValueError, Replica.DoesNotExist):
        raise Http404("No such replica.") from None
