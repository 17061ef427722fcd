# SPDX-License-Identifier: Apache-2.0
"""What happens to a connection below its messages: it moved, its peer fell silent, a need is missed."""

from __future__ import annotations

import asyncio
import enum
from dataclasses import dataclass
from typing import Any, AsyncIterator, Deque, List
from collections import deque

from . import _errors, _ffi
from ._errors import check_fork
from ._ffi import lib

_TYPES = _ffi.ENUMS["weft_event_type"]
WRITABLE = _TYPES["WEFT_EV_WRITABLE"]


class EventType(enum.IntEnum):
    """weft_event_type. WRITABLE is not delivered: `await conn.write(...)` is what it is for."""

    MIGRATED = _TYPES["WEFT_EV_MIGRATED"]
    PATH_UP = _TYPES["WEFT_EV_PATH_UP"]
    PATH_DOWN = _TYPES["WEFT_EV_PATH_DOWN"]
    PEER_STALLED = _TYPES["WEFT_EV_PEER_STALLED"]
    PEER_BACK = _TYPES["WEFT_EV_PEER_BACK"]
    NEED_MISSED = _TYPES["WEFT_EV_NEED_MISSED"]


@dataclass(frozen=True)
class Event:
    """type      an EventType, or a plain int from a newer library
    why       the reason code's name of the cause, "WEFT_WHY_OK" where there is none
    source, to  the paths, as text; "" where there is none
    detail    a sentence
    gap       MIGRATED: seconds from the last sign of life of the old path to the first byte on the new one"""

    type: int
    why: str
    source: str
    to: str
    detail: str
    gap: float

    @staticmethod
    def _of(raw: Any) -> "Event":
        try:
            kind: int = EventType(raw.type)
        except ValueError:
            kind = raw.type
        return Event(
            kind,
            lib.weft_why_name(raw.why).decode(),
            raw.from_.decode(errors="replace"),
            raw.to.decode(errors="replace"),
            raw.detail.decode(errors="replace"),
            raw.gap_ns / 1e9,
        )


class EventStream(AsyncIterator[Event]):
    """The events of one connection from now until it is closed. It keeps the newest 256 that nobody has taken."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._generation = _errors.generation
        self._queue: Deque[Event] = deque(maxlen=256)
        self._waiters: List[asyncio.Future[None]] = []
        self._ended = False

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _put(self, event: Event) -> None:
        self._queue.append(event)
        self._wake()

    def _end(self) -> None:
        self._ended = True
        self._wake()

    def __aiter__(self) -> "EventStream":
        return self

    async def __anext__(self) -> Event:
        check_fork(self._generation, "this event stream")
        while not self._queue:
            if self._ended:
                raise StopAsyncIteration
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                self._waiters.remove(waiter)
        return self._queue.popleft()
