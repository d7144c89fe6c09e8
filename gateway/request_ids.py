"""Request ids: a UUIDv7 of the time of admission, sent to clients as `req_` followed by its 32 hex digits. Pure."""

from __future__ import annotations

PUBLIC_PREFIX = "req_"


def build_uuid7(milliseconds: int, tail: str) -> str:
    """Build the UUIDv7 of a time in milliseconds since the epoch; `tail` comes from `build_random_tail`."""
    timestamp = f"{milliseconds:012x}"
    return f"{timestamp[:8]}-{timestamp[8:]}-{tail}"


def build_random_tail(entropy: bytes) -> str:
    """Build the part of a UUIDv7 after the time (version, variant, 74 random bits) from ten random bytes."""
    digits = entropy.hex()
    variant = "89ab"[entropy[2] % 4]
    return f"7{digits[:3]}-{variant}{digits[5:8]}-{digits[8:20]}"


def format_public_id(request_id: str) -> str:
    """Format a request id as the value of the header `x-request-id`."""
    return PUBLIC_PREFIX + request_id.replace("-", "")
