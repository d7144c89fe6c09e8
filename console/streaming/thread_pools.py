"""Thread pools for the database reads of open connections. Each kind of connection has its own pool, so that one kind
cannot starve another."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from channels.db import DatabaseSyncToAsync

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """At most `count` functions run at once; more wait in a queue."""

    def __init__(self, name: str, count: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=count, thread_name_prefix=name)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in a thread; its database connection goes back to the pool afterwards."""
        call = DatabaseSyncToAsync(function, thread_sensitive=False, executor=self._pool)
        answer: T = await call(*args, **kwargs)
        return answer
