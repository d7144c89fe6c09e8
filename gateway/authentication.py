"""Authentication: from the Authorization header to the record of a usable API key, or an error response. Pure.

A request with a key in its URL is refused, because proxies and logs store URLs. A key with a wrong checksum is refused
without a lookup.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl

from gateway import openai_errors
from gateway.contract import KEY_PREFIX, KeyRecord, is_well_formed_key, key_hash
from gateway.openai_errors import ErrorResponse

SCOPE = "inference"
KEY_PARAMETERS = {"api_key", "api-key", "apikey", "access_token", "authorization", "key", "token"}


def authenticate(
    authorization: str | None, query: str, keys: Mapping[str, KeyRecord], now: float
) -> KeyRecord | ErrorResponse:
    """Find the usable key of a request.

    `authorization` is the header's value, `query` the raw query string, `keys` maps key hash → record, `now` is in
    seconds since the epoch.
    """
    if _has_key_in_query(query):
        return openai_errors.invalid_api_key(
            "An API key must not be part of the URL. Revoke it, and send the new one in the Authorization header."
        )
    scheme, _, secret = (authorization or "").strip().partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret:
        return openai_errors.invalid_api_key("No API key was sent. Add the header `Authorization: Bearer mc_…`.")
    record = keys.get(key_hash(secret)) if is_well_formed_key(secret) else None
    if record is None or (record.expires_at is not None and record.expires_at <= now):
        return openai_errors.invalid_api_key(
            "The API key is unknown, expired or revoked. Create a new one in the console."
        )
    if SCOPE not in record.scopes:
        return openai_errors.permission_denied(
            f"This API key lacks the scope `{SCOPE}`. Use or create a key that has it."
        )
    return record


def _has_key_in_query(query: str) -> bool:
    parameters = parse_qsl(query, keep_blank_values=True)
    return any(name.lower() in KEY_PARAMETERS or value.startswith(KEY_PREFIX) for name, value in parameters)
