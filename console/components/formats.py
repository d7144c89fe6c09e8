"""Numbers, sizes, durations and times as text. Sizes are in GB, 10⁹ bytes, as vendors give the memory of GPUs; times
are UTC. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

GB = 10**9


def format_elapsed(seconds: float) -> str:
    """4:12, and over an hour 3 h 20 min."""
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes}:{rest:02}"


def format_duration(seconds: float) -> str:
    """In the largest unit or two: 12 s, 4 min, 3 h 20 min, 2 d 4 h."""
    whole = int(max(0.0, seconds))
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60:02} min"
    return f"{minutes} min" if minutes else f"{whole} s"


def format_moment(at: datetime, now: datetime) -> str:
    """14:01:21 for today, 12 Nov 08:11 for other days, with the year when it is not this one."""
    at, now = at.astimezone(UTC), now.astimezone(UTC)
    if at.date() == now.date():
        return f"{at:%H:%M:%S}"
    year = f" {at.year}" if at.year != now.year else ""
    return f"{at.day} {at:%b}{year} {at:%H:%M}"


def format_gb(size: float) -> str:
    """Bytes in GB, one decimal, without the unit."""
    return f"{size / GB:,.1f}"


def format_parameters(count: int | None) -> str:
    """The size of a model: 8.03 B, 494 M."""
    if count is None:
        return "–"
    return f"{count / 1e9:,.3g} B" if count >= 999.5e6 else f"{count / 1e6:,.0f} M"


def format_count(number: int, noun: str) -> str:
    """1 replica, 2 replicas, 0 replicas."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def join_words(words: list[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def format_ranges(numbers: Iterable[int]) -> str:
    """0–3, 6 and 8."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1].append(number)
        else:
            ranges.append([number])
    return join_words([str(found[0]) if len(found) == 1 else f"{found[0]}–{found[-1]}" for found in ranges])


def shorten_gpu_title(title: str, memory_gb: int) -> str:
    """The product without its memory, which is shown beside it."""
    return title.removesuffix(f" {memory_gb} GB").removesuffix(f" {memory_gb}GB")
