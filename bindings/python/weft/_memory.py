# SPDX-License-Identifier: Apache-2.0
"""Memory that both sides look at: buffers held for a send, received messages that live on as memoryviews, requests.

Design notes
  - A buffer that is sent is exported by Python's buffer protocol until the C callback, whatever happens to the task
    that waits: an exported bytearray cannot be resized, an exported object cannot go away.
  - A large message is a memoryview of an _Owner: any slice keeps the owner, and the owner's end is the message's
    release. _Owner is one class of "1 TiB" from which the message's bytes are sliced: a class per size would cost
    more than the message.
"""

from __future__ import annotations

import ctypes
from typing import Any, Dict, List, Tuple, Union

from . import _ffi
from ._ffi import UvBuf, UvBufBytes, lib

Buffer = Union[bytes, bytearray, memoryview]  # and whatever else has the buffer protocol, contiguous

_release_buffer = _ffi.release_buffer
_addressof = ctypes.addressof


def export(data: Any) -> Any:
    """The memory of any contiguous buffer, without a copy; TypeError or BufferError where there is none. Give it to
    unexport when nobody can touch it any more."""
    view = _ffi.PyBuffer()
    _ffi.get_buffer(data, _addressof(view), 0)  # PyBUF_SIMPLE: contiguous bytes, read-only will do
    return view


def unexport(view: Any) -> None:
    _release_buffer(_addressof(view))


class _Owner(ctypes.c_char * (1 << 40)):  # type: ignore[misc]
    """The exporter behind the memoryviews of one retained message."""

    _message: int
    _views: Dict[int, Any]

    def __del__(self, release: Any = lib.weft_msg_release) -> None:
        release(self._message)
        self._views.pop(self._message, None)
        context = self._views.get(0)
        if context is not None and len(self._views) == 1:
            context._last_view_gone()


def view_of(message: int, views: Dict[int, Any]) -> memoryview:
    """A read-only memoryview of a retained message, which is released with its last slice. `views` are those that
    are out, by message; views[0], once it is set, is the context that waits for them."""
    owner = _Owner.from_address(lib.weft_msg_data(message))
    owner._message = message
    owner._views = views
    views[message] = None
    return memoryview(owner).cast("B")[: lib.weft_msg_size(message)].toreadonly()


class Requests:
    """weft_send_t requests in blocks; one is free again after its callback."""

    def __init__(self) -> None:
        self._blocks: List[Any] = []
        self.free: List[int] = []
        self._each = (_ffi.size("SEND") + 15) & ~15

    def grow(self) -> None:
        count = 64
        owner = (ctypes.c_uint64 * (count * self._each // 8 + 2))()
        self._blocks.append(owner)
        first = (_addressof(owner) + 15) & ~15
        self.free.extend(range(first, first + count * self._each, self._each))

    def take(self) -> int:
        if not self.free:
            self.grow()
        return self.free.pop()


def staging() -> Tuple[Any, int, Any, int]:
    """Two uv_buf_t to fill before a call that copies them, one for bytes and one for addresses, each with where it
    lies. Of one thread."""
    by_bytes, by_address = UvBufBytes(), UvBuf()
    return by_bytes, _addressof(by_bytes), by_address, _addressof(by_address)
