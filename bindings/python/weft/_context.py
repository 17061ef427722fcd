# SPDX-License-Identifier: Apache-2.0
"""A context: one weft_t with a private loop, driven by an asyncio event loop.

Design notes
  - Three things turn it: the descriptor is readable (add_reader), its timeout is over (call_later), or something was
    called from outside its callbacks (one call_soon, however many calls). So no call can leave work undone.
  - weft_process is never entered twice. Its callbacks fill queues and wake tasks; a task that waits for a message or an
    acknowledgement may be resumed inside one (_wait.py), where all of Weft may be called, as in C.
  - A timer that is set too early is left: it fires, and the right one is set then. Moving it each time costs more.
  - While a connection may spin, a turn in which something came or left is followed by another one, which spins (libweft
    spins at the begin of a turn, and weft_timeout_ms does not ask for it). It spins on for its budget even after it has
    delivered something: a task that can be resumed inside answers there, otherwise a post to ourselves ends the spin.
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import select
import time
import weakref
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Set

from . import _errors, _ffi, _memory
from ._errors import Error, check, check_fork
from ._ffi import lib
from ._needs import Value, options_of

if TYPE_CHECKING:
    from ._conn import Connection
    from ._listener import Listener

_process = lib.weft_process
_timeout_ms = lib.weft_timeout_ms

#: All contexts that libweft still has, by address.
_contexts: Dict[int, "Context"] = {}
_EAGER_MAX = 16  # tasks resumed inside one turn; the others wait for the event loop, so that it gets its turn too
_INLINE_MAX = 16  # turns taken inside a task before the event loop gets one


def _on_closed(address: int) -> None:
    context = _contexts.pop(address, None)
    if context is not None:
        context._on_closed()


def _on_post(request: int, status: int) -> None:
    context = _posts.get(request)
    if context is not None:
        context._posted = False


_posts: "weakref.WeakValueDictionary[int, Context]" = weakref.WeakValueDictionary()
_ON_CLOSED = _ffi.callback("weft_close_cb", _on_closed)
_ON_POST = _ffi.callback("weft_post_cb", _on_post)


class Context:
    """One instance of Weft in one asyncio event loop (the one that runs when it is first used).

    Most programs need none: weft.connect and weft.listen make one per event loop, which asyncio.run closes at its
    end. Make your own for its options, by name as weft.options() lists them, with units where they need one:

        async with weft.Context(max_message="1GiB", peer_timeout_ms="10s") as context:
            async with weft.connect(url, context=context) as c: ...

    Everything of a context belongs to its event loop's thread. Error EINVAL or ENOENT names a bad option; Error
    ENOMEM, EMFILE where the system has no more. Close it with `await close()` or `async with`; that aborts its
    connections and closes its listeners."""

    def __init__(self, **options: Value) -> None:
        self._opts = options_of(options)
        self._generation = _errors.generation
        self._owner, self._address = _ffi.block("CONTEXT")
        check(lib.weft_init(None, self._address, ctypes.addressof(self._opts)), "context")
        _contexts[self._address] = self
        self._fd: int = check(lib.weft_fd(self._address), "context")
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._conns: Set[Connection] = set()
        self._listeners: Set[Listener] = set()
        self._views: Dict[int, Any] = {}
        self._closing = False
        self._gone = False  # libweft has given it back
        self._closed_waiters: List["asyncio.Future[None]"] = []
        self._keeper: Any = None

        self._inside = False
        self._eager = 0  # how many tasks may still be resumed inside this turn
        self._turns = 0
        self._scheduled = False
        self._timer: Optional[asyncio.TimerHandle] = None
        self._timer_at = 0.0
        self._turn: Callable[[], None] = self._run  # one bound method, not one per call
        self._unflushed = 0  # calls since the last turn that have something to send
        self._inline = 0
        self._raised: Optional[BaseException] = None

        self._requests = _memory.Requests()
        self._bytes_buf, self._bytes_at, self._buf, self._buf_at = _memory.staging()
        self._send_queue = int(self._opts.send_queue)

        self._spins = False
        self._active = False  # something came or left since the last turn
        self._spinning = False  # the turn that comes is there to spin
        self._spun_idle = 0
        self._spin_off_until = 0.0
        self._posted = False
        self._post_owner, self._post = _ffi.block("POST")
        _posts[self._post] = self

    def __repr__(self) -> str:
        state = "closed" if self._closing else f"{len(self._conns)} connections, {len(self._listeners)} listeners"
        return f"<weft.Context {state}>"

    # ---- The loop ----

    def _attach(self) -> asyncio.AbstractEventLoop:
        """Belong to the running event loop from now on."""
        check_fork(self._generation, "this context")
        loop = asyncio.get_running_loop()
        if self._closing:
            raise Error(_errors.ECANCELED, "the context is closed")
        if self._loop is None:
            self._loop = loop
            loop.add_reader(self._fd, self._turn)
        elif self._loop is not loop:
            raise RuntimeError("this weft.Context belongs to another event loop")
        return loop

    def _run(self) -> None:
        """A turn that the event loop starts: tasks may be resumed inside it."""
        self._scheduled = False
        self._inline = 0
        self._turns += 1
        self._eager = _EAGER_MAX
        try:
            self._turn_now()
        finally:
            self._eager = 0

    def _turn_now(self) -> None:
        """One turn, and the next one booked. Does nothing inside a callback of Weft: the turn goes on there."""
        if self._inside or self._gone:
            return
        self._inside = True
        if self._unflushed:
            self._active = True
        try:
            _process(self._address)
        finally:
            self._inside = False
            self._unflushed = 0
        if self._raised is not None:
            raised, self._raised = self._raised, None
            raise raised
        if self._gone or self._loop is None:
            return
        if self._generation != _errors.generation:  # a forked child: nothing of this is its own
            self._abandon_in_child()
            return
        timeout = _timeout_ms(self._address)
        if timeout == 0 or (self._spins and self._spin_on()):
            self._kick()
        elif timeout > 0:
            at = self._loop.time() + timeout * 0.001
            if self._timer is None:
                self._timer = self._loop.call_later(timeout * 0.001, self._on_timer)
                self._timer_at = at
            elif at < self._timer_at - 0.0005:
                self._timer.cancel()
                self._timer = self._loop.call_later(timeout * 0.001, self._on_timer)
                self._timer_at = at

    def _on_timer(self) -> None:
        self._timer = None
        self._run()

    def _kick(self) -> None:
        """One turn soon. After every call into Weft; inside its callbacks the turn that runs will do."""
        if not self._scheduled and not self._inside and self._loop is not None:
            self._scheduled = True
            try:
                self._loop.call_soon(self._turn)
            except RuntimeError:  # the loop is closed
                self._scheduled = False

    def _spin_on(self) -> bool:
        """Whether a turn that spins shall follow this one. Where several in a row brought nothing (the machine is busy, so
        libweft does not spin; or the peer is slow) none does for a while."""
        if self._active:
            self._active = False
            self._spun_idle = 0 if self._spinning else self._spun_idle
        elif self._spinning:
            self._spinning = False
            self._spun_idle += 1
            if self._spun_idle >= 8 and self._loop is not None:
                self._spun_idle = 0
                self._spin_off_until = self._loop.time() + 0.1
            return False
        else:
            return False
        self._spinning = self._loop is not None and self._loop.time() >= self._spin_off_until
        return self._spinning

    def _break_spin(self) -> None:
        if not self._posted:
            self._posted = lib.weft_post(self._address, self._post, _ON_POST) == 0

    def _failed_inside(self, error: BaseException, what: str) -> None:
        """An exception inside a callback: to the loop's handler, or out of this turn where it means to end the
        program."""
        if not isinstance(error, Exception):
            self._raised = error
        elif self._loop is not None:
            self._loop.call_exception_handler({"message": f"weft: exception in {what}", "exception": error})

    def _detach(self) -> None:
        loop, self._loop = self._loop, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if loop is not None and not loop.is_closed():
            loop.remove_reader(self._fd)

    # ---- The end ----

    async def close(self) -> None:
        """Abort what is open and give everything back. Returns when libweft has let go of it all (some milliseconds;
        seconds where a device hangs). A message that is still kept as a memoryview stays valid and delays only the
        return of memory, not this call."""
        if self._gone or self._generation != _errors.generation:
            self._abandon_in_child()
            return
        loop = self._attach() if not self._closing else asyncio.get_running_loop()
        self._close_now()
        for conn in list(self._conns):
            await conn.wait_closed()
        for listener in list(self._listeners):
            await listener._wait_closed()
        if self._gone:
            return
        if self._views:
            self._views[0] = self
            self._detach()
            return
        waiter = loop.create_future()
        self._closed_waiters.append(waiter)
        lib.weft_close(self._address, _ON_CLOSED)
        self._kick()
        await waiter

    def _close_now(self) -> None:
        self._closing = True
        for conn in list(self._conns):
            conn.abort()
        for listener in list(self._listeners):
            listener._close_now()

    def _on_closed(self) -> None:
        self._gone = True
        self._keeper = None
        for loop, context in list(_defaults.items()):
            if context is self:
                del _defaults[loop]
        self._detach()
        for waiter in self._closed_waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _last_view_gone(self) -> None:
        """The last memoryview of a context that was closed."""
        self._views.clear()
        self._dispose()

    def _abandon_in_child(self) -> None:
        """In a forked child: forget it. The parent has it. The descriptor stays in the event loop's epoll set, which is
        the parent's set too."""
        self._gone = self._closing = True
        self._loop = None
        _contexts.pop(self._address, None)

    def _dispose(self, limit: float = 5.0) -> None:
        """Close without an event loop, in at most `limit` seconds."""
        if self._generation != _errors.generation:
            self._abandon_in_child()
            return
        if self._gone or self._inside:
            return
        self._detach()
        self._close_now()
        lib.weft_close(self._address, _ON_CLOSED)
        deadline = time.monotonic() + limit
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        while not self._gone:
            self._turn_now()
            left = deadline - time.monotonic()
            if self._gone or left <= 0:
                break
            timeout = lib.weft_timeout_ms(self._address)
            poller.poll(min(timeout if timeout >= 0 else 100, 100, left * 1000))

    async def __aenter__(self) -> "Context":
        self._attach()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


# ---- The context of an event loop --------------------------------------------------------------------------------

_defaults: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Context]" = weakref.WeakKeyDictionary()


async def _until_loop_ends(context: Context) -> Any:
    try:
        yield
    finally:
        await context.close()


def default_context() -> Context:
    """That of the running event loop; made on first use, closed when the loop shuts down its asynchronous generators
    (asyncio.run does), and at the latest at the interpreter's exit."""
    loop = asyncio.get_running_loop()
    context = _defaults.get(loop)
    if context is not None and (context._closing or context._generation != _errors.generation):
        if context._generation != _errors.generation:
            context._abandon_in_child()
        context = None
    if context is None:
        for old in list(_contexts.values()):
            if old._loop is not None and old._loop.is_closed():
                old._dispose()
        context = Context()
        context._attach()
        _defaults[loop] = context
        # A suspended asynchronous generator is what an event loop ends before it closes: the one hook there is.
        keeper = _until_loop_ends(context)
        context._keeper = keeper
        try:
            keeper.__anext__().send(None)
        except StopIteration:
            pass
    return context


@atexit.register
def _at_exit() -> None:
    """What is still open is aborted, so that peers hear of it and nothing calls back into a dead interpreter."""
    for context in list(_contexts.values()):
        if not context._views:
            context._dispose(limit=1.0)
