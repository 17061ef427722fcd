# SPDX-License-Identifier: Apache-2.0
"""libweft as ctypes sees it: where it is, what it exports, what its structs look like.

Design notes
  - FUNCTIONS names every function of weft.h and weft_qos.h with its result and arguments; a test parses the headers
    and compares. Nothing else in the package declares a prototype.
  - Pointers are integers (c_void_p) on both sides: a typed POINTER costs an object per call. Handles and requests are
    known by their address.
  - Two views of the one library: `lib` keeps the interpreter's lock during a call (PyDLL). Such calls are short, and
    giving the lock away in each would let a busy thread of Python take it for its switch interval (5 ms) per message.
    `slow` releases it (CDLL): for the few calls that weft.h says may block.
  - Structs that are only passed back to the library are opaque blocks of weft_size() bytes.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
from ctypes import (
    CFUNCTYPE,
    c_char,
    c_char_p,
    c_int,
    c_int32,
    c_size_t,
    c_ssize_t,
    c_uint,
    c_uint8,
    c_uint32,
    c_uint64,
    c_void_p,
    py_object,
)
from typing import Any, Callable, Dict, List, Tuple

#: The versions of the library that this package speaks to: same MAJOR.MINOR while MAJOR is 0.
WANTED = (0, 1)
SONAME = "libweft.so.0"

# ---- Functions: result, arguments; in the order of the headers --------------------------------------------------

FUNCTIONS: Dict[str, Tuple[Any, Tuple[Any, ...]]] = {
    # weft_qos.h
    "weft_qos_init": (None, (c_void_p, c_size_t)),
    "weft_qos_set": (c_int, (c_void_p, c_char_p, c_char_p)),
    "weft_why_name": (c_char_p, (c_int,)),
    "weft_why_help": (c_char_p, (c_int,)),
    # weft.h
    "weft_strerror": (c_char_p, (c_int,)),
    "weft_err_name": (c_char_p, (c_int,)),
    "weft_version": (c_char_p, ()),
    "weft_opts_init": (None, (c_void_p, c_size_t)),
    "weft_opts_set": (c_int, (c_void_p, c_char_p, c_char_p)),
    "weft_opts_get": (c_int, (c_void_p, c_char_p, c_void_p, c_void_p)),
    "weft_option": (c_int, (c_uint, c_void_p, c_void_p, c_void_p)),
    "weft_init": (c_int, (c_void_p, c_void_p, c_void_p)),
    "weft_close": (None, (c_void_p, c_void_p)),
    "weft_loop": (c_void_p, (c_void_p,)),
    "weft_fd": (c_int, (c_void_p,)),
    "weft_timeout_ms": (c_int, (c_void_p,)),
    "weft_process": (c_int, (c_void_p,)),
    "weft_post": (c_int, (c_void_p, c_void_p, c_void_p)),
    "weft_ref": (None, (c_void_p,)),
    "weft_unref": (None, (c_void_p,)),
    "weft_is_closing": (c_int, (c_void_p,)),
    "weft_url_parse": (c_int, (c_char_p, c_void_p, c_void_p, c_void_p, c_size_t)),
    "weft_listener_init": (c_int, (c_void_p, c_void_p)),
    "weft_listen": (c_int, (c_void_p, c_char_p, c_int, c_void_p)),
    "weft_listener_addr": (c_int, (c_void_p, c_void_p, c_void_p)),
    "weft_listener_peer": (c_void_p, (c_void_p,)),
    "weft_accept": (c_int, (c_void_p, c_void_p)),
    "weft_reject": (c_int, (c_void_p, c_int, c_char_p)),
    "weft_listener_close": (None, (c_void_p, c_void_p)),
    "weft_conn_init": (c_int, (c_void_p, c_void_p)),
    "weft_connect": (c_int, (c_void_p, c_void_p, c_char_p, c_void_p, c_void_p)),
    "weft_connect_cancel": (c_int, (c_void_p,)),
    "weft_conn_close": (None, (c_void_p, c_void_p)),
    "weft_send": (c_int, (c_void_p, c_void_p, c_void_p, c_uint, c_void_p)),
    "weft_try_send": (c_int, (c_void_p, c_void_p, c_uint)),
    "weft_cancel": (c_int, (c_void_p,)),
    "weft_conn_queued_bytes": (c_size_t, (c_void_p,)),
    "weft_shutdown": (c_int, (c_void_p, c_void_p, c_void_p)),
    "weft_recv_start": (c_int, (c_void_p, c_void_p, c_void_p)),
    "weft_recv_stop": (c_int, (c_void_p,)),
    "weft_msg_data": (c_void_p, (c_void_p,)),
    "weft_msg_size": (c_size_t, (c_void_p,)),
    "weft_msg_retain": (c_void_p, (c_void_p,)),
    "weft_msg_release": (None, (c_void_p,)),
    "weft_conn_on_event": (c_int, (c_void_p, c_void_p)),
    "weft_conn_info": (c_int, (c_void_p, c_void_p, c_size_t)),
    "weft_conn_verdict": (c_int, (c_void_p, c_uint, c_void_p, c_size_t)),
    "weft_conn_info_json": (c_int, (c_void_p, c_void_p, c_void_p)),
    "weft_conn_error": (c_char_p, (c_void_p,)),
    "weft_conn_migrate": (c_int, (c_void_p, c_char_p)),
    "weft_candidates": (c_int, (c_void_p, c_void_p, c_size_t, c_uint)),
    "weft_mem_alloc": (c_int, (c_void_p, c_size_t, c_void_p)),
    "weft_mem_free": (None, (c_void_p, c_void_p)),
    "weft_mem_register": (c_int, (c_void_p, c_void_p, c_size_t, c_void_p)),
    "weft_mem_unregister": (None, (c_void_p,)),
    "weft_log_set": (None, (c_int, c_void_p, c_void_p)),
    "weft_size": (c_size_t, (c_int,)),
}

# ---- Callbacks: their C types, by the typedef's name ------------------------------------------------------------

CALLBACKS: Dict[str, Tuple[Any, ...]] = {
    "weft_close_cb": (None, c_void_p),
    "weft_listener_close_cb": (None, c_void_p),
    "weft_conn_close_cb": (None, c_void_p),
    "weft_listen_cb": (None, c_void_p, c_int),
    "weft_connect_cb": (None, c_void_p, c_int),
    "weft_send_cb": (None, c_void_p, c_int),
    "weft_shutdown_cb": (None, c_void_p, c_int),
    "weft_post_cb": (None, c_void_p, c_int),
    "weft_alloc_cb": (None, c_void_p, c_size_t, c_void_p, c_void_p),
    "weft_recv_cb": (None, c_void_p, c_int, c_void_p),
    "weft_event_cb": (None, c_void_p, c_void_p),
    "weft_log_cb": (None, c_void_p, c_int, c_char_p),
}

_kept: List[Any] = []  # callback objects live as long as the process: C holds their addresses


def callback(typedef: str, function: Callable[..., None]) -> int:
    """The address of a C function of the given typedef that calls `function`. It is never freed: make one per kind
    for the whole process and tell objects apart by the handle's or request's address."""
    made = CFUNCTYPE(*CALLBACKS[typedef])(function)
    _kept.append(made)
    address = ctypes.cast(made, c_void_p).value
    assert address is not None
    return address


# ---- Constants --------------------------------------------------------------------------------------------------

ERRNO: Dict[str, int] = {
    "EFORK": -5000,
    "EPEERLOST": -5001,
    "ENOPROVIDER": -5002,
    "EUNMET": -5003,
    "EVERSION": -5004,
    "EREJECTED": -5005,
    "EPROTOCOL": -5006,
    "ENOSESSION": -5007,
    "EURL": -5008,
    "ENOTWEFT": -5009,
    "EOPTION": -5010,
}

ENUMS: Dict[str, Dict[str, int]] = {
    "weft_reliability": {"WEFT_EXACTLY_ONCE": 0, "WEFT_AT_MOST_ONCE": 1},
    "weft_ack_mode": {"WEFT_ACK_RECEIVED": 0, "WEFT_ACK_CONSUMED": 1},
    "weft_cpu_mode": {"WEFT_CPU_AUTO": 0, "WEFT_CPU_SLEEP": 1, "WEFT_CPU_SPIN": 2},
    "weft_why": {
        "WEFT_WHY_OK": 0,
        "WEFT_WHY_IN_USE": 1,
        "WEFT_WHY_STANDBY": 2,
        "WEFT_WHY_NO_DEVICE": 10,
        "WEFT_WHY_NO_PROVIDER": 11,
        "WEFT_WHY_NOT_BUILT": 12,
        "WEFT_WHY_NO_ADDRESS": 13,
        "WEFT_WHY_LINK_DOWN": 14,
        "WEFT_WHY_QUIRK": 15,
        "WEFT_WHY_LOOPBACK": 16,
        "WEFT_WHY_PEER_LACKS": 20,
        "WEFT_WHY_PEER_VETO": 21,
        "WEFT_WHY_UNREACHABLE": 22,
        "WEFT_WHY_TIMEOUT": 23,
        "WEFT_WHY_NO_PROOF": 24,
        "WEFT_WHY_DIED": 25,
        "WEFT_WHY_FORBIDDEN": 30,
        "WEFT_WHY_NOT_REQUIRED": 31,
        "WEFT_WHY_DEVICE_FILTER": 32,
        "WEFT_WHY_POLICY_RULE": 33,
        "WEFT_WHY_TOO_SLOW": 40,
        "WEFT_WHY_OUTRANKED": 41,
        "WEFT_WHY_SYSTEM": 50,
    },
    "weft_trait": {
        "WEFT_TRAIT_RMA": 1,
        "WEFT_TRAIT_RDMA": 2,
        "WEFT_TRAIT_EVENTS": 4,
        "WEFT_TRAIT_SHARED_RX": 8,
        "WEFT_TRAIT_LOOPBACK": 16,
        "WEFT_TRAIT_BOOTSTRAP": 32,
        "WEFT_TRAIT_MEASURED": 64,
    },
    "weft_event_type": {
        "WEFT_EV_WRITABLE": 1,
        "WEFT_EV_MIGRATED": 2,
        "WEFT_EV_PATH_UP": 3,
        "WEFT_EV_PATH_DOWN": 4,
        "WEFT_EV_PEER_STALLED": 5,
        "WEFT_EV_PEER_BACK": 6,
        "WEFT_EV_NEED_MISSED": 7,
    },
    "": {"WEFT_LOG_ERROR": 0, "WEFT_LOG_WARN": 1, "WEFT_LOG_INFO": 2, "WEFT_LOG_DEBUG": 3},
    "weft_size_id": {
        "WEFT_SIZE_CONTEXT": 0,
        "WEFT_SIZE_LISTENER": 1,
        "WEFT_SIZE_CONN": 2,
        "WEFT_SIZE_CONNECT": 3,
        "WEFT_SIZE_SEND": 4,
        "WEFT_SIZE_SHUTDOWN": 5,
        "WEFT_SIZE_POST": 6,
        "WEFT_SIZE_OPTS": 7,
        "WEFT_SIZE_QOS": 8,
        "WEFT_SIZE_VERDICT": 9,
        "WEFT_SIZE_PEER": 10,
        "WEFT_SIZE_EVENT": 11,
        "WEFT_SIZE_INFO": 12,
        "WEFT_SIZE_ADDR": 13,
    },
}
LIST_MAX = 128
MACROS: Dict[str, int] = {"WEFT_LIST_MAX": LIST_MAX}

# libuv's codes that this package itself tells apart (Linux: the negative errno; UV_EOF is libuv's own).
UV_EOF = -4095

# ---- The library ------------------------------------------------------------------------------------------------


def _candidates() -> List[str]:
    """Where the library may be, in this order: $WEFT_LIBRARY alone; beside the package; a build of this source tree;
    where the system's loader looks."""
    named = os.environ.get("WEFT_LIBRARY")
    if named:
        return [os.path.join(named, SONAME) if os.path.isdir(named) else named]
    here = os.path.dirname(os.path.abspath(__file__))
    found = [os.path.join(here, SONAME)]
    tree = os.path.dirname(os.path.dirname(os.path.dirname(here)))
    if os.path.exists(os.path.join(tree, "fabric", "include", "weft.h")):
        found += [os.path.join(tree, "build", preset, "lib", SONAME) for preset in ("release", "dev")]
    # An installation by CMake: PREFIX/lib/python3/dist-packages/weft and PREFIX/lib[/ARCH]/libweft.so.0.
    prefix = os.path.abspath(os.path.join(here, "..", "..", "..", ".."))
    arch = f"{os.uname().machine}-linux-gnu"
    found += [os.path.join(prefix, lib, SONAME) for lib in ("lib", os.path.join("lib", arch), "lib64")]
    found = [path for path in found if os.path.exists(path)]
    found.append(SONAME)
    by_name = ctypes.util.find_library("weft")
    if by_name and by_name not in found:
        found.append(by_name)
    return found


def _check_version(path: str, text: str) -> None:
    try:
        version = tuple(int(part) for part in text.split(".")[:2])
    except ValueError:
        version = (-1, -1)
    if version != WANTED:
        raise ImportError(
            f"{path} is Weft {text}; this package needs {WANTED[0]}.{WANTED[1]}.x. "
            f"Install the matching library, or name it in WEFT_LIBRARY."
        )


def load(dll: Any = ctypes.PyDLL, path: str = "") -> Any:
    """Open the library and declare every function of FUNCTIONS on it. ImportError says what was tried and why each
    failed, names the versions where they do not match, and the function where one is missing."""
    why = []
    for name in [path] if path else _candidates():
        try:
            opened = dll(name)
        except OSError as error:
            why.append(f"{name}: {error}")
            continue
        opened.weft_version.restype = c_char_p
        opened.weft_version.argtypes = ()
        _check_version(name, opened.weft_version().decode())
        for function, (result, arguments) in FUNCTIONS.items():
            try:
                bound = getattr(opened, function)
            except AttributeError:
                raise ImportError(f"{name} has no function {function}") from None
            bound.restype = result
            bound.argtypes = arguments
        return opened
    raise ImportError("libweft was not found:\n  " + "\n  ".join(why) + "\nInstall it, or set WEFT_LIBRARY to its path.")


lib: Any = load()
slow: Any = load(ctypes.CDLL, lib._name)


def size(name: str) -> int:
    """sizeof a struct in the library in use, by weft_size_id's name without WEFT_SIZE_."""
    return int(lib.weft_size(ENUMS["weft_size_id"]["WEFT_SIZE_" + name]))


# ---- Structs that are read or written here; a test compares their sizes with the library's ----------------------


class UvBuf(ctypes.Structure):
    """uv_buf_t with an address."""

    _fields_ = [("base", c_void_p), ("len", c_size_t)]


class UvBufBytes(ctypes.Structure):
    """uv_buf_t with a bytes object: assigning stores the address of its memory and keeps it alive."""

    _fields_ = [("base", c_char_p), ("len", c_size_t)]


class Verdict(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t),
        ("why", c_int32),
        ("rank", c_int32),
        ("provider", c_char * 32),
        ("device", c_char * 64),
        ("local", c_char * 80),
        ("remote", c_char * 80),
        ("latency_ns", c_uint64),
        ("bandwidth", c_uint64),
        ("detail", c_char * 160),
        ("speed_bps", c_uint64),
        ("max_op", c_uint64),
        ("mtu", c_uint32),
        ("traits", c_uint32),
        ("reserved", c_uint64 * 1),
    ]


class Event(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t),
        ("type", c_int32),
        ("why", c_int32),
        ("from_", c_char * 128),
        ("to", c_char * 128),
        ("detail", c_char * 160),
        ("gap_ns", c_uint64),
        ("reserved", c_uint64 * 4),
    ]


class Qos(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t),
        ("latency_ns", c_uint64),
        ("bandwidth", c_uint64),
        ("message_size", c_uint64),
        ("interruption_ms", c_uint64),
        ("reliability", c_uint32),
        ("ack", c_uint32),
        ("cpu", c_uint32),
        ("spin_us", c_uint32),
        ("strict", c_uint32),
        ("standby", c_uint32),
        ("require", c_char * LIST_MAX),
        ("forbid", c_char * LIST_MAX),
        ("bootstrap", c_char * LIST_MAX),
        ("reserved", c_uint64 * 8),
    ]


class Peer(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t),
        ("address", c_char * 80),
        ("name", c_char * 64),
        ("instance", c_uint8 * 16),
        ("qos", Qos),
        ("offers", c_uint),
    ]


class Opts(ctypes.Structure):
    _fields_ = (
        [("size", c_size_t)]
        + [(n, c_uint64) for n in ("max_message", "window_bytes", "window_messages", "send_queue", "pool_bytes")]
        + [
            (n, c_uint32)
            for n in (
                "rx_depth",
                "tx_depth",
                "connect_timeout_ms",
                "handshake_timeout_ms",
                "upgrade_budget_ms",
                "peer_timeout_ms",
                "shutdown_timeout_ms",
                "beat_ms",
                "settle_ms",
                "tombstone_ms",
                "half_open_max",
                "connect_retry_ms",
            )
        ]
        + [("providers", c_char * LIST_MAX), ("devices", c_char * LIST_MAX), ("reserved", c_uint64 * 8)]
    )


#: Structs with fields here, by weft_size_id's name.
STRUCTS: Dict[str, Any] = {"VERDICT": Verdict, "EVENT": Event, "QOS": Qos, "PEER": Peer, "OPTS": Opts}


def block(name: str) -> Tuple[Any, int]:
    """A zeroed, 16-byte aligned struct of the library's size: the object that owns it, and its address."""
    length = size(name)
    owner = (c_uint64 * ((length + 7) // 8 + 1))()
    address = ctypes.addressof(owner)
    return owner, (address + 15) & ~15


# ---- The interpreter's own functions ----------------------------------------------------------------------------


class PyBuffer(ctypes.Structure):
    """Py_buffer, whose layout is part of Python's stable ABI."""

    _fields_ = [
        ("buf", c_void_p),
        ("obj", c_void_p),
        ("len", c_ssize_t),
        ("itemsize", c_ssize_t),
        ("readonly", c_int),
        ("ndim", c_int),
        ("format", c_char_p),
        ("shape", c_void_p),
        ("strides", c_void_p),
        ("suboffsets", c_void_p),
        ("internal", c_void_p),
    ]


# Own function objects: attributes of ctypes.pythonapi are shared with every other user of it.
_api = ctypes.pythonapi
get_buffer: Any = ctypes.PYFUNCTYPE(c_int, py_object, c_void_p, c_int)(("PyObject_GetBuffer", _api))
release_buffer: Any = ctypes.PYFUNCTYPE(None, c_void_p)(("PyBuffer_Release", _api))
bytes_at: Any = ctypes.PYFUNCTYPE(py_object, c_void_p, c_ssize_t)(("PyBytes_FromStringAndSize", _api))
