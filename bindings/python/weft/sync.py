# SPDX-License-Identifier: Apache-2.0
"""The same without asyncio: calls that block, from any thread.

    import weft.sync

    with weft.sync.connect("weft://db7:7000", latency="50us") as c:
        c.send(b"hello")
        answer = c.recv(timeout=2.0)

Design notes
  - One thread per process runs an event loop with one context; every call here hands a coroutine to it and waits.
    Calls may come from any thread. A call that times out has ended there when it returns; one that is interrupted
    (Ctrl-C) is cancelled there and does not wait for it.
  - A forked child has no such thread: what was opened before the fork answers Error EFORK; new connections start a
    thread anew.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from types import TracebackType
from typing import Any, Coroutine, Dict, Iterator, List, Optional, Type, TypeVar

from . import _conn, _errors, _listener
from ._context import Context
from ._errors import EOF, ETIMEDOUT, Error
from ._needs import Peer, Value, Verdict, candidates, with_needs

T = TypeVar("T")


async def _bounded(coroutine: Coroutine[Any, Any, T], timeout: Optional[float], what: str) -> T:
    """The time limit is kept on the loop's own thread: a message that arrives in the last moment is the answer, never
    lost between the two threads."""
    if timeout is None:
        return await coroutine
    task = asyncio.ensure_future(coroutine)
    try:
        await asyncio.wait([task], timeout=timeout)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not task.done():
        task.cancel()
        await asyncio.wait([task])
    if task.cancelled():
        raise Error(ETIMEDOUT, f"not within {timeout} s", what)
    return task.result()


class _Runner:
    """The thread, its event loop, its context."""

    def __init__(self, options: Dict[str, Value]) -> None:
        self.generation = _errors.generation
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="weft", daemon=True)
        self._thread.start()
        self._ended = False
        try:
            self.context = self.call(self._make(options))
        except BaseException:
            self.end()
            raise

    async def _make(self, options: Dict[str, Value]) -> Context:
        context = Context(**options)
        context._attach()
        return context

    def call(self, coroutine: Coroutine[Any, Any, T], timeout: Optional[float] = None, what: str = "weft") -> T:
        if self.generation != _errors.generation or self._ended:
            coroutine.close()
            if self._ended:
                raise Error(_errors.ECANCELED, "the context is closed", what)
            raise Error(_errors.EFORK, "it belongs to the parent process; connect anew after fork", what)
        future = asyncio.run_coroutine_threadsafe(_bounded(coroutine, timeout, what), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # an interrupt; harmless when it has ended
            raise

    def end(self) -> None:
        if self._ended or self.generation != _errors.generation:
            return
        try:
            context = getattr(self, "context", None)
            if context is not None:
                self.call(context.close(), 10.0)
        finally:
            self._ended = True
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5.0)
            if not self._thread.is_alive():
                self._loop.close()


_lock = threading.Lock()
_default: Optional[_Runner] = None


def _in_child() -> None:
    global _lock
    _lock = threading.Lock()  # the thread that held it when the process forked is not here to give it back


os.register_at_fork(after_in_child=_in_child)


def _runner() -> _Runner:
    global _default
    with _lock:
        if _default is None or _default.generation != _errors.generation or _default._ended:
            _default = _Runner({})
        return _default


@atexit.register
def _at_exit() -> None:
    if _default is not None:
        _default.end()


class Connection:
    """A connection whose calls block. Any thread may call; two that receive at once share the messages."""

    def __init__(self, runner: _Runner, conn: _conn.Connection) -> None:
        self._runner = runner
        self._conn = conn
        self.url = conn.url
        self.peer: Optional[Peer] = conn.peer

    def __repr__(self) -> str:
        return repr(self._conn).replace("weft.Connection", "weft.sync.Connection")

    def _call(self, coroutine: Coroutine[Any, Any, T], timeout: Optional[float] = None) -> T:
        return self._runner.call(coroutine, timeout, self._conn._name())

    def send(self, data: Any, timeout: Optional[float] = None) -> None:
        """Send one message and wait until the peer has it. After Error ETIMEDOUT (timeout in seconds, None: for ever) it
        was taken back or is still being delivered; its memory is held until then. Errors as Connection.send."""
        self._call(self._conn.send(data), timeout)

    def write(self, data: Any, timeout: Optional[float] = None) -> None:
        """Queue one message, waiting only while the queue is full."""
        self._call(self._conn.write(data), timeout)

    def recv(self, timeout: Optional[float] = None) -> Any:
        """The next message: bytes, or a memoryview above 4 KiB. Error EOF when the peer has ended, ETIMEDOUT when none
        came within `timeout` seconds (none is lost by that)."""
        return self._call(self._conn.recv(), timeout)

    def __iter__(self) -> Iterator[Any]:
        while True:
            try:
                yield self.recv()
            except Error as error:
                if error.code == EOF:
                    return
                raise

    def shutdown(self) -> None:
        """Tell the peer that no more comes; returns when it has everything."""
        self._call(self._conn.shutdown())

    def close(self) -> None:
        """End in order, as Connection.close of the package."""
        self._call(self._conn.close())

    def abort(self) -> None:
        """Close at once; the peer gets ECONNRESET."""

        async def abort() -> None:
            self._conn.abort()
            await self._conn.wait_closed()

        self._call(abort())

    def info(self) -> Dict[str, Any]:
        """As Connection.info of the package."""

        async def info() -> Dict[str, Any]:
            return self._conn.info()

        return self._call(info())

    def verdicts(self) -> List[Verdict]:
        """Why this transport and not another."""

        async def verdicts() -> List[Verdict]:
            return self._conn.verdicts()

        return self._call(verdicts())

    def __enter__(self) -> "Connection":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


class Listener:
    """A listener whose accept blocks."""

    def __init__(self, runner: _Runner, listener: _listener.Listener) -> None:
        self._runner = runner
        self._listener = listener
        self.url = listener.url

    def accept(self, timeout: Optional[float] = None) -> Connection:
        """The next peer's connection. Error ETIMEDOUT when none came within `timeout` seconds, ECANCELED once closed."""
        return Connection(self._runner, self._runner.call(self._listener.accept(), timeout, self.url))

    def __iter__(self) -> Iterator[Connection]:
        while True:
            try:
                yield self.accept()
            except Error as error:
                if error.code == _errors.ECANCELED:
                    return
                raise

    def close(self) -> None:
        """Accept nobody any more; connections live on."""
        self._runner.call(self._listener.close(), None, self.url)

    def __enter__(self) -> "Listener":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def connect(url: str, **needs: Value) -> Connection:
    """As weft.connect; blocks until the connection is open or Error says why not."""
    runner = _runner()

    async def opened() -> _conn.Connection:
        return await _conn.connect(url, context=runner.context, **needs)

    return Connection(runner, runner.call(opened(), None, url))


def listen(url: str, *, backlog: int = 128, **needs: Value) -> Listener:
    """As weft.listen, without a handler."""
    runner = _runner()

    async def opened() -> _listener.Listener:
        return await _listener.listen(with_needs(url, needs), backlog=backlog, context=runner.context)

    return Listener(runner, runner.call(opened(), None, url))


__all__ = ["Connection", "Listener", "connect", "listen", "candidates", "Error"]
