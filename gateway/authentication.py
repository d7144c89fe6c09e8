"""Authentication: from the Authorization header to the hash of an API key, and whether its record may call. Pure.

A request with a key in its URL is refused, because proxies and logs store URLs. A key with a wrong checksum is refused
without a lookup.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qsl

from gateway import openai_errors
from gateway.contract import KEY_PREFIX, KeyRecord, is_well_formed_key, key_hash
from gateway.openai_errors import ErrorResponse

SCOPE = "inference"
KEY_PARAMETERS = {"api_key", "api-key", "apikey", "access_token", "authorization", "key", "token"}


def identify(authorization: str | None, query: str, is_known: Callable[[str], bool]) -> str | ErrorResponse:
    """Return the hash of the key that a request carries; `authorization` is the header's value, `query` the raw query
    string. The checksum is not computed for a key whose hash `is_known`."""
    if query and _has_key_in_query(query):
        return openai_errors.invalid_api_key(
            "An API key must not be part of the URL. Revoke it, and send the new one in the Authorization header."
        )
    scheme, _, secret = (authorization or "").strip().partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret:
        return openai_errors.invalid_api_key("No API key was sent. Add the header `Authorization: Bearer mc_…`.")
    name = key_hash(secret)
    return name if is_known(name) or is_well_formed_key(secret) else _build_unknown_key()


def authorize(record: KeyRecord | None, now: float) -> KeyRecord | ErrorResponse:
    """Check the key with the hash of a request, None if there is none; `now` is in seconds since the epoch."""
    if record is None or (record.expires_at is not None and record.expires_at <= now):
        return _build_unknown_key()
    if SCOPE not in record.scopes:
        return openai_errors.permission_denied(
            f"This API key lacks the scope `{SCOPE}`. Use or create a key that has it."
        )
    return record


def _build_unknown_key() -> ErrorResponse:
    # Clients such as litellm recognise the error by the beginning of the message.
    return openai_errors.invalid_api_key(
        "Incorrect API key provided: it is unknown, expired or revoked. Create a new one in the console."
    )


def _has_key_in_query(query: str) -> bool:
    parameters = parse_qsl(query, keep_blank_values=True)
    return any(name.lower() in KEY_PARAMETERS or value.startswith(KEY_PREFIX) for name, value in parameters)
