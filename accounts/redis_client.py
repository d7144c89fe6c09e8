"""The Redis client of this process, created at first use and shared by all threads."""

from functools import cache

import redis
from django.conf import settings
from redis.maint_notifications import MaintNotificationsConfig


@cache
def redis_client() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=5,
        socket_connect_timeout=2,
        # With them, the pool does not notice that the server has closed a connection.
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )
