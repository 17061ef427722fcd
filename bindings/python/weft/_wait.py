# SPDX-License-Identifier: Apache-2.0
"""What a task waits on for a message or an acknowledgement: a future that can resume its task at once.

Design notes
  - asyncio's own future resumes its task in the next turn of the event loop. By then Weft has acknowledged the message in a
    frame of its own, which costs both ends a system call and the peer a wakeup. Resumed inside the C callback, the task
    answers while Weft is still draining, and the answer, the acknowledgement and what else there is travel as one.
  - That is done only where the callback runs in a turn that the event loop itself has started (Context._eager): never while
    another task is current.
  - It is the protocol that asyncio documents for futures of others (`_asyncio_future_blocking`), for one waiting task.
"""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any, Callable, Generator, Optional

_PENDING, _DONE, _CANCELLED = 0, 1, 2


class Waiter:
    """One task's wait. `wake` ends it, in the event loop's next turn or, with `at_once`, here and now."""

    __slots__ = ("_loop", "_state", "_error", "_callback", "_context", "_asyncio_future_blocking")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._state = _PENDING
        self._error: Optional[BaseException] = None
        self._callback: Optional[Callable[[Any], Any]] = None
        self._context: Optional[contextvars.Context] = None
        self._asyncio_future_blocking = False

    def wake(self, error: Optional[BaseException] = None, at_once: bool = False) -> None:
        if self._state != _PENDING:
            return
        self._state = _DONE
        self._error = error
        callback = self._callback
        if callback is None:
            return
        self._callback = None
        if at_once and self._context is not None:
            self._context.run(callback, self)
        else:
            self._later(callback)

    def _later(self, callback: Callable[[Any], Any]) -> None:
        try:
            self._loop.call_soon(callback, self, context=self._context)
        except RuntimeError:  # the loop is closed: nobody waits any more
            pass

    # ---- What asyncio's tasks ask of a future ----

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def add_done_callback(
        self, callback: Callable[[Any], Any], *, context: Optional[contextvars.Context] = None
    ) -> None:
        self._context = context or contextvars.copy_context()
        if self._state == _PENDING:
            self._callback = callback
        else:
            self._later(callback)

    def remove_done_callback(self, callback: Callable[[Any], Any]) -> int:
        found = self._callback is not None and self._callback == callback
        if found:
            self._callback = None
        return int(found)

    def cancel(self, msg: Optional[Any] = None) -> bool:
        if self._state != _PENDING:
            return False
        self._state = _CANCELLED
        callback, self._callback = self._callback, None
        if callback is not None:
            self._later(callback)
        return True

    def done(self) -> bool:
        return self._state != _PENDING

    def cancelled(self) -> bool:
        return self._state == _CANCELLED

    def exception(self) -> Optional[BaseException]:
        if self._state == _CANCELLED:
            raise asyncio.CancelledError
        if self._state == _PENDING:
            raise asyncio.InvalidStateError("it is not done")
        return self._error

    def result(self) -> None:
        error = self.exception()
        if error is not None:
            raise error

    def __await__(self) -> Generator[Any, None, None]:
        if self._state == _PENDING:
            self._asyncio_future_blocking = True
            yield self
        return self.result()
