"""The Redis client of this process, created at first use and shared by all threads."""

from functools import cache

import redis
from django.conf import settings


@cache
def redis_client() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=5,
        socket_connect_timeout=2,
        **settings.REDIS_OPTIONS,
    )
