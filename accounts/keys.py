"""New API keys, and the part of one that may be shown again. Pure; gateway.contract holds the form."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.contract import KEY_ALPHABET, KEY_PREFIX, key_checksum

SHOWN_CHARACTERS = 9


def make(choose: Callable[[Sequence[str]], str]) -> str:
    """A new secret; `choose` picks one element at random (`secrets.choice` outside tests)."""
    body = KEY_PREFIX + "".join(choose(KEY_ALPHABET) for _ in range(30))
    return body + key_checksum(body)


def shown(secret: str) -> str:
    """The part that may be shown again: the first characters."""
    return secret[:SHOWN_CHARACTERS]
