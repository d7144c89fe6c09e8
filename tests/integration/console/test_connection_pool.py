"""The pool of connections to PostgreSQL, whose server may restart at any time."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

pytestmark = pytest.mark.django_db(transaction=True)


def read_backend() -> int:
    """The server process of a connection of the pool, which is given back."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (backend,) = cursor.fetchone()
    connection.close()
    return int(backend)


def test_a_connection_that_the_server_closed_is_not_given_to_a_request():
    with ThreadPoolExecutor(1) as thread:
        lost = thread.submit(read_backend).result()
        assert thread.submit(read_backend).result() == lost
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [lost])
            assert cursor.fetchone() == (True,)
        assert thread.submit(read_backend).result() != lost
