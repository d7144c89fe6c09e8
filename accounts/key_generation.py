"""Generation of API keys. Pure; `gateway.contract` defines their format and checksum."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.contract import KEY_ALPHABET, KEY_PREFIX, key_checksum

DISPLAY_PREFIX_CHARACTERS = 9


def generate_secret(choose: Callable[[Sequence[str]], str]) -> str:
    """Return a new secret. `choose` returns a random element of a sequence: `secrets.choice` outside tests."""
    body = KEY_PREFIX + "".join(choose(KEY_ALPHABET) for _ in range(30))
    return body + key_checksum(body)


def get_display_prefix(secret: str) -> str:
    """Return the first characters of a secret, which are stored and displayed to identify the key."""
    return secret[:DISPLAY_PREFIX_CHARACTERS]
