"""Numbers as people type them: `8,192` is 8192. Pure."""

from __future__ import annotations

import re
from decimal import Decimal

MAX_WHOLE = 10_000
_WHOLE, _DECIMAL = re.compile(r"-?\d+"), re.compile(r"-?\d*\.?\d+")


def parse_number(text: str) -> int | float | str:
    """The number, or the text itself where it is none."""
    plain = text.replace(",", "").replace(" ", "")
    if _WHOLE.fullmatch(plain) and len(plain) < 16:
        return int(plain)
    return float(plain) if _DECIMAL.fullmatch(plain) and len(plain) < 40 else text


def parse_whole(text: str, lowest: int = 1) -> int | None:
    """A whole number from `lowest` to MAX_WHOLE, else None."""
    value = parse_number(text)
    return value if isinstance(value, int) and lowest <= value <= MAX_WHOLE else None


def format_typed(value: float) -> str:
    """A number as a field shows it: 8,192; 0.25. `parse_number` reads it back unchanged."""
    if isinstance(value, int):
        return f"{value:,}"
    plain = format(Decimal(repr(value)), "f")
    return plain.removesuffix(".0")
