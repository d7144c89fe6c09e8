"""The WebSockets of open pages. A notification carries no data: the page is read again through console/access.py and
rendered, and what changed is pushed as htmx out-of-band swaps. A socket ends when its session or its access ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer
from django.http import Http404, QueryDict

from console import access
from console.access import Actor
from console.deployments.list_filters import DeploymentFilterForm, DeploymentFilters
from console.live import fragments
from console.live.shared_renders import SHARED_PAGES, THREADS, Render, SharedPage

log = logging.getLogger(__name__)
HEARTBEAT_SECONDS = 10.0
ENDED, DELETED, FAULT = 4403, 4410, 1011
MAX_QUERY = 600


@dataclass(frozen=True)
class Watched:
    """What a socket shows. Sockets with the same `key` may see exactly the same."""

    key: Hashable
    groups: tuple[str, ...]
    render: Callable[[], Render]


def rights_key(actor: Actor) -> Hashable:
    """Equal for actors that may see and do the same."""
    return "operator" if actor.is_operator else frozenset(actor.roles.items())


class LiveConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels is untyped
    """A page that is kept up to date. Subclasses say in `find_watched` what they show; it runs in a thread before each
    push."""

    watched: Watched | None = None
    page: SharedPage | None = None
    pushing: asyncio.Task[None] | None = None

    def find_watched(self, actor: Actor) -> Watched:
        """What `actor` may see here; raises Http404."""
        raise NotImplementedError

    def render_last_message(self, actor: Actor) -> str:
        """The last message to a page whose subject was deleted; empty where `actor` may just not see it any more."""
        return ""

    def _allowed(self) -> Watched | None:
        actor = access.actor_of_session(self.scope["session"].session_key)
        try:
            return self.find_watched(actor) if actor else None
        except Http404:
            return None

    def _last_message(self) -> str:
        actor = access.actor_of_session(self.scope["session"].session_key)
        return self.render_last_message(actor) if actor else ""

    async def connect(self) -> None:
        self.watched = await THREADS.run(self._allowed)
        if self.watched is None:
            if message := await THREADS.run(self._last_message):
                await self.accept()
                await self.send(text_data=message)
                await self.close(DELETED)
            else:
                await self.close()
            return
        for group in self.watched.groups:
            await self.channel_layer.group_add(group, self.channel_name)
        await self.accept()
        self.fresh = asyncio.Event()
        self.page = SHARED_PAGES.join(self.watched.key, self.watched.render, self.fresh)
        self.pushing = asyncio.create_task(self._live(self.watched, self.page))

    async def disconnect(self, code: int) -> None:
        if self.watched is None:
            return
        if self.pushing:
            self.pushing.cancel()
        if self.page:
            SHARED_PAGES.leave(self.watched.key, self.page, self.fresh)
        for group in self.watched.groups:
            await self.channel_layer.group_discard(group, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Pages say nothing; whatever comes is dropped."""

    async def deployment_changed(self, message: dict[str, Any]) -> None:
        if self.page:
            self.page.touch()

    async def _live(self, watched: Watched, page: SharedPage) -> None:
        code = FAULT
        try:
            code = await self._push(watched, page)
        except Exception:
            log.exception("A page could not be kept up to date; it connects again.")
        await self.close(code)

    async def _push(self, watched: Watched, page: SharedPage) -> int:
        """Push what changed until the page may not be seen any more; gives the close code. An empty message every ten
        seconds tells the page that the line is open."""
        sent: dict[str, str] = {}
        while True:
            fresh = await self._wait()
            still = await THREADS.run(self._allowed)
            if still is None and (message := await THREADS.run(self._last_message)):
                await self.send(text_data=message)
                return DELETED
            if still is None or still.key != watched.key:
                return ENDED
            if page.error is not None:
                return FAULT
            if fresh and page.last and (changed := fragments.collect_changes(page.last, sent)):
                await self.send(text_data=changed)
            elif not fresh:
                await self.send(text_data="")

    async def _wait(self) -> bool:
        try:
            await asyncio.wait_for(self.fresh.wait(), HEARTBEAT_SECONDS)
        except TimeoutError:
            return False
        self.fresh.clear()
        return True


class DeploymentConsumer(LiveConsumer):
    """A page of one deployment: its overview, `?page=events&kind=`, `?page=settings` or `?page=logs`."""

    def find_watched(self, actor: Actor) -> Watched:
        reference = str(self.scope["url_route"]["kwargs"]["deployment_id"])
        address = fragments.PageAddress.read(QueryDict(self.scope["query_string"][:MAX_QUERY]))
        deployment = access.deployment(actor, reference)
        rights = access.rights_in(actor, deployment)
        return Watched(
            ("deployment", reference, address, rights),
            (f"deployment.{reference}",),
            lambda: fragments.render_deployment(actor, reference, address),
        )

    def render_last_message(self, actor: Actor) -> str:
        return fragments.render_deletion_notice(actor, self.scope["url_route"]["kwargs"]["deployment_id"])


class DeploymentsConsumer(LiveConsumer):
    """The list: whatever the person may see, filtered and sorted as the page's address says."""

    def find_watched(self, actor: Actor) -> Watched:
        filters = DeploymentFilters(**DeploymentFilterForm(QueryDict(self.scope["query_string"][:MAX_QUERY])).filters)
        groups = ("operators",) if actor.is_operator else tuple(f"organization.{id}" for id in actor.roles)
        return Watched(
            ("deployments", rights_key(actor), filters),
            groups,
            lambda: fragments.render_list(actor, filters),
        )
