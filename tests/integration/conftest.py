"""What every integration test starts from."""

from collections.abc import Iterator

import pytest
from django.db import connection


@pytest.fixture(autouse=True)
def no_usage_events_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Django's flush knows managed tables only; the partitioned table of facts is emptied here."""
    yield
    marker = request.node.get_closest_marker("django_db")
    if marker and marker.kwargs.get("transaction"):
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE billing_usage_event")
