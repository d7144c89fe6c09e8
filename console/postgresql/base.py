"""Django's PostgreSQL backend with a pool that survives the death of its server: the first connection that turns out
to be dead takes all others of the pool along. Django's own health check tries them one by one, with growing pauses.
"""

from __future__ import annotations

import select
from typing import Any

import psycopg
from django.db.backends.postgresql import base
from psycopg_pool import ConnectionPool


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        connection: Any = super().get_new_connection(conn_params)
        pool: ConnectionPool[Any] | None = self.pool
        if pool is None or _lives(connection):
            return connection
        pool.drain()
        pool.putconn(connection)
        return super().get_new_connection(conn_params)


def _lives(connection: psycopg.Connection[Any]) -> bool:
    """Whether the server still has the connection. An idle one has nothing to read unless the server closed it or sent
    a notice; so most are known to live without a round trip."""
    poll = select.poll()
    try:
        poll.register(connection.fileno(), select.POLLIN)
        if poll.poll(0):
            ConnectionPool.check_connection(connection)
    except psycopg.OperationalError:
        return False
    return True
