"""The only way to an object: the access check is the lookup. What an actor may not see does not exist (404)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from importlib import import_module
from typing import TypeVar

from django.conf import settings
from django.contrib.auth import get_user
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest

from accounts.models import ApiKey, Organization, User
from accounts.queries import UsableKey, list_api_keys
from accounts.roles import Right, Role, get_rights
from deployments.models import Deployment, Replica

Row = TypeVar("Row")


@dataclass(frozen=True)
class Actor:
    """Who makes a request, and for which organizations: `roles` maps organization id → role. `scoped_to` narrows an API
    key to its organization (None: all of the person's organizations; for an operator, all there are)."""

    user: User
    roles: dict[uuid.UUID, Role]
    scoped_to: Organization | None = None

    @property
    def is_operator(self) -> bool:
        return self.user.is_operator

    def may(self, right: Right, organization_id: uuid.UUID) -> bool:
        return right in get_rights(self.roles.get(organization_id), is_operator=self.is_operator)


def actor_of(user: User, scoped_to: Organization | None = None) -> Actor:
    """The actor for a signed-in user, or for the API key of an operator in `scoped_to`. One query."""
    roles = {membership.organization_id: Role(membership.role) for membership in user.memberships.all()}
    return Actor(user, roles, scoped_to)


def actor_of_key(key: UsableKey) -> Actor:
    """The actor for the API key of a member, in the organization of the key. No query."""
    return Actor(key.user, {key.organization_id: Role(key.role)} if key.role else {}, key.organization)


def actor_of_session(session_key: str | None) -> Actor | None:
    """The actor that the session belongs to now: None once the session is over, the password changed or the person is
    inactive."""
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    user = get_user(request)
    return actor_of(user) if isinstance(user, User) and user.is_active else None


def rights_in(actor: Actor, deployment: Deployment) -> frozenset[Right]:
    return frozenset(right for right in Right if actor.may(right, deployment.organization_id))


def visible(actor: Actor, path: str = "organization_id") -> Q:
    """The condition that keeps what belongs to the actor's organizations; `path` names the organization column."""
    if actor.is_operator:
        return Q(**{path: actor.scoped_to.id}) if actor.scoped_to else Q()
    return Q(**{f"{path}__in": list(actor.roles)})


def visible_usage(actor: Actor, group_by: str) -> Q:
    """The condition that keeps the usage of the actor's organizations. By key and by user, people see what they called
    themselves, and everything in the organizations whose keys they manage."""
    condition = visible(actor)
    if group_by in ("api_key", "user") and not actor.is_operator:
        managed = organization_ids(actor, Right.MANAGE_ORGANIZATION_KEYS)
        condition &= Q(user_id=actor.user.pk) | Q(organization_id__in=managed)
    return condition


def may_somewhere(actor: Actor, right: Right) -> bool:
    """Whether the actor has the right in any organization."""
    return actor.is_operator or any(actor.may(right, organization_id) for organization_id in actor.roles)


def organization_ids(actor: Actor, right: Right) -> list[uuid.UUID]:
    """The organizations of the actor's memberships in which the actor has the right."""
    return [organization_id for organization_id in actor.roles if actor.may(right, organization_id)]


def organizations(actor: Actor) -> QuerySet[Organization]:
    return Organization.objects.filter(visible(actor, "pk")).order_by("name")


def organization(actor: Actor, reference: str) -> Organization:
    """By id or slug; raises Http404."""
    try:
        condition = Q(pk=uuid.UUID(reference))
    except ValueError:
        condition = Q(slug=reference)
    found = organizations(actor).filter(condition).first()
    if found is None:
        raise Http404("No such organization.")
    return found


def api_keys(actor: Actor) -> QuerySet[ApiKey]:
    """Keys that people made: a person's own, and all of the organizations where the person manages keys."""
    managed = organization_ids(actor, Right.MANAGE_ORGANIZATION_KEYS)
    condition = Q() if actor.is_operator else Q(user=actor.user) | Q(organization_id__in=managed)
    return list_api_keys().filter(visible(actor), condition)


def deployments(actor: Actor) -> QuerySet[Deployment]:
    """With what most pages need. One more join, and PostgreSQL takes longer to plan the query than to execute it."""
    return Deployment.objects.filter(visible(actor), deleted_at=None).select_related(
        "organization", "endpoint__cluster", "gpu_type", "revision"
    )


def referenced_deployments(actor: Actor, reference: str) -> QuerySet[Deployment]:
    """The deployment with this id, or those with this name: as many as the actor's organizations."""
    try:
        condition = Q(id=uuid.UUID(reference))
    except ValueError:
        condition = Q(name=reference)
    return deployments(actor).filter(condition)


def find_only(rows: QuerySet[Deployment, Row]) -> Row:
    """The only one of `rows`; raises Http404 if there are none or several."""
    found = list(rows[:2])
    if len(found) != 1:
        raise Http404("No such deployment.")
    return found[0]


def deployment(actor: Actor, reference: str) -> Deployment:
    """By id, or by name where that names exactly one; raises Http404."""
    return find_only(referenced_deployments(actor, reference))


def deployment_to_change(actor: Actor, reference: str) -> Deployment:
    """As `deployment`; raises PermissionDenied if the actor may see it, but not change it."""
    found = deployment(actor, reference)
    if not actor.may(Right.DEPLOY, found.organization_id):
        raise PermissionDenied("Your role can view deployments but not change them. Ask an admin of the organization.")
    return found


def deleted_deployment(actor: Actor, deployment_id: uuid.UUID) -> Deployment | None:
    """One that the actor could see until it was deleted."""
    return Deployment.objects.filter(visible(actor), id=deployment_id).exclude(deleted_at=None).first()


def replica_to_declare_gone(actor: Actor, deployment: Deployment, reference: str) -> Replica:
    """As `replica`; raises PermissionDenied unless the actor is an operator."""
    found = replica(actor, deployment, reference)
    if not actor.may(Right.DECLARE_REPLICAS_GONE, deployment.organization_id):
        raise PermissionDenied("Only operators declare replicas gone: they can look at the machine.")
    return found


def replica(actor: Actor, deployment: Deployment, reference: str) -> Replica:
    try:
        return deployment.replicas.get(visible(actor), id=uuid.UUID(reference))
    except (ValueError, Replica.DoesNotExist):
        raise Http404("No such replica.") from None
