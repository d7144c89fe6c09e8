"""What tests of asynchronous views and sockets share."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from console.api import events as event_stream
from console.live import shared_renders
from console.streaming import log_stream

POOLS = (shared_renders.THREADS, log_stream.THREADS, event_stream.THREADS)
THREADS_OF_EACH = 4


@pytest.fixture
async def connections_given_back(transactional_db: None) -> AsyncIterator[None]:
    """Asynchronous views run their synchronous parts in a thread of their own, whose connection would outlive the
    test: Django's test client does not close it at the end of a request, and the sockets of `channels.testing` keep
    the threads of a pool from giving theirs back. Each gives it back at its next work, so all get some at once."""
    yield
    await sync_to_async(connections.close_all)()
    for pool in POOLS:
        together = threading.Barrier(THREADS_OF_EACH, timeout=10)
        await asyncio.gather(*(pool.run(together.wait) for _ in range(THREADS_OF_EACH)))
