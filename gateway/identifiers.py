"""Request ids: a UUIDv7 of the moment of admission, shown to callers as `req_` and its 32 hexadecimal digits. Pure."""

from __future__ import annotations

PREFIX = "req_"


def uuid7(milliseconds: int, tail: str) -> str:
    """The UUID of that moment with `tail` from `random_tail`."""
    stamp = f"{milliseconds:012x}"
    return f"{stamp[:8]}-{stamp[8:]}-{tail}"


def random_tail(entropy: bytes) -> str:
    """What stands behind the time in a UUIDv7 (version, variant, 74 random bits) from ten random bytes."""
    digits = entropy.hex()
    variant = "89ab"[entropy[2] % 4]
    return f"7{digits[:3]}-{variant}{digits[5:8]}-{digits[8:20]}"


def public(request_id: str) -> str:
    """The value of `x-request-id` for a request id."""
    return PREFIX + request_id.replace("-", "")
