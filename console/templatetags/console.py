"""Template filters and tags of the console, built in on every page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django import template
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

from console.pages import figures

register = template.Library()

STATUS_WORDS = {
    "PENDING": "Pending",
    "DEPLOYING": "Deploying",
    "RUNNING": "Running",
    "SCALING": "Scaling",
    "ROLLING": "Rolling",
    "SLEEPING": "Sleeping",
    "FAILED": "Failed",
    "TERMINATING": "Terminating",
    "TERMINATED": "Terminated",
}


@register.simple_tag
def icon(name: str, inline: bool = False) -> SafeString:
    """An icon of icons.svg beside a word; hidden from screen readers."""
    kind = "icon inline" if inline else "icon"
    address = static("icons.svg")
    return format_html('<svg class="{}" aria-hidden="true"><use href="{}#{}"/></svg>', kind, address, name)


@register.simple_tag
def status(value: str, stated: bool = False) -> SafeString:
    """A deployment's status as icon and word; `stated` gives it a ground (page headers)."""
    return format_html(
        '<span class="status{}" data-status="{}">{}{}</span>',
        " stated" if stated else "",
        value,
        icon(f"status-{value.lower()}"),
        STATUS_WORDS.get(value, value),
    )


@register.simple_tag
def problems(errors: Any, field_id: str) -> SafeString:
    """What is wrong with a field, named so that the field's `aria-describedby` can point at it; empty when nothing."""
    if not errors:
        return SafeString("")
    text = " ".join(str(error) for error in errors)
    sign = icon("warning")
    return format_html('<p class="problem" id="{}-problem">{}<span>{}</span></p>', field_id, sign, text)


@register.filter
def gib(size: int) -> str:
    """Bytes in GiB, one decimal, without the unit."""
    return figures.gib(size)


@register.filter
def parameters(count: int | None) -> str:
    """8.03 B, 494 M."""
    if count is None:
        return "–"
    return f"{count / 1e9:,.3g} B" if count >= 999.5e6 else f"{count / 1e6:,.0f} M"


@register.filter
def utc(at: datetime | None) -> SafeString | str:
    """A moment as `<time>`: 12 Nov 2026, 08:11; an en dash for None. The page says once that times are UTC."""
    if at is None:
        return "–"
    at = at.astimezone(UTC)
    return format_html('<time datetime="{}">{}</time>', at.isoformat(timespec="seconds"), f"{at.day} {at:%b %Y, %H:%M}")
