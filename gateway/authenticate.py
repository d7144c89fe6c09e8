"""Who calls: from an Authorization header to a key record, or the refusal. Pure.

A secret is never read from the URL, where proxies and logs would keep it, and one with a wrong checksum is refused
without a look-up.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl

from gateway import openai
from gateway.contract import KEY_PREFIX, KeyRecord, is_well_formed_key, key_hash
from gateway.openai import Refusal

SCOPE = "inference"
QUERY_NAMES = {"api_key", "api-key", "apikey", "access_token", "authorization", "key", "token"}


def authenticate(
    authorization: str | None, query: str, keys: Mapping[str, KeyRecord], now: float
) -> KeyRecord | Refusal:
    """The usable key that a request carries. `keys` maps key hash → record; `now` in seconds since the epoch."""
    if _key_in_query(query):
        return openai.unauthenticated(
            "An API key must not be part of the URL. Revoke it, and send the new one in the Authorization header."
        )
    secret = _bearer(authorization)
    if secret is None:
        return openai.unauthenticated("No API key was sent. Add the header `Authorization: Bearer mc_…`.")
    record = keys.get(key_hash(secret)) if is_well_formed_key(secret) else None
    if record is None or (record.expires_at is not None and record.expires_at <= now):
        return openai.unauthenticated("The API key is unknown, expired or revoked. Create a new one in the console.")
    if SCOPE not in record.scopes:
        return openai.forbidden(f"This API key lacks the scope `{SCOPE}`. Use or create a key that has it.")
    return record


def _bearer(authorization: str | None) -> str | None:
    scheme, _, secret = (authorization or "").strip().partition(" ")
    return secret.strip() or None if scheme.lower() == "bearer" else None


def _key_in_query(query: str) -> bool:
    pairs = parse_qsl(query, keep_blank_values=True)
    return any(name.lower() in QUERY_NAMES or value.startswith(KEY_PREFIX) for name, value in pairs)
