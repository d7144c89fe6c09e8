"""The sockets of open pages. A hint carries no facts: the page is read again through console/access.py and rendered,
and what changed is pushed as htmx out-of-band swaps. A socket ends when its session or its access does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.contrib.auth import get_user
from django.http import Http404, HttpRequest, QueryDict

from accounts.models import User
from console import access
from console.access import Actor
from console.live import fragments
from console.live.feeds import FEEDS, THREADS, Feed, Picture
from console.pages.filters import Filters

log = logging.getLogger(__name__)
HEARTBEAT_SECONDS = 10.0
ENDED, DELETED, FAULT = 4403, 4410, 1011
MAX_QUERY = 600


@dataclass(frozen=True)
class Watched:
    """What a socket shows. Sockets with the same `key` may see exactly the same."""

    key: Hashable
    groups: tuple[str, ...]
    render: Callable[[], Picture]


def signed_in(session_key: str | None) -> Actor | None:
    """Who the session belongs to now: None once it is over, the password changed or the person is inactive."""
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    user = get_user(request)
    return access.actor_of(user) if isinstance(user, User) and user.is_active else None


def rights_key(actor: Actor) -> Hashable:
    """Equal for actors that may see and do the same."""
    return "operator" if actor.is_operator else frozenset(actor.roles.items())


class LiveConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels is untyped
    """A page that is kept up to date. Subclasses say in `look` what they show; it runs in a thread before each push."""

    watched: Watched | None = None
    feed: Feed | None = None
    pushing: asyncio.Task[None] | None = None

    def look(self, actor: Actor) -> Watched:
        """What `actor` may see here; raises Http404."""
        raise NotImplementedError

    def last_words(self, actor: Actor) -> str:
        """The last message to a page whose subject was deleted; empty where `actor` may just not see it any more."""
        return ""

    def _allowed(self) -> Watched | None:
        actor = signed_in(self.scope["session"].session_key)
        try:
            return self.look(actor) if actor else None
        except Http404:
            return None

    def _last_words(self) -> str:
        actor = signed_in(self.scope["session"].session_key)
        return self.last_words(actor) if actor else ""

    async def connect(self) -> None:
        self.watched = await THREADS.run(self._allowed)
        if self.watched is None:
            if words := await THREADS.run(self._last_words):
                await self.accept()
                await self.send(text_data=words)
                await self.close(DELETED)
            else:
                await self.close()
            return
        for group in self.watched.groups:
            await self.channel_layer.group_add(group, self.channel_name)
        await self.accept()
        self.fresh = asyncio.Event()
        self.feed = FEEDS.join(self.watched.key, self.watched.render, self.fresh)
        self.pushing = asyncio.create_task(self._live(self.watched, self.feed))

    async def disconnect(self, code: int) -> None:
        if self.watched is None:
            return
        if self.pushing:
            self.pushing.cancel()
        if self.feed:
            FEEDS.leave(self.watched.key, self.feed, self.fresh)
        for group in self.watched.groups:
            await self.channel_layer.group_discard(group, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Pages say nothing; whatever comes is dropped."""

    async def deployment_changed(self, message: dict[str, Any]) -> None:
        if self.feed:
            self.feed.touch()

    async def _live(self, watched: Watched, feed: Feed) -> None:
        code = FAULT
        try:
            code = await self._push(watched, feed)
        except Exception:
            log.exception("A page could not be kept up to date; it connects again.")
        await self.close(code)

    async def _push(self, watched: Watched, feed: Feed) -> int:
        """Push what changed until the page may not be seen any more; gives the close code. An empty message every ten
        seconds tells the page that the line is open."""
        sent: dict[str, str] = {}
        while True:
            fresh = await self._wait()
            still = await THREADS.run(self._allowed)
            if still is None and (words := await THREADS.run(self._last_words)):
                await self.send(text_data=words)
                return DELETED
            if still is None or still.key != watched.key:
                return ENDED
            if feed.error is not None:
                return FAULT
            if fresh and feed.picture and (changed := fragments.changes(feed.picture, sent)):
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
    """A page of one deployment: its overview, `?page=events&kind=`, or `?page=settings`."""

    def look(self, actor: Actor) -> Watched:
        reference = str(self.scope["url_route"]["kwargs"]["deployment_id"])
        place = fragments.Place.read(QueryDict(self.scope["query_string"][:MAX_QUERY]))
        deployment = access.deployment(actor, reference)
        rights = fragments.rights_in(actor, deployment)
        return Watched(
            ("deployment", reference, place, rights),
            (f"deployment.{reference}",),
            lambda: fragments.deployment_picture(actor, reference, place),
        )

    def last_words(self, actor: Actor) -> str:
        return fragments.deletion_notice(actor, self.scope["url_route"]["kwargs"]["deployment_id"])


class DeploymentsConsumer(LiveConsumer):
    """The list: whatever the person may see, filtered and sorted as the page's address says."""

    def look(self, actor: Actor) -> Watched:
        filters = Filters.read(QueryDict(self.scope["query_string"][:MAX_QUERY]))
        groups = ("operators",) if actor.is_operator else tuple(f"organization.{one}" for one in actor.roles)
        return Watched(
            ("deployments", rights_key(actor), filters),
            groups,
            lambda: fragments.deployments_picture(actor, filters),
        )
