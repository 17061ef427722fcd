# SPDX-License-Identifier: Apache-2.0
"""Weft: messages over the best transport that both ends have, for asyncio.

    import asyncio, weft

    async def main():
        async with weft.connect("weft://db7:7000", latency="50us") as c:
            await c.send(b"hello")
            async for m in c:
                print(bytes(m))

    asyncio.run(main())

weft.connect and weft.listen make connections; weft.sync has the same without asyncio; weft.Error is what fails.
Trusted networks only: there is no authentication and no encryption yet.
"""

from ._conn import BYTES_MAX, Connection, connect
from ._context import Context
from ._errors import (
    EAGAIN,
    EALREADY,
    EBUSY,
    ECANCELED,
    ECONNREFUSED,
    ECONNRESET,
    EFORK,
    EINVAL,
    EMSGSIZE,
    ENOBUFS,
    ENOENT,
    ENOPROVIDER,
    ENOSESSION,
    ENOTCONN,
    ENOTWEFT,
    EOF,
    EOPTION,
    EPEERLOST,
    EPIPE,
    EPROTOCOL,
    EREJECTED,
    ETIMEDOUT,
    EUNMET,
    EURL,
    EVERSION,
    Error,
    err_name,
    strerror,
)
from ._events import Event, EventStream, EventType
from ._ffi import lib as _lib
from ._listener import Listener, listen
from ._needs import Option, Peer, Verdict, candidates, options

__version__ = "0.1.0"
#: Version of the C library in use.
library_version: str = _lib.weft_version().decode()

__all__ = [
    "BYTES_MAX",
    "Connection",
    "Context",
    "EAGAIN",
    "EALREADY",
    "EBUSY",
    "ECANCELED",
    "ECONNREFUSED",
    "ECONNRESET",
    "EFORK",
    "EINVAL",
    "EMSGSIZE",
    "ENOBUFS",
    "ENOENT",
    "ENOPROVIDER",
    "ENOSESSION",
    "ENOTCONN",
    "ENOTWEFT",
    "EOF",
    "EOPTION",
    "EPEERLOST",
    "EPIPE",
    "EPROTOCOL",
    "EREJECTED",
    "ETIMEDOUT",
    "EUNMET",
    "EURL",
    "EVERSION",
    "Error",
    "Event",
    "EventStream",
    "EventType",
    "Listener",
    "Option",
    "Peer",
    "Verdict",
    "candidates",
    "connect",
    "err_name",
    "library_version",
    "listen",
    "options",
    "strerror",
]
