"""Template tags and filters, built in: every template has them without `{% load %}`."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from html import escape
from typing import Any

from django import template
from django.template.base import FilterExpression, Node, NodeList, Parser, TextNode, Token
from django.template.context import Context
from django.template.defaulttags import URLNode, url
from django.template.exceptions import TemplateSyntaxError
from django.templatetags.static import static
from django.urls import reverse
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString

from console.components import formats
from deployments.messages import Text, describe_reason

register = template.Library()
NO_ID = uuid.UUID(int=0)

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


@register.filter
def message(stored: Mapping[str, Any] | None) -> Text | None:
    """What the catalogue says for a stored reason or cause."""
    return describe_reason(stored) if stored else None


@cache
def icon(name: str, inline: bool = False) -> SafeString:
    """An icon of icons.svg beside a word; hidden from screen readers."""
    kind = "icon inline" if inline else "icon"
    address = static("icons.svg")
    return format_html('<svg class="{}" aria-hidden="true"><use href="{}#{}"/></svg>', kind, address, name)


class IconNode(Node):
    def __init__(self, name: FilterExpression, inline: bool) -> None:
        self.name, self.inline = name, inline

    def render(self, context: Context) -> SafeString:
        return icon(self.name.resolve(context), self.inline)


@register.tag("icon")
def compile_icon(parser: Parser, token: Token) -> Node:
    """`{% icon "menu" %}` or `{% icon row.icon %}`, with `inline=True` within a line of text. A page has hundreds: one
    whose name is written in the template is rendered when the template is compiled."""
    match token.split_contents():
        case [_, name]:
            return _make_icon_node(parser.compile_filter(name), inline=False)
        case [_, name, "inline=True"]:
            return _make_icon_node(parser.compile_filter(name), inline=True)
        case _:
            raise TemplateSyntaxError("{% icon %} takes the name of an icon and optionally inline=True.")


def _make_icon_node(name: FilterExpression, *, inline: bool) -> Node:
    return IconNode(name, inline) if name.is_var else TextNode(icon(name.var, inline))


class AddressNode(Node):
    """The address of a view that takes no argument or one UUID, resolved once; Django's tag does it for every link."""

    def __init__(self, view_name: str, arg: FilterExpression | None) -> None:
        self.view_name, self.arg = view_name, arg

    def render(self, context: Context) -> str:
        if self.arg is None:
            return find_address(self.view_name)
        value = self.arg.resolve(context)
        if not isinstance(value, uuid.UUID):
            return conditional_escape(reverse(self.view_name, args=[value]))
        before, after = split_address(self.view_name)
        return f"{before}{value}{after}"


@cache
def find_address(view_name: str) -> str:
    return reverse(view_name)


@cache
def split_address(view_name: str) -> tuple[str, str]:
    """What comes before and after the UUID in the address of a view."""
    before, _, after = reverse(view_name, args=[NO_ID]).partition(str(NO_ID))
    return before, after


@register.tag("url")
def compile_url(parser: Parser, token: Token) -> Node:
    """Django's `{% url %}`, faster for what the console's pages mostly link to."""
    node: URLNode = url(parser, token)
    name = node.view_name
    is_simple = len(node.args) <= 1 and not node.kwargs and not node.asvar and not name.is_var and ":" not in name.var
    return AddressNode(name.var, next(iter(node.args), None)) if is_simple else node


class RepeatedNode(Node):
    """While the pattern of a kind is rendered, a marker stands for each value: a UUID, of whose 12 last digits no
    page has another."""

    MARKER = re.compile("00000000-0000-0000-0000-([0-9]{12})")

    def __init__(self, kind: FilterExpression, values: FilterExpression, nodes: NodeList) -> None:
        self.kind, self.values, self.nodelist = kind, values, nodes

    def render(self, context: Context) -> SafeString:
        patterns: dict[Any, list[str]] = context.render_context.dicts[0].setdefault(self, {})  # type: ignore[arg-type, assignment]
        kind, values = self.kind.resolve(context), self.values.resolve(context)
        if kind not in patterns:
            patterns[kind] = self._render_pattern(context, values)
        # As Django's `conditional_escape`, which asks each text first whether it is a lazy translation.
        texts = [value if isinstance(value, SafeString) else escape(str(value)) for value in values.values()]
        parts = [texts[int(part)] if place % 2 else part for place, part in enumerate(patterns[kind])]
        return SafeString("".join(parts))

    def _render_pattern(self, context: Context, values: Mapping[str, Any]) -> list[str]:
        """Alternately a text and the place of a value."""
        markers = {name: uuid.UUID(f"{place:032}") for place, name in enumerate(values)}
        with context.push(**markers):
            return self.MARKER.split(self.nodelist.render(context))


@register.tag("repeated")
def compile_repeated(parser: Parser, token: Token) -> Node:
    """`{% repeated row.kind row.values %}…{{ name }}…{% endrepeated %}` for rows of a table that differ by the mapping
    `values` alone where `kind` is the same: the content is rendered once a page for each kind. In it, a value can only
    be written or, where it is a UUID, be the argument of `{% url %}`: no other tag and no filter sees it."""
    _, kind, values = token.split_contents()
    nodes = parser.parse(("endrepeated",))
    parser.delete_first_token()
    return RepeatedNode(parser.compile_filter(kind), parser.compile_filter(values), nodes)


@register.filter
def quiet_zero(count: int) -> SafeString:
    """A count with commas, and a quiet 0."""
    return SafeString(f"{count:,}" if count else '<span class="quiet">0</span>')


@register.simple_tag
@cache
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
def day_and_time(at: datetime) -> SafeString:
    """A moment as two lines, each a `<time>`: 12 Nov, 08:11."""
    at = at.astimezone(UTC)
    return format_html(
        '<time datetime="{0}">{1}</time><time class="sub" datetime="{0}">{2}</time>',
        at.isoformat(),
        f"{at.day} {at:%b}",
        f"{at:%H:%M}",
    )


@register.filter
def utc(at: datetime | None) -> SafeString | str:
    """A moment as `<time>`: 12 Nov 2026, 08:11; an en dash for None. The page says once that times are UTC."""
    if at is None:
        return "–"
    at = at.astimezone(UTC)
    return format_html('<time datetime="{}">{}</time>', at.isoformat(timespec="seconds"), f"{at.day} {at:%b %Y, %H:%M}")
