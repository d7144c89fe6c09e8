"""Django's cache: in Redis, so that all processes share it. It holds the counters that limit sign-in attempts.

While Redis is unavailable, each process counts for itself: people can sign in, and their attempts stay limited.
"""

from __future__ import annotations

import logging
from typing import Any

import redis
from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache

log = logging.getLogger(__name__)


class SharedCache(RedisCache):
    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._own = LocMemCache("while Redis is unavailable", params | {"OPTIONS": {}})

    def add(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        return bool(self._run("add", key, value, timeout, version))

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        return self._run("get", key, default, version)

    def set(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        self._run("set", key, value, timeout, version)

    def delete(self, key: Any, version: int | None = None) -> bool:
        return bool(self._run("delete", key, version))

    def _run(self, operation: str, *arguments: Any) -> Any:
        try:
            return getattr(super(), operation)(*arguments)
        except redis.RedisError as error:
            log.warning("Redis is unavailable, sign-in attempts are counted in this process alone: %s", error)
            return getattr(self._own, operation)(*arguments)
