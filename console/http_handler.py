"""Django's ASGI handler with fewer changes of thread: they cost a short request more than all that it does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest
from django.http.response import HttpResponseBase

MAX_IDLE_THREADS = 32


class HttpHandler(ASGIHandler):
    """Runs middleware and view in one piece, as Django does under WSGI, where Django's own handler returns to the event
    loop between them; and keeps the thread of a request for later ones, where Django's own starts one for each. After
    many requests at once, MAX_IDLE_THREADS are kept and the others end.

    A view that is a coroutine runs on the event loop, and a response may stream from an asynchronous iterator.
    """

    def __init__(self) -> None:
        super().__init__()
        self._idle: list[ThreadPoolExecutor] = []

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async=False)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        thread = self._idle.pop() if self._idle else ThreadPoolExecutor(max_workers=1, thread_name_prefix="request")
        async with ThreadSensitiveContext(executor=thread):
            await self.handle(scope, receive, send)
        if len(self._idle) < MAX_IDLE_THREADS:
            self._idle.append(thread)  # its last call was the end of the request, also where the client had left
        else:
            thread.shutdown(wait=False)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        return await sync_to_async(self.get_response)(request)
