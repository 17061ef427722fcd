# SPDX-License-Identifier: Apache-2.0
"""Needs and options by name, candidates and their verdicts."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, Dict, FrozenSet, List, Mapping, Optional, Tuple, Union
from urllib.parse import quote

from . import _ffi
from ._errors import EURL, Error, check, err_name
from ._ffi import lib, slow

#: A need or an option: text with its unit ("20us", "64MiB"), a plain number where none is needed, yes or no, or a
#: list of names.
Value = Union[str, int, bool, List[str], Tuple[str, ...]]

#: Names here that read better in Python than in a URL.
_ALIASES = {"message_size": "size"}


def text_of(value: Value) -> str:
    """As a URL or weft_qos_set would have it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ",".join(value)
    return str(value)


def parse_url(url: str) -> Any:
    """The needs of a URL as a struct; Error EURL with the sentence that says what is wrong with it."""
    qos = _ffi.Qos()
    why = ctypes.create_string_buffer(400)
    code = lib.weft_url_parse(url.encode(), None, ctypes.addressof(qos), ctypes.addressof(why), len(why))
    check(code, "", why.value.decode(errors="replace") or url)
    return qos


def needs_of(url: str, needs: Mapping[str, Value]) -> Any:
    """The needs of the URL, overridden by those given by name. Error ENOENT or EINVAL names the need."""
    qos = parse_url(url)
    for key, value in _ordered(needs):
        code = lib.weft_qos_set(ctypes.addressof(qos), key.encode(), text_of(value).encode())
        if code < 0:
            raise Error(code, f"need {key}={text_of(value)}: {_why_not(code)}")
    return qos


def _ordered(needs: Mapping[str, Value]) -> List[Tuple[str, Value]]:
    """A preset first: the others refine it."""
    named = [(_ALIASES.get(key, key), value) for key, value in needs.items() if value is not None]
    return sorted(named, key=lambda pair: pair[0] != "preset")


def _why_not(code: int) -> str:
    return "there is none of this name" if err_name(code) == "UV_ENOENT" else "bad value, or a unit is missing"


def with_needs(url: str, needs: Mapping[str, Value]) -> str:
    """The URL with needs added as parameters: a listener takes them nowhere else."""
    needs_of(url, needs)  # says what is wrong with them
    parts = [f"{key}={quote(text_of(value), safe=',./-')}" for key, value in _ordered(needs)]
    if not parts:
        return url
    return url + ("&" if "?" in url else "?") + "&".join(parts)


def spins(qos: Any) -> bool:
    """Whether a connection with these needs may spin, as weft_cpu_mode has it."""
    return bool(qos.spin_us > 0 and (qos.cpu == 2 or (qos.cpu == 0 and 0 < qos.latency_ns < 50000)))


def options_of(options: Mapping[str, Value]) -> Any:
    """weft_opts_t: defaults, then the environment, then these."""
    opts = _ffi.Opts()
    lib.weft_opts_init(ctypes.addressof(opts), ctypes.sizeof(opts))
    for key, value in options.items():
        code = lib.weft_opts_set(ctypes.addressof(opts), key.encode(), text_of(value).encode())
        if code < 0:
            raise Error(code, f"option {key}={text_of(value)}: {_why_not(code)}")
    return opts


@dataclass(frozen=True)
class Option:
    """An option of a context: its name, default and help text."""

    name: str
    default: str
    help: str


def options() -> List[Option]:
    """Every option that weft.Context takes, from the library's own table."""
    found: List[Option] = []
    fields = [ctypes.c_char_p() for _ in range(3)]
    while lib.weft_option(len(found), *(ctypes.addressof(field) for field in fields)) == 0:
        found.append(Option(*((field.value or b"").decode() for field in fields)))
    return found


@dataclass(frozen=True)
class Verdict:
    """The selector's answer for one candidate.

    why         the reason code's name, "WEFT_WHY_NO_DEVICE"; rank: 0 is best, -1 is not usable
    latency     expected or measured round trip in seconds, None when unknown; bandwidth: bytes per second or None
    speed       of the link, BITS per second or None; mtu: bytes or None; max_op: most bytes of one operation or None
    traits      what the candidate can do: "RMA", "RDMA", "EVENTS", "SHARED_RX", "LOOPBACK", "BOOTSTRAP", and "MEASURED"
                where the latency is no expectation
    detail      a sentence with the evidence; help: what the reason code means and what to do about it"""

    why: str
    rank: int
    provider: str
    device: str
    local: str
    remote: str
    latency: Optional[float]
    bandwidth: Optional[int]
    speed: Optional[int]
    mtu: Optional[int]
    max_op: Optional[int]
    traits: FrozenSet[str]
    detail: str
    help: str

    @property
    def usable(self) -> bool:
        return self.rank >= 0

    @staticmethod
    def _of(v: Any) -> "Verdict":
        return Verdict(
            why=lib.weft_why_name(v.why).decode(),
            rank=v.rank,
            provider=v.provider.decode(errors="replace"),
            device=v.device.decode(errors="replace"),
            local=v.local.decode(errors="replace"),
            remote=v.remote.decode(errors="replace"),
            latency=v.latency_ns / 1e9 if v.latency_ns else None,
            bandwidth=v.bandwidth or None,
            speed=v.speed_bps or None,
            mtu=v.mtu or None,
            max_op=v.max_op or None,
            traits=frozenset(
                name[len("WEFT_TRAIT_") :] for name, bit in _ffi.ENUMS["weft_trait"].items() if v.traits & bit
            ),
            detail=v.detail.decode(errors="replace"),
            help=lib.weft_why_help(v.why).decode(),
        )


def candidates(**options: Value) -> List[Verdict]:
    """Everything this machine could use, usable or not, best first. It blocks for as long as libfabric takes (under
    1 s without RDMA devices, up to 3 s with) and lets other threads run meanwhile; with asyncio call it by
    asyncio.to_thread. `options` are those of weft.Context: providers=, devices=. Error on failure."""
    opts = options_of(options)
    room = 64
    while True:
        out = (_ffi.Verdict * room)()
        count = check(
            slow.weft_candidates(ctypes.addressof(opts), ctypes.addressof(out), ctypes.sizeof(_ffi.Verdict), room),
            "candidates",
        )
        if count <= room:
            return [Verdict._of(out[i]) for i in range(count)]
        room = count


def verdicts_of(conn: int) -> List[Verdict]:
    """Of a connection's candidates."""
    found: List[Verdict] = []
    v = _ffi.Verdict()
    while lib.weft_conn_verdict(conn, len(found), ctypes.addressof(v), ctypes.sizeof(v)) == 0:
        found.append(Verdict._of(v))
    return found


@dataclass(frozen=True)
class Peer:
    """Who wants to connect: numeric address with port, the name it gives itself, 16 bytes that identify its process,
    what it declared as needs (as weft_qos_t's fields), and how many ways it offered to be reached."""

    address: str
    name: str
    instance: bytes
    needs: Dict[str, Any]
    offers: int
    _spins: bool = False

    @staticmethod
    def _of(pointer: int) -> "Peer":
        p = _ffi.Peer.from_address(pointer)
        needs = {}
        for name, *_ in _ffi.Qos._fields_:
            if name not in ("size", "reserved"):
                value = getattr(p.qos, name)
                needs[name] = value.decode(errors="replace") if isinstance(value, bytes) else value
        # Text from another machine: what is not UTF-8 may not keep its peer from an answer.
        address, name = p.address.decode(errors="replace"), p.name.decode(errors="replace")
        return Peer(address, name, bytes(p.instance), needs, p.offers, spins(p.qos))


__all__ = ["Value", "Option", "options", "Verdict", "candidates", "Peer", "EURL"]
