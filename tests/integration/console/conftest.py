"""What tests of asynchronous views and sockets share."""

from collections.abc import AsyncIterator

import pytest
from asgiref.sync import sync_to_async
from django.db import connections


@pytest.fixture
async def connections_given_back(transactional_db: None) -> AsyncIterator[None]:
    """Asynchronous views run their synchronous parts in a thread of their own, whose connection would outlive the
    test: Django's test client does not close it at the end of a request."""
    yield
    await sync_to_async(connections.close_all)()
