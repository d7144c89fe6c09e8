"""The pieces of pages that sockets push. Each is a template `_name.html` with one root element whose id is its name;
the page includes it, the socket pushes it: one source for each piece of the screen. No csrf token, no nonce."""

from __future__ import annotations

from typing import Any

from django.template.loader import render_to_string
from django.utils import timezone

from accounts.roles import Right
from console import access
from console.access import Actor
from console.live.feeds import Picture, Rows
from console.pages.filters import Filters
from console.pages.inventory import Inventory
from console.pages.listing import DeploymentList
from console.pages.overview import Overview
from deployments.models import Deployment
from deployments.states import DeploymentStatus as S

DEPLOYMENT = ("header", "cause", "readouts", "starting", "replicas", "timeline")
DIALOGS = ("effects",)
DEPLOYMENTS = ("summary", "groups", "pages")
MOVING = (S.DEPLOYING, S.SCALING, S.TERMINATING)
SECONDS_MOVING, SECONDS_RUNNING, SECONDS_LIST, SECONDS_ENDED = 1.0, 2.0, 5.0, 15.0


def rights_in(actor: Actor, deployment: Deployment) -> frozenset[Right]:
    return frozenset(right for right in Right if actor.may(right, deployment.organization_id))


def deployment_context(actor: Actor, deployment: Deployment, overview: Overview) -> dict[str, Any]:
    """What the fragments of a deployment's page are rendered with."""
    rights = rights_in(actor, deployment)
    return {
        "deployment": deployment,
        "overview": overview,
        "may_deploy": Right.DEPLOY in rights,
        "may_call": Right.CALL in rights,
    }


def deployment_picture(actor: Actor, reference: str) -> Picture:
    """All fragments of a deployment's page as they are now. Raises Http404."""
    deployment = access.deployment(actor, reference)
    overview = Overview(deployment, timezone.now())  # noqa: TID251 - the edge: a page as of now
    context = {**deployment_context(actor, deployment, overview), "pushed": True}
    names = DEPLOYMENT + DIALOGS if context["may_deploy"] else DEPLOYMENT
    rendered = _frame(Inventory(actor))
    rendered |= {name: render_to_string(f"deployments/_{name}.html", context) for name in names}
    seconds = SECONDS_MOVING if overview.is_moving else SECONDS_RUNNING if overview.live else SECONDS_ENDED
    return Picture(rendered, seconds)


def deployments_picture(actor: Actor, filters: Filters) -> Picture:
    """The list as it is now, whole and row by row."""
    listing = DeploymentList(actor, filters, timezone.now())  # noqa: TID251 - the edge: a page as of now
    context = {"listing": listing, "pushed": True}
    rendered = _frame(listing.inventory)
    rendered |= {name: render_to_string(f"deployments/_{name}.html", context) for name in DEPLOYMENTS}
    rows = {
        f"row-{row.id}": render_to_string("deployments/_row.html", {"row": row, "pushed": True}) for row in listing.rows
    }
    is_moving = any(row.status in MOVING for row in listing.rows)
    order = f"{' '.join(rows)} {listing.pages} {listing.has_none} {listing.matches > 0}"
    whole = Rows("list", order, render_to_string("deployments/_list.html", context), rows)
    return Picture(rendered, SECONDS_MOVING if is_moving else SECONDS_LIST, whole)


def _frame(inventory: Inventory) -> dict[str, str]:
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
