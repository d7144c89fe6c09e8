"""A client of Redis for one event loop: one connection, all calls of one turn of the loop in one write.

Replies arrive in the order of the calls and are handed to callbacks. A call never meets a dead connection: while the
connection is being opened calls wait for it, once an attempt has failed they fail at once, and a new attempt follows by
itself after a short pause. A call whose connection is lost fails, because nobody can tell whether Redis ran it.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple, cast

import hiredis

from gateway.store.address import StoreAddress, parse_address
from gateway.store.resp import Argument, encode_command
from gateway.store.scripts import Script

log = logging.getLogger(__name__)
TIMEOUT_SECONDS = 2.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.02, 0.25
RESP_VERSION = 3
_INCOMPLETE = object()

# Strings, integers, lists, dicts, None, or a StoreError.
Reply = Any
OnReply = Callable[[Reply], None]
OnMessage = Callable[[str], None]


class StoreError(Exception):
    """Redis did not do what it was asked, or nobody knows whether it did."""


class StoreUnavailable(StoreError):
    """There is no connection to Redis, or it was lost before the reply."""


class StoreReplyError(StoreError):
    """Redis replied with an error; the message begins with its code."""

    @property
    def code(self) -> str:
        return str(self).partition(" ")[0]


class _Call(NamedTuple):
    """A call without a reply yet. Only one with a `payload` can be sent again; `deadline` is on the loop's clock."""

    on_reply: OnReply
    deadline: float
    payload: bytes = b""


class _Connection(asyncio.Protocol):
    """One connection: `pending` are the calls that Redis has not answered."""

    def __init__(
        self, on_message: OnMessage, on_script_missing: Callable[[_Call], None], on_lost: Callable[[_Connection], None]
    ) -> None:
        self.pending: deque[_Call] = deque()
        self.transport: asyncio.Transport | None = None
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reader = hiredis.Reader(
            replyError=StoreReplyError, encoding="utf-8", errors="replace", notEnoughData=_INCOMPLETE
        )
        self._on_message = on_message
        self._on_script_missing = on_script_missing
        self._on_lost = on_lost

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # a transport of uvloop is no subclass

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _INCOMPLETE:
                self._handle(reply)
        except hiredis.ProtocolError as error:
            self.drop(f"Redis sent something that is no reply: {error}")

    def _handle(self, reply: Reply) -> None:
        if isinstance(reply, hiredis.PushNotification):
            if len(reply) == 3 and reply[0] == "message":
                _run_callback(self._on_message, reply[2])
            return
        if not self.pending:
            return self.drop(f"Redis sent a reply that belongs to no call: {reply}")
        call = self.pending.popleft()
        if isinstance(reply, StoreReplyError):
            if reply.code == "NOSCRIPT" and call.payload:
                return self._on_script_missing(call)
            if reply.code in {"READONLY", "LOADING", "MASTERDOWN"}:  # another server took over, or this one starts
                self.drop(str(reply))
        _run_callback(call.on_reply, reply)

    def connection_lost(self, error: Exception | None) -> None:
        self.drop(f"The connection to Redis was lost: {error or 'closed by the server'}")

    def drop(self, reason: str) -> None:
        """Close the connection at once; every pending call fails with `reason`."""
        if self.transport:
            self.transport.abort()
        if not self.lost.done():
            self.lost.set_result(None)
            self._on_lost(self)
        failure = StoreUnavailable(reason)
        pending, self.pending = self.pending, deque()
        for call in pending:
            _run_callback(call.on_reply, failure)


class StoreClient:
    """The connection of one gateway process to Redis. `start` opens it; callbacks run in the loop that started it.

    `channel` is subscribed to on every connection, and its messages go to `on_message`. `timeout` limits one call in
    seconds; a call that exceeds it closes the connection, because the replies after it cannot be told apart from it.
    """

    def __init__(
        self,
        url: str,
        *,
        scripts: Iterable[Script] = (),
        channel: str = "",
        on_message: OnMessage = lambda message: None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        self.address = parse_address(url)
        self._scripts = tuple(scripts)
        self._channel = channel
        self._on_message = on_message
        self._timeout = timeout
        self._connection: _Connection | None = None
        self._failure: StoreUnavailable | None = None
        self._waiting: deque[_Call] = deque()
        self._outgoing: list[bytes] = []
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop

    @property
    def is_connected(self) -> bool:
        return self._connection is not None

    def start(self) -> None:
        """Open the connection and keep it open until `close`; returns at once."""
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._keep_connected())

    async def close(self) -> None:
        """Close the connection; calls without a reply fail."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._timer:
            self._timer.cancel()
        if self._connection:
            self._connection.drop("The gateway is stopping.")
        self._fail_all(StoreUnavailable("The gateway is stopping."))

    def call(self, arguments: tuple[Argument, ...], on_reply: OnReply) -> None:
        """Send a command with the other calls of this turn of the loop; `on_reply` gets the reply or a StoreError."""
        self._send(_Call(on_reply, self._loop.time() + self._timeout), encode_command(arguments))

    def run_script(self, script: Script, keys: list[str], arguments: list[Argument], on_reply: OnReply) -> None:
        """Run a script, which is loaded first if Redis does not know it."""
        self.run_encoded(script.encode_call(keys, arguments), on_reply)

    def run_encoded(self, payload: bytes, on_reply: OnReply) -> None:
        """Run a script whose call is already encoded by `Script.encode_call`."""
        self._send(_Call(on_reply, self._loop.time() + self._timeout, payload), payload)

    async def execute(self, *arguments: Argument) -> Reply:
        """Send a command and wait for its reply. Raises StoreError."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        self.call(arguments, partial(_resolve, future))
        return await future

    async def execute_script(self, script: Script, keys: list[str], arguments: list[Argument]) -> Reply:
        """Run a script and wait for its reply. Raises StoreError."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        self.run_script(script, keys, arguments, partial(_resolve, future))
        return await future

    def _send(self, call: _Call, data: bytes) -> None:
        if self._connection:
            self._connection.pending.append(call)
            if not self._outgoing:
                self._loop.call_soon(self._flush)
            self._outgoing.append(data)
        elif self._failure:
            self._loop.call_soon(_run_callback, call.on_reply, self._failure)
            return
        else:
            self._waiting.append(call if call.payload else call._replace(payload=data))
        if self._timer is None:
            self._timer = self._loop.call_at(call.deadline, self._check_deadlines)

    def _flush(self) -> None:
        if self._connection and self._connection.transport and self._outgoing:
            self._connection.transport.write(b"".join(self._outgoing))
        self._outgoing.clear()

    def _check_deadlines(self) -> None:
        """Close a connection whose oldest call is overdue; calls have their deadlines in order."""
        self._timer = None
        now = self._loop.time()
        while self._waiting and self._waiting[0].deadline <= now:
            _run_callback(self._waiting.popleft().on_reply, StoreUnavailable(f"{self.address} cannot be reached."))
        pending = self._connection.pending if self._connection else deque()
        if self._connection and pending and pending[0].deadline <= now:
            self._connection.drop(f"Redis at {self.address} did not reply within {self._timeout:g} s.")
            pending = deque()
        deadlines = [queue[0].deadline for queue in (self._waiting, pending) if queue]
        if deadlines and self._timer is None:
            self._timer = self._loop.call_at(min(deadlines), self._check_deadlines)

    def _reload_scripts(self, call: _Call) -> None:
        """Send a call again whose script Redis has forgotten."""
        for script in self._scripts:
            self.call(("SCRIPT", "LOAD", script.source), lambda reply: None)
        self._send(_Call(call.on_reply, self._loop.time() + self._timeout), call.payload)

    async def _keep_connected(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    connection = await self._open()
            except (OSError, StoreError, TimeoutError) as error:
                reason = str(error) or type(error).__name__
                self._fail_all(StoreUnavailable(f"Redis at {self.address} cannot be reached: {reason}"))
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                continue
            pause = FIRST_PAUSE_SECONDS
            self._adopt(connection)
            await connection.lost
            log.warning("The connection to Redis at %s is lost.", self.address)

    async def _open(self) -> _Connection:
        """Open a connection, sign in, load the scripts and subscribe. Raises OSError or StoreError."""
        connection = _Connection(self._on_message, self._reload_scripts, self._forget)
        await _connect(self._loop, self.address, lambda: connection)
        commands = list(_list_handshake(self.address, self._scripts))
        replies: list[asyncio.Future[Reply]] = [self._loop.create_future() for _ in commands]
        connection.pending.extend(_Call(partial(_resolve, future), 0.0) for future in replies)
        if self._channel:
            commands.append(("SUBSCRIBE", self._channel))  # confirmed by a message, not by a reply
        assert connection.transport
        connection.transport.write(b"".join(map(encode_command, commands)))
        try:
            await asyncio.gather(*replies)
        except BaseException:
            connection.drop("The connection to Redis was not accepted.")
            raise
        return connection

    def _adopt(self, connection: _Connection) -> None:
        """Use a new connection and send what has waited for it."""
        self._failure = None
        if connection.lost.done():
            return
        self._connection = connection
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            self._send(call, call.payload)

    def _forget(self, connection: _Connection) -> None:
        """Stop using a connection that is lost; calls wait for the next one from now on, unsent ones included."""
        if self._connection is not connection:
            return
        self._connection = None
        unsent = [connection.pending.pop() for _ in self._outgoing]
        for call, data in zip(reversed(unsent), self._outgoing, strict=True):
            self._waiting.append(call._replace(payload=data))
        self._outgoing.clear()

    def _fail_all(self, failure: StoreUnavailable) -> None:
        self._failure = failure
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            _run_callback(call.on_reply, failure)


async def _connect(loop: asyncio.AbstractEventLoop, address: StoreAddress, factory: Callable[[], _Connection]) -> None:
    if address.path:
        await loop.create_unix_connection(factory, address.path)
        return
    context = None
    if address.is_encrypted:
        context = ssl.create_default_context(cafile=address.ca_file or None)
        if not address.verifies_certificate:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    await loop.create_connection(factory, address.host, address.port, ssl=context)


def _list_handshake(address: StoreAddress, scripts: Iterable[Script]) -> Iterable[tuple[Argument, ...]]:
    credentials = ("AUTH", address.username or "default", address.password) if address.password else ()
    yield ("HELLO", RESP_VERSION, *credentials)
    if address.database:
        yield ("SELECT", address.database)
    for script in scripts:
        yield ("SCRIPT", "LOAD", script.source)
    yield ("PING",)  # refused while Redis reads its files


def _resolve(future: asyncio.Future[Reply], reply: Reply) -> None:
    if future.done():  # whoever waited was cancelled
        return
    if isinstance(reply, StoreError):
        future.set_exception(reply)
    else:
        future.set_result(reply)


def _run_callback(callback: Callable[[Any], None], value: Any) -> None:
    """Run a callback; what it raises is logged, because the replies behind it belong to others."""
    try:
        callback(value)
    except Exception:
        log.exception("A reply of Redis could not be handled")
