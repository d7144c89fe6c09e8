"""One render for many viewers: every viewer with equal rights reads the same feed.

A feed renders in a small pool of threads, when it is touched or when its picture grows old, and at most four times a
second. It keeps the last picture only, so a slow viewer skips what it missed and nothing piles up. A render that fails
ends the feed; its viewers close and come back by themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from console.streaming.threads import Threads

INTERVAL_SECONDS = 0.25
THREADS = Threads("live", 4)


@dataclass(frozen=True)
class Rows:
    """A list: its fragment, the HTML of all of it and of each row by id. While `order` stays the rows stand where they
    stood."""

    name: str
    order: str
    whole: str
    each: Mapping[str, str]


@dataclass(frozen=True)
class Picture:
    """What a page shows: HTML by fragment name in page order, and the seconds after which it may have changed."""

    fragments: Mapping[str, str]
    seconds: float
    rows: Rows | None = None


class Feed:
    """Pictures of one thing. `fresh` of every viewer is set when there is a new one."""

    def __init__(self, render: Callable[[], Picture]) -> None:
        self.picture: Picture | None = None
        self.error: BaseException | None = None
        self.viewers: set[asyncio.Event] = set()
        self._render = render
        self._touched = asyncio.Event()
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._ended)

    def touch(self) -> None:
        """Something changed: look again soon."""
        self._touched.set()

    def stop(self) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        while True:
            self._touched.clear()
            self.picture = await THREADS.run(self._render)
            self._wake()
            await asyncio.sleep(INTERVAL_SECONDS)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._touched.wait(), max(0.0, self.picture.seconds - INTERVAL_SECONDS))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.error = None if task.cancelled() else task.exception()
        self._wake()

    def _wake(self) -> None:
        for fresh in self.viewers:
            fresh.set()


class Feeds:
    """The feeds of this process by key; one lives as long as somebody looks."""

    def __init__(self) -> None:
        self._feeds: dict[Hashable, Feed] = {}

    def __len__(self) -> int:
        return len(self._feeds)

    def join(self, key: Hashable, render: Callable[[], Picture], fresh: asyncio.Event) -> Feed:
        """The feed of `key`, made with `render` for its first viewer. `fresh` is set at each new picture, the first of
        them rendered after this call."""
        feed = self._feeds.get(key)
        if feed is None or feed.error is not None:
            feed = self._feeds[key] = Feed(render)
        feed.viewers.add(fresh)
        feed.touch()
        return feed

    def leave(self, key: Hashable, feed: Feed, fresh: asyncio.Event) -> None:
        feed.viewers.discard(fresh)
        if not feed.viewers:
            feed.stop()
            if self._feeds.get(key) is feed:
                del self._feeds[key]


FEEDS = Feeds()
