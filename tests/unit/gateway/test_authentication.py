"""Authentication: which Authorization headers and query strings identify a usable key."""

import pytest

from gateway import contract
from gateway.authentication import authorize, identify
from gateway.contract import KeyRecord
from gateway.openai_errors import ErrorResponse

NOW = 1000.0


def build_secret(letter: str) -> str:
    body = contract.KEY_PREFIX + letter * 30
    return body + contract.key_checksum(body)


def build_key(**changes: object) -> KeyRecord:
    return KeyRecord(**{"key_id": "k", "organization_id": "o", "organization_slug": "acme", "user_id": "u",
                        "scopes": ["inference"], **changes})  # fmt: skip


def authenticate(
    authorization: str | None, query: str, keys: dict[str, KeyRecord], now: float
) -> KeyRecord | ErrorResponse:
    name = identify(authorization, query, lambda name: False)
    return name if isinstance(name, ErrorResponse) else authorize(keys.get(name), now)


GOOD, OLD, READ = build_secret("a"), build_secret("b"), build_secret("c")
KEYS = {
    contract.key_hash(GOOD): build_key(expires_at=NOW + 1),
    contract.key_hash(OLD): build_key(expires_at=NOW),
    contract.key_hash(READ): build_key(scopes=["read"]),
}
REQUESTS = {
    "good": (f"Bearer {GOOD}", "", None),
    "scheme in lower case": (f"bearer  {GOOD} ", "", None),
    "harmless query": (f"Bearer {GOOD}", "limit=5", None),
    "no header": (None, "", 401),
    "empty": ("Bearer ", "", 401),
    "basic": (f"Basic {GOOD}", "", 401),
    "unknown": (f"Bearer {build_secret('z')}", "", 401),
    "expired this moment": (f"Bearer {OLD}", "", 401),
    "wrong checksum": (f"Bearer {GOOD[:-1]}_", "", 401),
    "another product's": ("Bearer sk-123", "", 401),
    "scope": (f"Bearer {READ}", "", 403),
    "key in the query too": (f"Bearer {GOOD}", f"x={GOOD}", 401),
    "parameter for a key": (f"Bearer {GOOD}", "API_KEY=", 401),
}


@pytest.mark.parametrize(("header", "query", "status"), REQUESTS.values(), ids=REQUESTS.keys())
def test_only_usable_keys_are_authenticated(header, query, status):
    result = authenticate(header, query, KEYS, NOW)
    assert (result.status if isinstance(result, ErrorResponse) else None) == status
    if isinstance(result, ErrorResponse):
        assert GOOD.encode() not in result.body()
        assert ("www-authenticate" in result.headers()) == (status == 401)


def test_a_key_with_a_wrong_checksum_is_refused_without_a_lookup():
    broken = "mc_" + "a" * 36
    assert isinstance(
        authenticate(f"Bearer {broken}", "", {contract.key_hash(broken): build_key()}, NOW), ErrorResponse
    )
