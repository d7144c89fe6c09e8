"""Numbers as people type them and as fields show them: `8,192` is 8192. Pure."""

from __future__ import annotations

import re
from decimal import Decimal

MAX_READ = 10_000
_WHOLE, _DECIMAL = re.compile(r"-?\d+"), re.compile(r"-?\d*\.?\d+")


def read_number(text: str) -> int | float | str:
    """The number that was typed; text that is none comes back as it is."""
    plain = text.replace(",", "").replace(" ", "")
    if _WHOLE.fullmatch(plain) and len(plain) < 16:
        return int(plain)
    return float(plain) if _DECIMAL.fullmatch(plain) and len(plain) < 40 else text


def read_whole(text: str, lowest: int = 1) -> int | None:
    """A whole number from `lowest` to MAX_READ, else None: for figures beside a form, which report no errors."""
    value = read_number(text)
    return value if isinstance(value, int) and lowest <= value <= MAX_READ else None


def write_number(value: float) -> str:
    """A number as a field shows it: 8,192; 0.25. Reading it again gives the same number."""
    if isinstance(value, int):
        return f"{value:,}"
    return format(Decimal(repr(value)), "f").removesuffix(".0")
