"""The pieces of pages that sockets push. Each is a template `_name.html` with one root element whose id is its name;
the page includes it, the socket pushes it: one source for each piece of the screen. No csrf token, no nonce."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import QueryDict
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from accounts.roles import Right
from console import access
from console.access import Actor
from console.components.deployment_header import make_header
from console.components.gpu_inventory import GpuInventory
from console.live.feeds import Picture, Rows
from console.pages.configuration import configuration, engine
from console.pages.filters import Filters
from console.pages.listing import DeploymentList
from console.pages.now import now as describe
from console.pages.overview import Overview
from console.pages.revisions import revision_rows
from console.pages.timeline import Wanted, change_log, event_page
from deployments.models import Deployment
from deployments.states import DeploymentStatus as S

PAGES = {
    "": ("header", "now", "readouts", "starting", "replicas", "timeline", "engine"),
    "events": ("header", "events"),
    "settings": ("header", "revisions", "changes", "configuration"),
}
DIALOGS = ("effects",)
DEPLOYMENTS = ("summary", "groups", "pages")
MOVING = (S.DEPLOYING, S.SCALING, S.ROLLING, S.TERMINATING)
SECONDS_MOVING, SECONDS_RUNNING, SECONDS_LIST, SECONDS_ENDED = 1.0, 2.0, 5.0, 15.0


@dataclass(frozen=True)
class Place:
    """Which page of a deployment, and on the page of events their kind: only newest events are live."""

    page: str = ""
    kind: str = ""

    @staticmethod
    def read(parameters: QueryDict) -> Place:
        page, wanted = parameters.get("page", ""), Wanted.read(parameters)
        return Place(page, wanted.group if page == "events" else "") if page in PAGES else Place()


def rights_in(actor: Actor, deployment: Deployment) -> frozenset[Right]:
    return frozenset(right for right in Right if actor.may(right, deployment.organization_id))


def deployment_context(actor: Actor, deployment: Deployment, overview: Overview) -> dict[str, Any]:
    """What the fragments of a deployment's page are rendered with; what takes reading is read when it is shown."""
    rights = rights_in(actor, deployment)
    may_deploy = Right.DEPLOY in rights
    return {
        "deployment": deployment,
        "header": make_header(deployment),
        "overview": overview,
        "may_deploy": may_deploy,
        "may_call": Right.CALL in rights,
        "now": SimpleLazyObject(lambda: describe(overview)),
        "actions": SimpleLazyObject(lambda: overview.actions(may_deploy=may_deploy)),
        "engine": SimpleLazyObject(lambda: engine(overview)),
    }


def events_context(overview: Overview, wanted: Wanted) -> dict[str, Any]:
    return {"events": event_page(overview.deployment, wanted, overview.now)}


def settings_context(overview: Overview, wanted: Wanted) -> dict[str, Any]:
    deployment = overview.deployment
    return {
        "revisions": revision_rows(deployment, overview.now),
        "changes": change_log(deployment, wanted, overview.now),
        "configuration": configuration(overview),
        "may_roll_back": deployment.status != S.TERMINATING,
    }


def deployment_picture(actor: Actor, reference: str, place: Place) -> Picture:
    """All fragments of a page of a deployment as they are now. Raises Http404."""
    deployment = access.deployment(actor, reference)
    overview = Overview(deployment, timezone.now())  # noqa: TID251 - the edge: a page as of now
    context = {**deployment_context(actor, deployment, overview), "pushed": True}
    if place.page == "events":
        context |= events_context(overview, Wanted(place.kind))
    elif place.page == "settings":
        context |= settings_context(overview, Wanted())
    names = PAGES[place.page] + (DIALOGS if context["may_deploy"] else ())
    rendered = _frame(GpuInventory(actor))
    rendered |= {name: render_to_string(f"deployments/_{name}.html", context) for name in names}
    seconds = SECONDS_MOVING if overview.is_moving else SECONDS_RUNNING if overview.live else SECONDS_ENDED
    return Picture(rendered, seconds)


def deployments_picture(actor: Actor, filters: Filters) -> Picture:
    """The list as it is now, whole and row by row."""
    listing = DeploymentList(actor, filters, timezone.now())  # noqa: TID251 - the edge: a page as of now
    context = {"listing": listing, "pushed": True}
    rendered = _frame(listing.inventory)
    rendered["deployment-count"] = render_to_string(
        "components/deployment_count.html", {"layout": listing.layout, "pushed": True}
    )
    rendered |= {name: render_to_string(f"deployments/_{name}.html", context) for name in DEPLOYMENTS}
    rows = {
        f"row-{row.id}": render_to_string("deployments/_row.html", {"row": row, "pushed": True}) for row in listing.rows
    }
    is_moving = any(row.status in MOVING for row in listing.rows)
    order = f"{' '.join(rows)} {listing.pages} {listing.has_none} {listing.matches > 0}"
    whole = Rows("list", order, render_to_string("deployments/_list.html", context), rows)
    return Picture(rendered, SECONDS_MOVING if is_moving else SECONDS_LIST, whole)


def _frame(inventory: GpuInventory) -> dict[str, str]:
    """What moves in the frame around a page."""
    context = {"inventory": inventory, "pushed": True}
    return {"gpus-in-use": render_to_string("components/gpus_in_use.html", context)}


def changes(picture: Picture, sent: dict[str, str]) -> str:
    """The HTML that brings a page from `sent` to `picture`, and notes in `sent` what it then shows. A list whose rows
    are the same in the same order is sent row by row, else whole."""
    parts = [html for name, html in picture.fragments.items() if sent.get(name) != html]
    sent |= picture.fragments
    if rows := picture.rows:
        if sent.get(rows.name) != rows.order:
            parts.append(rows.whole)
        else:
            parts += [html for name, html in rows.each.items() if sent.get(name) != html]
        sent |= {rows.name: rows.order, **rows.each}
    return "".join(parts)
