"""Numbers as people type them: `8,192` is 8192. Pure."""

from __future__ import annotations

import re
from decimal import Decimal

MOST_READ = 10_000
_WHOLE, _DECIMAL = re.compile(r"-?\d+"), re.compile(r"-?\d*\.?\d+")


def number(text: str) -> int | float | str:
    """What is no number stays as it is."""
    plain = text.replace(",", "").replace(" ", "")
    if _WHOLE.fullmatch(plain) and len(plain) < 16:
        return int(plain)
    return float(plain) if _DECIMAL.fullmatch(plain) and len(plain) < 40 else text


def whole(text: str, lowest: int = 1) -> int | None:
    """A whole number from `lowest` to MOST_READ, else None: for figures beside a form, which do not judge."""
    value = number(text)
    return value if isinstance(value, int) and lowest <= value <= MOST_READ else None


def typed(value: float) -> str:
    """A number as it stands in a field: 8,192; 0.25. Reading it again gives the same."""
    if isinstance(value, int):
        return f"{value:,}"
    plain = format(Decimal(repr(value)), "f")
    return plain.removesuffix(".0")
