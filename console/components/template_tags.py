"""Template tags and filters, built in: every template has them without `{% load %}`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django import template
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

from console.components import formats

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
    """The errors of a field, with the id that the field's `aria-describedby` points at; empty without errors."""
    if not errors:
        return SafeString("")
    text = " ".join(str(error) for error in errors)
    sign = icon("warning")
    return format_html('<p class="problem" id="{}-problem">{}<span>{}</span></p>', field_id, sign, text)


register.filter("gb", formats.format_gb)
register.filter("parameters", formats.format_parameters)


@register.filter
def utc(at: datetime | None) -> SafeString | str:
    """A moment as `<time>`: 12 Nov 2026, 08:11; an en dash for None. The page says once that times are UTC."""
    if at is None:
        return "–"
    at = at.astimezone(UTC)
    return format_html('<time datetime="{}">{}</time>', at.isoformat(timespec="seconds"), f"{at.day} {at:%b %Y, %H:%M}")
