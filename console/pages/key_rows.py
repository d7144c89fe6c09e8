"""API keys as lines of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from accounts.models import ApiKey
from console import access
from console.access import Actor
from console.components.formats import format_short_moment
from deployments.models import Deployment


@dataclass(frozen=True)
class KeyRow:
    """One key. `reach` says what it may call, `state` is "", "expired" or "revoked"."""

    key: ApiKey
    reach: str
    state: str
    expiry: str

    @property
    def has_ended(self) -> bool:
        return bool(self.state)

    @property
    def scopes(self) -> str:
        return ", ".join(self.key.scopes)


def key_rows(actor: Actor, now: datetime) -> list[KeyRow]:
    """Two queries; usable keys first, then newest first."""
    keys = list(access.api_keys(actor))
    wanted = {one for key in keys for one in key.deployments or []}
    names = dict(Deployment.objects.filter(access.visible(actor), pk__in=wanted).values_list("pk", "name"))
    rows = [KeyRow(key, _reach(key, names), _state(key, now), _expiry(key, now)) for key in keys]
    return sorted(rows, key=lambda row: row.has_ended)


def _reach(key: ApiKey, names: Mapping[UUID, str]) -> str:
    if key.deployments is None:
        return "all deployments"
    return ", ".join(sorted(names[one] for one in key.deployments if one in names)) or "only deleted ones"


def _state(key: ApiKey, now: datetime) -> str:
    if key.revoked_at:
        return "revoked"
    return "expired" if key.expires_at and key.expires_at <= now else ""


def _expiry(key: ApiKey, now: datetime) -> str:
    """Why it ended, or when it will."""
    if key.revoked_at:
        return f"revoked {format_short_moment(key.revoked_at, now)}"
    if key.expires_at is None:
        return "never expires"
    return f"{'expired' if key.expires_at <= now else 'expires'} {format_short_moment(key.expires_at, now)}"
