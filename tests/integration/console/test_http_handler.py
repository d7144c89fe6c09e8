"""How the web process runs a request: whose thread, and what becomes of streams."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

from console.http_handler import MAX_IDLE_THREADS, HttpHandler
from tests.polling import eventually

meeting = threading.Barrier(2, timeout=10)
crowd = threading.Barrier(MAX_IDLE_THREADS + 8, timeout=10)
stream_ended = threading.Event()


def plain(_: HttpRequest) -> HttpResponse:
    return HttpResponse(str(threading.get_ident()))


def met(_: HttpRequest) -> HttpResponse:
    """Answers once a second request is here as well."""
    meeting.wait()
    return HttpResponse(str(threading.get_ident()))


def crowded(_: HttpRequest) -> HttpResponse:
    """Answers once more requests are here than threads are kept."""
    crowd.wait()
    return HttpResponse(str(threading.get_ident()))


async def coroutine(_: HttpRequest) -> HttpResponse:
    inner = await sync_to_async(threading.get_ident)()
    return HttpResponse(f"{threading.get_ident()} {inner}")


def streaming(_: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[bytes]:
        try:
            yield str(threading.get_ident()).encode()
            await asyncio.Event().wait()
        finally:
            stream_ended.set()

    return StreamingHttpResponse(parts())


def broken(_: HttpRequest) -> HttpResponse:
    raise ZeroDivisionError


def handler500(_: HttpRequest) -> HttpResponse:
    return HttpResponse(status=500)


urlpatterns = [path(f"{view.__name__}/", view) for view in (plain, met, crowded, coroutine, streaming, broken)]


@pytest.fixture
def handler(settings: Any) -> HttpHandler:
    settings.ROOT_URLCONF = __name__
    return HttpHandler()


def open_request(handler: HttpHandler, address: str) -> ApplicationCommunicator:
    scope = {
        "type": "http",
        "method": "GET",
        "path": address,
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1")],
    }
    return ApplicationCommunicator(handler, scope)


async def get(handler: HttpHandler, address: str) -> tuple[int, str]:
    request = open_request(handler, address)
    await request.send_input({"type": "http.request", "body": b""})
    start = await request.receive_output(10)
    body = await request.receive_output(10)
    await request.wait(10)
    return start["status"], body["body"].decode()


async def test_requests_one_after_another_share_a_thread(handler):
    first, second = await get(handler, "/plain/"), await get(handler, "/plain/")
    assert first == second
    assert first[1] != str(threading.get_ident())


async def test_requests_at_the_same_time_have_a_thread_each(handler):
    (_, one), (_, other) = await asyncio.gather(get(handler, "/met/"), get(handler, "/met/"))
    assert one != other


async def test_after_many_requests_at_the_same_time_a_bounded_number_of_threads_is_kept(handler):
    before = set(threading.enumerate())
    answers = await asyncio.gather(*(get(handler, "/crowded/") for _ in range(crowd.parties)))
    assert len({thread for _, thread in answers}) == crowd.parties
    started = set(threading.enumerate()) - before
    eventually(lambda: sum(thread.is_alive() for thread in started) == MAX_IDLE_THREADS, seconds=10)
    assert (await get(handler, "/plain/"))[1] in {str(thread.ident) for thread in started if thread.is_alive()}


async def test_a_coroutine_runs_on_the_event_loop_and_its_reads_in_the_thread_of_the_request(handler):
    _, thread = await get(handler, "/plain/")
    assert await get(handler, "/coroutine/") == (200, f"{threading.get_ident()} {thread}")


async def test_a_stream_runs_on_the_event_loop_and_ends_when_the_client_leaves(handler):
    stream_ended.clear()
    request = open_request(handler, "/streaming/")
    await request.send_input({"type": "http.request", "body": b""})
    assert (await request.receive_output(10))["status"] == 200
    assert (await request.receive_output(10))["body"] == str(threading.get_ident()).encode()
    await request.send_input({"type": "http.disconnect"})
    await request.wait(10)
    assert stream_ended.is_set()


async def test_a_view_that_breaks_is_a_500_and_the_next_request_is_served(handler, caplog):
    assert (await get(handler, "/broken/"))[0] == 500
    assert (await get(handler, "/plain/"))[0] == 200
    assert "ZeroDivisionError" in caplog.text
