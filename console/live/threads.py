"""A small pool of threads for reads of the database that serve many sockets; one pool cannot starve another."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from channels.db import DatabaseSyncToAsync

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """`count` threads at most run at once; what comes more waits its turn."""

    def __init__(self, name: str, count: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=count, thread_name_prefix=name)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in a thread; its database connection goes back to the pool afterwards."""
        call = DatabaseSyncToAsync(function, thread_sensitive=False, executor=self._pool)
        answer: T = await call(*args, **kwargs)
        return answer
