"""The pieces of pages that sockets push. Each is a template `_name.html` with one root element; its page includes it,
the socket pushes it with the same page data. Fragments hold no csrf token and no nonce."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.http import QueryDict
from django.template.loader import render_to_string
from django.utils import timezone

from console import access
from console.access import Actor
from console.components.gpu_inventory import GpuInventory
from console.deployments import detail, events, logs, settings
from console.deployments import list as deployment_list
from console.deployments.list_filters import DeploymentFilters
from console.deployments.page_context import page_context, read_state
from console.deployments.timeline import EventFilterForm, EventFilters
from console.live.shared_renders import Render, Rows
from deployments.states import DeploymentStatus as S

DIALOGS = ("terminate_effects",)
MOVING = (S.DEPLOYING, S.SCALING, S.ROLLING, S.TERMINATING)
SECONDS_MOVING, SECONDS_RUNNING, SECONDS_LIST, SECONDS_ENDED = 1.0, 2.0, 5.0, 15.0


@dataclass(frozen=True)
class PageAddress:
    """A page of a deployment: `page` is "" (detail), events, settings or logs; `kind` of events only. Only the newest
    events are live."""

    page: str = ""
    kind: str = ""

    @staticmethod
    def read(parameters: QueryDict) -> PageAddress:
        """An unknown page is the detail page."""
        match parameters.get("page", ""):
            case "events":
                return PageAddress("events", EventFilterForm(parameters).filters["kind"])
            case "settings" | "logs" as page:
                return PageAddress(page)
            case _:
                return PageAddress()


def render_deployment(actor: Actor, reference: str, address: PageAddress) -> Render:
    """All fragments of a page of a deployment as they are now. Raises Http404."""
    deployment = access.deployment(actor, reference)
    now = timezone.now()  # noqa: TID251 - the edge: a page as of now
    names: tuple[str, ...]
    match address.page:
        case "events":
            names = events.FRAGMENTS
            context = events.read_context(actor, deployment, now, EventFilters(address.kind))
        case "settings":
            names = settings.FRAGMENTS
            context = settings.read_context(actor, deployment, now, EventFilters())
        case "logs":
            names = logs.FRAGMENTS
            context = page_context(actor, read_state(deployment, now))
        case _:
            names = detail.FRAGMENTS
            context = detail.read_context(actor, deployment, now)
    context["pushed"] = True
    names += DIALOGS if context["may_deploy"] else ()
    fragments = _render_layout(GpuInventory(actor))
    fragments |= {name: render_to_string(f"deployments/_{name}.html", context) for name in names}
    state = context["state"]
    return Render(fragments, SECONDS_MOVING if state.is_moving else SECONDS_RUNNING if state.live else SECONDS_ENDED)


def render_deletion_notice(actor: Actor, deployment_id: UUID) -> str:
    """What every page of a deployment shows once it is deleted; empty where `actor` may not know of it."""
    deployment = access.deleted_deployment(actor, deployment_id)
    if deployment is None:
        return ""
    return render_to_string("deployments/_deleted.html", {"deployment": deployment, "pushed": True})


def render_list(actor: Actor, filters: DeploymentFilters) -> Render:
    """The list as it is now, whole and row by row."""
    page = deployment_list.read_list(actor, filters, timezone.now())  # noqa: TID251 - the edge: a page as of now
    context = {"page": page, "layout": page.layout, "pushed": True}
    fragments = _render_layout(page.layout.inventory)
    fragments["deployment_count"] = render_to_string("components/deployment_count.html", context)
    fragments |= {name: render_to_string(f"deployments/_{name}.html", context) for name in deployment_list.FRAGMENTS}
    rows = {
        f"row-{row.deployment.pk}": render_to_string("deployments/_deployment_row.html", {"row": row, "pushed": True})
        for row in page.rows
    }
    is_moving = any(row.deployment.status in MOVING for row in page.rows)
    order = f"{' '.join(rows)} {page.page_count} {page.is_empty} {page.matches > 0}"
    whole = Rows("list", order, render_to_string("deployments/_list.html", context), rows)
    return Render(fragments, SECONDS_MOVING if is_moving else SECONDS_LIST, whole)


def _render_layout(inventory: GpuInventory) -> dict[str, str]:
    """What changes in the layout around a page."""
    context = {"inventory": inventory, "pushed": True}
    return {"gpus_in_use": render_to_string("components/gpus_in_use.html", context)}


def collect_changes(render: Render, sent: dict[str, str]) -> str:
    """The HTML that brings a page from `sent` to `render`; updates `sent`. A list whose rows are the same in the same
    order is sent row by row, else whole."""
    parts = [html for name, html in render.fragments.items() if sent.get(name) != html]
    sent |= render.fragments
    if rows := render.rows:
        if sent.get(rows.name) != rows.order:
            parts.append(rows.whole)
        else:
            parts += [html for name, html in rows.each.items() if sent.get(name) != html]
        sent |= {rows.name: rows.order, **rows.each}
    return "".join(parts)
