"""API keys: listed without their secret, made with it, revoked."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from accounts import services
from accounts.models import ApiKey
from accounts.roles import Right, Scope
from console import access
from console.api import deployments, pages, problems
from console.api.operations import Answer, Call, utc
from console.api.parameters import moment
from deployments.fields import Fields

LONGEST_NAME, MOST_DEPLOYMENTS = 120, 100
SCOPES = tuple(scope.value for scope in Scope)


def listed(call: Call) -> Answer:
    page = pages.read(access.api_keys(call.caller.actor), pages.NEWEST, call.query)
    return Answer(200, page.of([_key(row) for row in page.rows]))


def create(call: Call) -> Answer:
    call.caller.require(Right.MANAGE_OWN_KEYS, "make API keys")
    fields = Fields(call.body)
    if not fields.is_object:
        raise problems.invalid(fields.errors)
    name, scopes, expires_at = _name(fields), _scopes(fields, call), _expires_at(fields)
    names = fields.texts("deployments", most=MOST_DEPLOYMENTS, longest=63)
    fields.finish()
    if fields.errors:
        raise problems.invalid(fields.errors)
    key, secret = services.create_key(
        organization=call.caller.organization,
        user=call.caller.user,
        name=name,
        scopes=scopes,
        expires_at=expires_at,
        deployments=_ids(call, names),
        now=call.now,
    )
    return Answer(201, {**_key(key), "secret": secret})


def revoked(call: Call) -> Answer:
    rows = access.api_keys(call.caller.actor)
    try:
        key = rows.get(pk=uuid.UUID(call.path["id"]))
    except (ValueError, ApiKey.DoesNotExist):
        raise problems.missing("API key") from None
    services.revoke_key(key, call.now)
    return Answer(204)


def _name(fields: Fields) -> str:
    if not fields.has("name"):
        fields.refuse("name", "required", "Give the key a name that says what uses it.")
    name = fields.text("name", longest=LONGEST_NAME)
    if name is not None and not name.strip():
        fields.refuse("name", "required", "Give the key a name that says what uses it.")
    return name or ""


def _scopes(fields: Fields, call: Call) -> list[str]:
    wrong = len(fields.errors)
    scopes = fields.texts("scopes", most=len(SCOPES), longest=16) or []
    if not scopes and len(fields.errors) == wrong:
        fields.refuse("scopes", "required", f"Send at least one of: {', '.join(SCOPES)}.")
    for index, scope in enumerate(scopes):
        if scope not in SCOPES:
            fields.refuse(f"scopes.{index}", "unknown_value", f"Send one of: {', '.join(SCOPES)}.")
        elif scope == Scope.INFERENCE and not call.caller.may(Right.CALL):
            fields.refuse(f"scopes.{index}", "not_allowed", "Your role does not allow you to call models.")
    return sorted(set(scopes), key=scopes.index)


def _expires_at(fields: Fields) -> datetime | None:
    """A time that has passed is taken too: the key is refused from the start."""
    if fields.is_null("expires_at"):
        return None
    text = fields.text("expires_at", longest=64)
    if text is None:
        return None
    try:
        return moment(text)
    except ValueError as error:
        fields.refuse("expires_at", "invalid_time", str(error))
        return None


def _ids(call: Call, names: Sequence[str] | None) -> list[uuid.UUID] | None:
    if names is None:
        return None
    return list(dict.fromkeys(one.pk for one in deployments.references(call.caller, names)))


def _key(row: ApiKey) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "organization": row.organization.slug,
        "user": row.user.email,
        "name": row.name,
        "prefix": row.prefix,
        "scopes": row.scopes,
        "deployments": None if row.deployments is None else [str(one) for one in row.deployments],
        "created_at": utc(row.created_at),
        "expires_at": utc(row.expires_at),
        "last_used_at": utc(row.last_used_at),
        "revoked_at": utc(row.revoked_at),
    }
