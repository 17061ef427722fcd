# SPDX-License-Identifier: Apache-2.0
"""A listener: peers as connections, in a loop or by a handler.

Design notes
  - Peers are accepted in the C callback as long as fewer than `backlog` connections wait here for the program; the
    others stay in libweft's backlog and are fetched when room is made.
  - `admit` is the one piece of the user's code that runs inside a callback: the verdict is due there.
"""

from __future__ import annotations

import asyncio
import ctypes
from collections import deque
from typing import Any, AsyncIterator, Awaitable, Callable, Deque, Dict, Generator, List, Optional, Set, Union

from . import _errors, _ffi
from ._conn import Connection, _settle
from ._context import Context, default_context
from ._errors import Error, check, check_fork
from ._ffi import lib, slow
from ._needs import Peer, Value, parse_url, spins, with_needs

Handler = Callable[[Connection], Awaitable[Any]]
Admit = Callable[[Peer], Union[bool, str, None]]

_listeners: Dict[int, "Listener"] = {}


def _on_peer(handle: int, status: int) -> None:
    listener = _listeners[handle]
    try:
        if status < 0:
            listener._failed(Error(status, "the listener failed", listener.url))
        else:
            listener._on_peer()
    except BaseException as error:
        listener._context._failed_inside(error, "the listen callback")


def _on_listener_closed(handle: int) -> None:
    listener = _listeners.pop(handle, None)
    if listener is None:
        return
    listener._context._listeners.discard(listener)
    listener._failed(Error(_errors.ECANCELED, "the listener is closed", listener.url))
    for waiter in listener._close_waiters:
        _settle(waiter)


_ON_PEER = _ffi.callback("weft_listen_cb", _on_peer)
_ON_CLOSED = _ffi.callback("weft_listener_close_cb", _on_listener_closed)


class Listener:
    """Waits for peers. weft.listen makes it. `url` is the address in use, with the real port."""

    def __init__(self, context: Context, backlog: int, handler: Optional[Handler], admit: Optional[Admit]) -> None:
        self._generation = _errors.generation
        self._context = context
        self._loop = context._attach()
        self._backlog = backlog
        self._handler = handler
        self._admit = admit
        self._tasks: Set[asyncio.Task[None]] = set()
        self._queue: Deque[Connection] = deque()
        self._more = False  # others wait in libweft's backlog: they found the queue full
        self._getters: Deque[asyncio.Future[None]] = deque()
        self._error: Optional[Error] = None
        self._closing = False
        self._close_waiters: List[asyncio.Future[None]] = []
        self._owner, self._address = _ffi.block("LISTENER")
        self.url = ""
        check(lib.weft_listener_init(context._address, self._address), "listener")
        _listeners[self._address] = self
        context._listeners.add(self)

    def __repr__(self) -> str:
        return f"<weft.Listener {self.url} {'closed' if self._closing else 'open'}>"

    def _listen(self, url: str) -> None:
        self._spins = spins(parse_url(url))
        # Up to a second where the providers have not been looked up yet; other threads of Python run meanwhile.
        check(slow.weft_listen(self._address, url.encode(), self._backlog, _ON_PEER), url)
        self._context._kick()
        text = ctypes.create_string_buffer(1024)
        length = ctypes.c_size_t(len(text))
        check(lib.weft_listener_addr(self._address, ctypes.addressof(text), ctypes.addressof(length)), url)
        self.url = text.value.decode()

    def _on_peer(self) -> None:
        pointer = lib.weft_listener_peer(self._address)
        peer = Peer._of(pointer) if pointer else None
        if self._admit is not None and peer is not None:
            try:
                answer = self._admit(peer)
            except BaseException:
                lib.weft_reject(self._address, _errors.ECANCELED, b"the listener's program failed")
                raise
            if answer is False or isinstance(answer, str):
                why = answer if isinstance(answer, str) else "rejected"
                lib.weft_reject(self._address, _errors.EREJECTED, why.encode()[:200])
                return
        if len(self._queue) < self._backlog:
            self._take_peer(peer)
        else:
            self._more = True

    def _take_peer(self, peer: Optional[Peer]) -> bool:
        conn = Connection(self._context, self.url, peer)
        code = lib.weft_accept(self._address, conn._address)
        if code < 0:
            conn.abort()
            if code != _errors.EAGAIN:
                raise Error(code, "", f"accepting at {self.url}")
            return False
        if self._spins or (peer is not None and peer._spins):
            self._context._spins = True
        conn._start()
        if self._handler is not None:
            task = self._loop.create_task(self._serve(conn, self._handler))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._queue.append(conn)
            self._wake(False)
        return True

    async def _serve(self, conn: Connection, handler: Handler) -> None:
        try:
            async with conn:
                await handler(conn)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._loop.call_exception_handler(
                {"message": f"weft: exception in the handler of {conn._name()}", "exception": error}
            )

    def _wake(self, everyone: bool) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                _settle(getter)
                if not everyone:
                    break

    def _failed(self, error: Error) -> None:
        if self._error is None:
            self._error = error
        self._wake(True)

    async def accept(self) -> Connection:
        """The next peer's connection, open. Error ECANCELED once the listener is closed, or what made it fail."""
        check_fork(self._generation, "this listener")
        if self._handler is not None:
            raise RuntimeError("this listener has a handler that takes its connections")
        while not self._queue:
            if self._error is not None:
                raise Error(self._error.code, self._error.reason)
            getter = self._loop.create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                if self._queue and not getter.cancelled():
                    self._wake(False)
                raise
        conn = self._queue.popleft()
        while self._more and not self._closing and len(self._queue) < self._backlog:
            self._more = self._take_peer(None)
        return conn

    def __aiter__(self) -> AsyncIterator[Connection]:
        return self

    async def __anext__(self) -> Connection:
        try:
            return await self.accept()
        except Error as error:
            if error.code == _errors.ECANCELED:
                raise StopAsyncIteration from None
            raise

    async def serve_forever(self) -> None:
        """Until the task is cancelled or the listener fails: for a listener with a handler."""
        getter = self._loop.create_future()
        self._getters.append(getter)
        if self._error is None:
            await getter
        if self._error is not None and self._error.code != _errors.ECANCELED:
            raise Error(self._error.code, self._error.reason)

    def _close_now(self) -> None:
        if self._closing:
            return
        self._closing = True
        if self._generation != _errors.generation:
            _listeners.pop(self._address, None)
            self._context._listeners.discard(self)
            return
        lib.weft_listener_close(self._address, _ON_CLOSED)
        self._context._kick()

    async def _wait_closed(self) -> None:
        if self._address in _listeners:
            waiter = self._loop.create_future()
            self._close_waiters.append(waiter)
            await waiter

    async def close(self) -> None:
        """Accept nobody any more. Connections live on, but those that nobody has accepted are aborted; handlers that run
        are not cancelled."""
        if self._generation == _errors.generation:
            self._close_now()
            while self._queue:
                self._queue.popleft().abort()
            await self._wait_closed()

    async def __aenter__(self) -> "Listener":
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close, and cancel the handlers that still run."""
        await self.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))


class _Listening:
    def __init__(self, url: str, context: Optional[Context], options: Dict[str, Any], needs: Dict[str, Value]) -> None:
        self._url = url
        self._context = context
        self._options = options
        self._needs = needs
        self._listener: Optional[Listener] = None

    async def _open(self) -> Listener:
        url = with_needs(self._url, self._needs)
        listener = Listener(self._context or default_context(), **self._options)
        try:
            listener._listen(url)
        except BaseException:
            await listener.close()
            raise
        return listener

    def __await__(self) -> Generator[Any, None, Listener]:
        return self._open().__await__()

    async def __aenter__(self) -> Listener:
        self._listener = await self._open()
        return self._listener

    async def __aexit__(self, *exc: Any) -> None:
        assert self._listener is not None
        await self._listener.__aexit__(*exc)


def listen(
    url: str,
    handler: Optional[Handler] = None,
    *,
    backlog: int = 128,
    admit: Optional[Admit] = None,
    context: Optional[Context] = None,
    **needs: Value,
) -> _Listening:
    """Listen at weft://ADDRESS:PORT (* for all addresses, port 0 for a free one); `await` it for a Listener, or
    `async with` it.

    handler   an async function that gets each Connection in a task of its own; the connection is closed when it
              returns, aborted when it raises (which goes to the event loop's exception handler). Without one: `async
              for conn in listener`, or `await listener.accept()`
    backlog   connections that may wait for the program
    admit     called with the Peer before a connection is made: False or a sentence (why) turns it away with EREJECTED.
              A plain, quick function; it must not call Weft
    needs     as for weft.connect: what this end needs of its connections

    It may block for the time of one look-up of the providers (under 1 s) on first use. Error: EURL, UV_EADDRINUSE,
    UV_EADDRNOTAVAIL, UV_EACCES, ENOPROVIDER; ENOENT, EINVAL for a bad need."""
    return _Listening(url, context, {"backlog": backlog, "handler": handler, "admit": admit}, needs)


__all__ = ["Listener", "listen"]
