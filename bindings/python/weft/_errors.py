# SPDX-License-Identifier: Apache-2.0
"""weft.Error, and its codes as constants."""

from __future__ import annotations

import errno
import os
from typing import Optional

from . import _ffi
from ._ffi import lib

# Weft's own codes.
EFORK = _ffi.ERRNO["EFORK"]
EPEERLOST = _ffi.ERRNO["EPEERLOST"]
ENOPROVIDER = _ffi.ERRNO["ENOPROVIDER"]
EUNMET = _ffi.ERRNO["EUNMET"]
EVERSION = _ffi.ERRNO["EVERSION"]
EREJECTED = _ffi.ERRNO["EREJECTED"]
EPROTOCOL = _ffi.ERRNO["EPROTOCOL"]
ENOSESSION = _ffi.ERRNO["ENOSESSION"]
EURL = _ffi.ERRNO["EURL"]
ENOTWEFT = _ffi.ERRNO["ENOTWEFT"]
EOPTION = _ffi.ERRNO["EOPTION"]

# libuv's that programs meet most often; any other is in Error.name.
EOF = _ffi.UV_EOF
EAGAIN = -errno.EAGAIN
EBUSY = -errno.EBUSY
EALREADY = -errno.EALREADY
ECANCELED = -errno.ECANCELED
ECONNREFUSED = -errno.ECONNREFUSED
ECONNRESET = -errno.ECONNRESET
EMSGSIZE = -errno.EMSGSIZE
ENOBUFS = -errno.ENOBUFS
ENOENT = -errno.ENOENT
ENOTCONN = -errno.ENOTCONN
EINVAL = -errno.EINVAL
ETIMEDOUT = -errno.ETIMEDOUT
EPIPE = -errno.EPIPE


def strerror(code: int) -> str:
    """The text of a code."""
    return str(lib.weft_strerror(code).decode())


def err_name(code: int) -> str:
    """The name of a code: "UV_ECONNREFUSED", "WEFT_EFORK"."""
    return str(lib.weft_err_name(code).decode())


class Error(OSError):
    """What every failing call of this package raises.

    code    the negative code, as in weft.h: compare it with weft.ECONNRESET and others
    name    its name, "UV_ECONNRESET"
    reason  a sentence that names object and cause

    It is an OSError, so that code which handles network errors meets it; `errno` is the system's number where there is
    one, else None."""

    code: int
    name: str
    reason: str

    def __init__(self, code: int, reason: str = "", subject: str = "") -> None:
        self.code = code
        self.name = err_name(code)
        self.reason = reason or strerror(code)
        if subject:
            self.reason = f"{subject}: {self.reason}"
        super().__init__(f"{self.reason} ({self.name})")
        if -4000 < code < 0 and not -3015 < code <= -3000:
            self.errno = -code

    def __str__(self) -> str:
        return f"{self.reason} ({self.name})"

    def __reduce__(self) -> object:  # type: ignore[override]  # OSError's own would pass the text as the code
        return (Error, (self.code, self.reason))


def check(code: int, subject: str = "", reason: Optional[str] = None) -> int:
    """The code, or Error when it is negative."""
    if code < 0:
        raise Error(code, reason or "", subject)
    return code


# ---- fork -------------------------------------------------------------------------------------------------------

#: Raised by one in every forked child: what was made under another number belongs to the parent.
generation = 0


def _in_child() -> None:
    global generation
    generation += 1


os.register_at_fork(after_in_child=_in_child)


def check_fork(made_under: int, what: str) -> None:
    """Error EFORK in a child that did not make `what` itself."""
    if made_under != generation:
        raise Error(EFORK, f"{what} belongs to the parent process; connect anew after fork", "")
