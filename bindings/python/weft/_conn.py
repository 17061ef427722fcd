# SPDX-License-Identifier: Apache-2.0
"""A connection: send, receive, watch, end.

Design notes
  - C callbacks fill `_rx` and wake tasks; the code of the user runs in tasks. A connection is found by its handle's
    address in `_conns`, which keeps it alive until libweft has given the handle back.
  - Received messages wait in `_rx` up to RX_MESSAGES or RX_BYTES of large ones; then receiving stops and the peer's
    window closes. It goes on when half of that is left.
  - Small queued messages go by weft_try_send: a copy, and no callback. A send that is awaited goes by weft_send, whose
    callback is the peer's acknowledgement.
  - A task that is about to wait for a message first turns Weft itself, so that what it has just sent leaves at once.
"""

from __future__ import annotations

import asyncio
import json
import ctypes
import weakref
from collections import deque
from typing import Any, AsyncIterator, Callable, Deque, Dict, Generator, List, Optional, Tuple

from . import _errors, _ffi, _memory
from ._context import _INLINE_MAX, Context, default_context
from ._errors import Error, check, check_fork
from ._events import WRITABLE, Event, EventStream
from ._ffi import lib
from ._needs import Peer, Value, Verdict, needs_of, spins, verdicts_of
from ._wait import Waiter

#: Messages up to this many bytes arrive as bytes, larger ones as a read-only memoryview without a copy.
BYTES_MAX = 4096
TRY_MAX = 64 * 1024  # weft_try_send's limit
RX_MESSAGES = 1024
RX_BYTES = 8 << 20
FLUSH_EVERY = 32  # queued messages after which they leave although the task goes on
LINGER = 1.0  # seconds that close waits for the peer's own end after ours

_conns: Dict[int, "Connection"] = {}
_connects: Dict[int, "Connection"] = {}
#: request -> (connection, what owns the request)
_shutdowns: Dict[int, Tuple["Connection", Any]] = {}
#: Sends under way: request -> (context, connection, future or None, what holds the memory, exported?, length)
_sends: Dict[int, Tuple[Any, ...]] = {}

_msg_size = lib.weft_msg_size
_msg_data = lib.weft_msg_data
_try_send = lib.weft_try_send
_bytes_at = _ffi.bytes_at
_EAGAIN = _errors.EAGAIN
#: Errors of one call, which leave the connection as it is.
_OF_ONE_CALL = (_errors.EMSGSIZE, _errors.ENOBUFS, _errors.EPIPE, _errors.EALREADY, _errors.EINVAL)


def _settle(future: Optional["asyncio.Future[Any]"], error: Optional[Error] = None) -> None:
    if future is None or future.done():
        return
    try:
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
    except RuntimeError:  # its loop is closed: nobody waits any more
        pass


# ---- Callbacks --------------------------------------------------------------------------------------------------


def _on_recv(handle: int, status: int, message: int) -> None:
    conn = _conns[handle]
    try:
        if status == 0:
            size = _msg_size(message)
            rx = conn._rx
            if size <= BYTES_MAX:
                rx.append(_bytes_at(_msg_data(message), size))
            else:
                conn._take_large(message, size)
            if len(rx) >= RX_MESSAGES:
                conn._pause()
        elif status == _errors.EOF:
            conn._eof = True
        else:
            conn._ended(Error(status, conn._why(), conn._name()))
        context = conn._context
        context._active = True
        if conn._getters:
            if status != 0:
                conn._wake_getters(True)
            elif context._eager and (context._unflushed or conn._resumed_in != context._turns):
                # Once a turn, unless it answers: then each answer goes with what is acknowledged. What else has come is
                # taken in one go, without a resumption per message.
                conn._resumed_in = context._turns
                getter = conn._getters.popleft()
                while getter.done() and conn._getters:  # cancelled, and its task has not run since
                    getter = conn._getters.popleft()
                if not getter.done():
                    context._eager -= 1
                    getter.wake(None, True)
                    return
            else:
                conn._wake_getters(False)
        if context._spins:
            context._break_spin()
    except BaseException as error:
        conn._context._failed_inside(error, "the receive callback")


def _on_sent(request: int, status: int) -> None:
    context, conn, future, held, exported, length = _sends.pop(request)
    context._requests.free.append(request)
    try:
        if exported:
            _memory.unexport(held)
        if future is not None:
            at_once = context._eager > 0
            if at_once:
                context._eager -= 1
            future.wake(None if status == 0 else conn._send_error(status), at_once)
        else:
            conn._queued_large -= length
            if status != 0:
                conn._queue_failed(status)
            conn._wake_writers()
        if context._spins and not context._eager:
            context._break_spin()
    except BaseException as error:
        context._failed_inside(error, "the send callback")


def _on_connected(request: int, status: int) -> None:
    conn = _connects.pop(request)
    if status < 0:
        conn._ended(Error(status, conn._why(), conn._name()))
    _settle(conn._connecting, conn._error)


def _on_shutdown(request: int, status: int) -> None:
    conn, _ = _shutdowns.pop(request)
    error = Error(status, "" if status == _errors.ETIMEDOUT else conn._why(), conn._name()) if status < 0 else None
    _settle(conn._shutting, error)
    if error is not None and conn._shutting is not None and not conn._shutting.cancelled():
        conn._shutting.exception()  # whoever waited may be gone: that is no news for the event loop's log


def _on_event(handle: int, pointer: int) -> None:
    conn = _conns[handle]
    try:
        raw = _ffi.Event.from_address(pointer)
        if raw.type == WRITABLE:
            conn._wake_writers()
            if conn._context._spins:
                conn._context._break_spin()
            return
        if conn._streams or conn.on_event is not None:
            event = Event._of(raw)
            for stream in conn._streams:
                stream._put(event)
            if conn.on_event is not None:
                conn._loop.call_soon(conn.on_event, event)
    except BaseException as error:
        conn._context._failed_inside(error, "the event callback")


def _on_conn_closed(handle: int) -> None:
    conn = _conns.pop(handle, None)
    if conn is None:
        return
    conn._context._conns.discard(conn)
    conn._ended(Error(_errors.ECANCELED, "the connection is closed", conn._name()))
    for stream in conn._streams:
        stream._end()
    for waiter in conn._close_waiters:
        _settle(waiter)
    conn._close_waiters.clear()


_ON_RECV = _ffi.callback("weft_recv_cb", _on_recv)
_ON_SENT = _ffi.callback("weft_send_cb", _on_sent)
_ON_CONNECTED = _ffi.callback("weft_connect_cb", _on_connected)
_ON_SHUTDOWN = _ffi.callback("weft_shutdown_cb", _on_shutdown)
_ON_EVENT = _ffi.callback("weft_event_cb", _on_event)
_ON_CLOSED = _ffi.callback("weft_conn_close_cb", _on_conn_closed)


# ---- The connection ---------------------------------------------------------------------------------------------


class Connection:
    """A connection to one peer; weft.connect and weft.listen make it. It belongs to its event loop's thread.

    Messages keep their boundaries and order and arrive exactly once while both processes live, whatever becomes of the
    paths below. Use it as `async with`: at the end of the block what was sent is delivered and the connection closed
    in order; if the block raises it is aborted, so that the peer cannot take half for the whole. One that nobody closes
    lives until its context is closed."""

    def __init__(self, context: Context, url: str, peer: Optional[Peer] = None) -> None:
        self._generation = _errors.generation
        self._context = context
        self._loop = context._attach()
        self.url = url
        #: Who connected, on the listening side; None on the connecting side, and for a peer that had to wait in the
        #: backlog.
        self.peer = peer
        #: Called as a plain function in the event loop for each Event; None for nothing.
        self.on_event: Optional[Callable[[Event], Any]] = None
        self._owner, self._address = _ffi.block("CONN")
        self._rx: Deque[Any] = deque()
        self._rx_large = 0
        self._paused = False
        self._getters: Deque[Waiter] = deque()
        self._resumed_in = -1
        self._writers: Deque[asyncio.Future[None]] = deque()
        self._queued_large = 0
        self._eof = False
        self._error: Optional[Error] = None  # why nothing more arrives or leaves
        self._told = False
        self._closing = False
        self._connecting: Optional[asyncio.Future[None]] = None
        self._shutting: Optional[asyncio.Future[None]] = None
        self._connect_owner: Any = None
        self._close_waiters: List[asyncio.Future[None]] = []
        self._streams: "weakref.WeakSet[EventStream]" = weakref.WeakSet()
        check(lib.weft_conn_init(context._address, self._address), url)
        _conns[self._address] = self
        context._conns.add(self)

    def __repr__(self) -> str:
        state = "closed" if self._closing else "ended" if self._error else "open"
        return f"<weft.Connection {self._name()} {state}>"

    def _name(self) -> str:
        return self.peer.address if self.peer is not None else self.url

    def _why(self) -> str:
        return str(lib.weft_conn_error(self._address).decode(errors="replace"))

    def _start(self) -> None:
        """Receive and watch, from before the first message can be there."""
        check(lib.weft_conn_on_event(self._address, _ON_EVENT), self._name())
        check(lib.weft_recv_start(self._address, None, _ON_RECV), self._name())
        self._context._kick()

    async def _connect(self, needs: Any) -> None:
        self._connect_owner, request = _ffi.block("CONNECT")
        if spins(needs):
            self._context._spins = True
        self._connecting = self._loop.create_future()
        self._start()
        _connects[request] = self
        code = lib.weft_connect(request, self._address, self.url.encode(), ctypes.addressof(needs), _ON_CONNECTED)
        if code < 0:
            del _connects[request]
            raise Error(code, self._why(), self.url)
        self._context._kick()
        await self._connecting

    # ---- Sending ----

    async def send(self, data: Any) -> None:
        """Send one message and wait until the peer has all of it (with ack=consumed: until the peer has taken it).

        `data` is bytes or any contiguous buffer, read-only ones too. It is not copied: do not change it before this
        returns. When the task is cancelled the message is taken back if nothing of it has left, otherwise it is
        delivered; its memory is held until then.
        Error: EMSGSIZE (over the peer's limit), ENOBUFS (the receiver refused it), EPIPE (after shutdown), ENOTCONN,
        ECONNRESET, EPEERLOST and others when the connection is lost: then the message was delivered at most once."""
        future = Waiter(self._loop)
        request = self._post(data, future, 0)
        context = self._context
        context._unflushed += 1
        if not context._scheduled:
            context._kick()
        try:
            await future
        except asyncio.CancelledError:
            sending = _sends.get(request)
            if sending is not None and sending[2] is future:
                lib.weft_cancel(request)  # what has left completes normally
                context._kick()
            raise

    def _post(self, data: Any, future: Optional[Waiter], length: int) -> int:
        """weft_send. The memory is held until _on_sent."""
        context = self._context
        free = context._requests.free
        request = free.pop() if free else context._requests.take()
        held: Any = data
        exported = False
        if type(data) is bytes and len(data) <= TRY_MAX:  # what the staging buffer names it keeps until the next send
            buf = context._bytes_buf
            buf.base = data
            buf.len = len(data)
            at = context._bytes_at
        else:
            try:
                held, exported = _memory.export(data), True
            except BaseException:
                free.append(request)
                raise
            buf = context._buf
            buf.base = held.buf
            buf.len = held.len
            at = context._buf_at
        # Before the call: a signal's exception right after it may not let go of what libweft reads from.
        _sends[request] = (context, self, future, held, exported, length)
        code = lib.weft_send(request, self._address, at, 1, _ON_SENT)
        if code < 0:
            del _sends[request]
            free.append(request)
            if exported:
                _memory.unexport(held)
            raise self._send_error(code)
        return request

    def send_nowait(self, data: Any) -> None:
        """Queue one message and return. Up to 64 KiB are copied; more is held (bytes) or copied (what could change).

        Error EAGAIN when more than the option send_queue (1 MiB) is queued: nothing was taken, `await write(...)`
        waits for room. What is lost with the connection shows in the next call, and as the error of shutdown or
        close; only `send` tells for a single message."""
        context = self._context
        if type(data) is bytes and len(data) <= TRY_MAX:
            buf = context._bytes_buf
            buf.base = data
            buf.len = len(data)
            code = _try_send(self._address, context._bytes_at, 1)
        else:
            code = self._queue(data)
        if code < 0:
            raise self._send_error(code)
        context._unflushed = unflushed = context._unflushed + 1
        if unflushed >= FLUSH_EVERY:
            context._turn_now()
        elif not context._scheduled:
            context._kick()

    def _queue(self, data: Any) -> int:
        """What the fast way cannot: other buffers, and large messages. The code of weft_try_send or weft_send."""
        context = self._context
        view = _memory.export(data)
        try:
            if view.len <= TRY_MAX:
                context._buf.base = view.buf
                context._buf.len = view.len
                return int(_try_send(self._address, context._buf_at, 1))
            length = int(view.len)
            frozen = view.readonly != 0
        finally:
            _memory.unexport(view)
        if self._queued_large and self._queued() + length > context._send_queue:
            return _EAGAIN
        self._queued_large += length
        try:
            self._post(data if frozen else bytes(data), None, length)
        except BaseException:
            self._queued_large -= length
            raise
        return 0

    async def write(self, data: Any) -> None:
        """As send_nowait, but wait for room while the queue is full: for streams of messages. Returns when the message
        is queued, not when it has arrived; `shutdown`, `close` or a last `send` tell that all have. Errors: as send."""
        context = self._context
        if type(data) is bytes and len(data) <= TRY_MAX:
            buf = context._bytes_buf
            buf.base = data
            buf.len = len(data)
            code = _try_send(self._address, context._bytes_at, 1)
        else:
            code = self._queue(data)
        if code < 0:
            if code != _EAGAIN:
                raise self._send_error(code)
            await self._write_later(data)
        context._unflushed = unflushed = context._unflushed + 1
        if unflushed >= FLUSH_EVERY:
            context._turn_now()
        elif not context._scheduled:
            context._kick()

    async def _write_later(self, data: Any) -> None:
        code = _EAGAIN
        while code == _EAGAIN:
            waiter = self._loop.create_future()
            self._writers.append(waiter)
            self._context._kick()
            try:
                await waiter
            finally:
                if waiter in self._writers:
                    self._writers.remove(waiter)
            if self._error is not None:
                raise self._send_error(self._error.code)
            code = self._queue(data)
        if code < 0:
            raise self._send_error(code)

    def _queued(self) -> int:
        return int(lib.weft_conn_queued_bytes(self._address))

    @property
    def queued_bytes(self) -> int:
        """Bytes of messages accepted here and not yet acknowledged by the peer."""
        return self._queued()

    def _wake_writers(self) -> None:
        for waiter in self._writers:
            _settle(waiter)

    def _queue_failed(self, status: int) -> None:
        """A queued large message failed. ENOBUFS concerns it alone; with the rest the connection ends."""
        if self._error is None:
            error = Error(status, self._why() or "a queued message was not taken", self._name())
            self._loop.call_exception_handler(
                {"message": f"weft: a message queued by write or send_nowait failed: {error}", "exception": error}
            )

    def _send_error(self, code: int) -> Error:
        if self._generation != _errors.generation:
            return Error(_errors.EFORK, "it belongs to the parent process; connect anew after fork", self._name())
        if self._closing:
            return Error(_errors.ECANCELED, "the connection is closed", self._name())
        if code == _errors.EAGAIN:
            return Error(code, f"{self._queued()} bytes are queued; await write() waits for room", self._name())
        if self._error is not None or code not in _OF_ONE_CALL:
            self._told = True
        if self._error is not None and code in (_errors.ENOTCONN, self._error.code, _errors.EPIPE):
            return Error(self._error.code, self._error.reason)
        return Error(code, self._why(), self._name())

    # ---- Receiving ----

    async def recv(self) -> Any:
        """The next message: bytes up to 4 KiB, above that a read-only memoryview of Weft's own memory, which is given
        back with its last slice. A task that is cancelled takes no message.

        Error: EOF when the peer has shut down and all is read; ECONNRESET, EPEERLOST and others when the connection is
        lost; ECANCELED after close. Messages that had arrived before come first."""
        rx = self._rx
        if not rx:
            await self._wait()
        if self._paused or self._rx_large:
            return self._take()
        return rx.popleft()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        rx = self._rx
        if not rx:
            try:
                await self._wait()
            except Error as error:
                if error.code == _errors.EOF:
                    raise StopAsyncIteration from None
                raise
        if self._paused or self._rx_large:
            return self._take()
        return rx.popleft()

    def _take(self) -> Any:
        message = self._rx.popleft()
        size = len(message)
        if size > BYTES_MAX:
            self._rx_large -= size
        if self._paused and len(self._rx) <= RX_MESSAGES // 2 and self._rx_large <= RX_BYTES // 2 and not self._closing:
            self._paused = False
            if lib.weft_recv_start(self._address, None, _ON_RECV) == 0:
                self._context._kick()
        return message

    async def _wait(self) -> None:
        """Until there is a message; raises when none will come."""
        context = self._context
        if context._unflushed and context._inline < _INLINE_MAX and not context._spins:
            context._inline += 1
            context._turn_now()
        rx = self._rx
        while not rx:
            if self._generation != _errors.generation:
                raise self._send_error(_errors.EFORK)
            if self._eof:
                raise Error(_errors.EOF, "the peer has ended", self._name())
            if self._error is not None:
                self._told = True
                raise Error(self._error.code, self._error.reason)
            getter = Waiter(self._loop)
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                if getter in self._getters:
                    self._getters.remove(getter)
                if rx and not getter.cancelled():  # woken for a message that another one must take now
                    self._wake_getters(False)
                raise

    def _wake_getters(self, everyone: bool) -> None:
        getters = self._getters
        while getters:
            getter = getters.popleft()
            if not getter.done():
                getter.wake()
                if not everyone:
                    break

    def _take_large(self, message: int, size: int) -> None:
        kept = lib.weft_msg_retain(message)
        if not kept:
            self._ended(Error(_errors.ENOBUFS, f"no memory to keep a message of {size} bytes", self._name()))
            self.abort()
            return
        self._rx.append(_memory.view_of(kept, self._context._views))
        self._rx_large += size
        if self._rx_large >= RX_BYTES:
            self._pause()

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            lib.weft_recv_stop(self._address)

    def _ended(self, error: Error) -> None:
        if self._error is None:
            self._error = error
        self._wake_getters(True)
        self._wake_writers()

    # ---- Watching ----

    def events(self) -> EventStream:
        """An asynchronous iterator over the events from now until the connection is closed. Error EFORK in a forked
        child, also from an iterator made before."""
        check_fork(self._generation, "this connection")
        stream = EventStream(self._loop)
        if self._closing:
            stream._end()
        self._streams.add(stream)
        return stream

    def info(self) -> Dict[str, Any]:
        """All there is to know (weft_conn_info_json): provider, paths, verdicts, limits, RTT percentiles, counters.
        Error EFORK in a forked child, EINVAL once the connection is closed."""
        check_fork(self._generation, "this connection")
        room = 8192
        while True:
            text = ctypes.create_string_buffer(room)
            length = ctypes.c_size_t(room)
            code = lib.weft_conn_info_json(self._address, ctypes.addressof(text), ctypes.addressof(length))
            if code == _errors.ENOBUFS and length.value + 1 > room:
                room = length.value + 1024
                continue
            check(code, self._name())
            found: Dict[str, Any] = json.loads(text.value.decode(errors="replace"))
            return found

    def verdicts(self) -> List[Verdict]:
        """Why this transport and not another: every candidate's verdict, best first."""
        check_fork(self._generation, "this connection")
        return verdicts_of(self._address)

    def migrate(self, provider: Optional[str] = None) -> None:
        """Move sending to an open path over `provider`, or the path "provider/device", or with None to the next best
        one. Error ENOENT when there is none, EALREADY when it is there."""
        check_fork(self._generation, "this connection")
        check(lib.weft_conn_migrate(self._address, provider.encode() if provider else None), self._name())
        self._context._kick()

    @property
    def closed(self) -> bool:
        """True once close or abort was called."""
        return self._closing

    # ---- The end ----

    async def shutdown(self) -> None:
        """Send what is queued, then tell the peer that no more comes: it reads EOF, and may still send. Returns when the
        peer has everything. Error ETIMEDOUT when nothing moves for the option shutdown_timeout_ms (5 s), EALREADY the
        second time, or what ended the connection. When the task is cancelled it goes on, and `close` waits for it."""
        self._begin_shutdown()
        try:
            await self._shut()
        except Error:
            self._told = True
            raise

    def _begin_shutdown(self) -> None:
        owner, request = _ffi.block("SHUTDOWN")
        future = self._loop.create_future()
        _shutdowns[request] = (self, owner)
        code = lib.weft_shutdown(request, self._address, _ON_SHUTDOWN)
        if code < 0:
            del _shutdowns[request]
            raise self._send_error(code)
        self._shutting = future
        self._context._kick()

    async def _shut(self) -> None:
        """Wait for what _begin_shutdown began. It goes on when the task that waits is cancelled."""
        assert self._shutting is not None
        await asyncio.wait([self._shutting])
        self._shutting.result()

    async def close(self) -> None:
        """End in order: shut down (unless that was done), give the peer up to a second to end too, close. Messages that
        arrive meanwhile are dropped. Raises what shutdown raises, if nothing has told it before; the connection is
        closed in any case, also when the task is cancelled."""
        failed: Optional[Error] = None
        if not self._closing and self._generation == _errors.generation:
            try:
                if self._error is None:
                    if self._shutting is None:
                        self._begin_shutdown()
                    if self._shutting is not None and not (self._shutting.done() and self._told):
                        await self._shut()
                    await self._linger()
                elif not self._told:
                    failed = Error(self._error.code, self._error.reason)
            except Error as error:
                if not self._eof and not self._told:
                    failed = error
            finally:
                self.abort()
        await self.wait_closed()
        if failed is not None:
            raise failed

    async def _linger(self) -> None:
        """Wait for the peer's end: what we close before that is a reset to it."""
        deadline = self._loop.call_later(LINGER, self._wake_getters, True)
        late = self._loop.time() + LINGER * 0.9  # before the timer, whose clock is coarse
        try:
            while not self._eof and self._error is None and self._loop.time() < late:
                while self._rx:
                    self._take()
                getter = Waiter(self._loop)
                self._getters.append(getter)
                await getter
        finally:
            deadline.cancel()

    def abort(self) -> None:
        """Close at once: the peer gets ECONNRESET unless both ends had ended in order, what waits here gets ECANCELED.
        Harmless when it is closed already."""
        if self._closing:
            return
        self._closing = True
        if self._generation != _errors.generation:
            _conns.pop(self._address, None)
            self._context._conns.discard(self)
            return
        lib.weft_conn_close(self._address, _ON_CLOSED)
        self._context._kick()

    async def wait_closed(self) -> None:
        """Until somebody has closed the connection and libweft has given back every buffer it was sending from. In a
        forked child: not at all."""
        if self._address in _conns and self._generation == _errors.generation:
            waiter = self._loop.create_future()
            self._close_waiters.append(waiter)
            await waiter

    async def __aenter__(self) -> "Connection":
        return self

    async def __aexit__(self, kind: Optional[type], *exc: object) -> None:
        if kind is not None:
            self.abort()
            await self.wait_closed()
        else:
            await self.close()


class _Connecting:
    """What weft.connect returns: await it, or use it in `async with`."""

    def __init__(self, url: str, context: Optional[Context], needs: Dict[str, Value]) -> None:
        self._url = url
        self._context = context
        self._needs = needs
        self._conn: Optional[Connection] = None

    async def _open(self) -> Connection:
        needs = needs_of(self._url, self._needs)
        conn = Connection(self._context or default_context(), self._url)
        try:
            await conn._connect(needs)
        except BaseException:
            conn.abort()
            raise
        return conn

    def __await__(self) -> Generator[Any, None, Connection]:
        return self._open().__await__()

    async def __aenter__(self) -> Connection:
        self._conn = await self._open()
        return self._conn

    async def __aexit__(self, *exc: Any) -> None:
        assert self._conn is not None
        await self._conn.__aexit__(*exc)


def connect(url: str, *, context: Optional[Context] = None, **needs: Value) -> _Connecting:
    """Connect to weft://HOST:PORT; `await` it for a Connection, or `async with` it.

    Needs by name override those in the URL: latency="20us", bandwidth="1GB", message_size="64KiB", interruption="200ms",
    reliability="exactly-once" or "at-most-once", ack="received" or "consumed", cpu="auto", "sleep" or "spin",
    spin="50us", strict=True, standby=1, require=["verbs"], forbid="tcp", bootstrap="tcp", preset="realtime",
    "interactive", "bulk" or "background". Durations and rates need their unit.

    Waits at most for the context's option connect_timeout_ms (5 s); a task that is cancelled gives up. Error: EURL,
    ENOENT or EINVAL (a bad need), ECONNREFUSED, ETIMEDOUT, UV_EAI_* (the name), EHOSTUNREACH, ENOTWEFT, EVERSION,
    EREJECTED, EUNMET, ENOPROVIDER; the reason is a whole sentence."""
    return _Connecting(url, context, needs)


__all__ = ["Connection", "connect", "BYTES_MAX"]
