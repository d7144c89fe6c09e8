"""Renders a page once for all viewers with equal rights.

A shared page renders in a small pool of threads, when it is touched or its last render is too old, at most four times
a second. It keeps only the last render, so a slow viewer skips what it missed and nothing accumulates. A render that
fails ends the shared page; its viewers close and reconnect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from console.streaming.thread_pools import Threads

INTERVAL_SECONDS = 0.25
THREADS = Threads("live", 4)


@dataclass(frozen=True)
class Rows:
    """A list: the name of its fragment, the HTML of all of it and of each row by id. While `order` is the same the rows
    keep their places."""

    name: str
    order: str
    whole: str
    each: Mapping[str, str]


@dataclass(frozen=True)
class Render:
    """HTML by fragment name in page order, and the seconds after which it may have changed."""

    fragments: Mapping[str, str]
    seconds: float
    rows: Rows | None = None


class SharedPage:
    """The renders of one page. The event of every viewer is set when there is a new one."""

    def __init__(self, render: Callable[[], Render]) -> None:
        self.last: Render | None = None
        self.error: BaseException | None = None
        self.viewers: set[asyncio.Event] = set()
        self._render = render
        self._touched = asyncio.Event()
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._ended)

    def touch(self) -> None:
        """Something changed: render again soon."""
        self._touched.set()

    def stop(self) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        while True:
            self._touched.clear()
            self.last = await THREADS.run(self._render)
            self._wake()
            await asyncio.sleep(INTERVAL_SECONDS)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._touched.wait(), max(0.0, self.last.seconds - INTERVAL_SECONDS))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.error = None if task.cancelled() else task.exception()
        self._wake()

    def _wake(self) -> None:
        for fresh in self.viewers:
            fresh.set()


class SharedPages:
    """The shared pages of this process by key; each lives as long as it has viewers."""

    def __init__(self) -> None:
        self._pages: dict[Hashable, SharedPage] = {}

    def __len__(self) -> int:
        return len(self._pages)

    def join(self, key: Hashable, render: Callable[[], Render], fresh: asyncio.Event) -> SharedPage:
        """The page of `key`, made with `render` for its first viewer. `fresh` is set at each new picture, the first of
        them rendered after this call."""
        page = self._pages.get(key)
        if page is None or page.error is not None:
            page = self._pages[key] = SharedPage(render)
        page.viewers.add(fresh)
        page.touch()
        return page

    def leave(self, key: Hashable, page: SharedPage, fresh: asyncio.Event) -> None:
        page.viewers.discard(fresh)
        if not page.viewers:
            page.stop()
            if self._pages.get(key) is page:
                del self._pages[key]


SHARED_PAGES = SharedPages()
