"""The pool of connections to PostgreSQL, whose server may restart at any time."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

pytestmark = pytest.mark.django_db(transaction=True)
END_ALL_OTHERS = """
    SELECT pid, pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


def read_backend() -> int:
    """The server process of a connection of the pool, which is given back."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (backend,) = cursor.fetchone()
    connection.close()
    return int(backend)


def test_a_connection_that_the_server_closed_is_not_given_to_a_request():
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(read_backend).result()
        with connection.cursor() as cursor:
            cursor.execute(END_ALL_OTHERS)
            lost = {backend for (backend, has_ended) in cursor.fetchall() if has_ended}
        assert lost
        assert thread.submit(read_backend).result() not in lost
