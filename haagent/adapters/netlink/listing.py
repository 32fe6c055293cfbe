"""The kernel's list of addresses, read by hand.

pyroute2 takes 70 ms for 2000 addresses, in which the agent sends no heartbeat; this takes 4 ms.

Source: rtnetlink(7), RFC 3549 2.3.
"""

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pyroute2.netlink import (
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
)
from pyroute2.netlink.rtnl import RTM_GETADDR, RTM_NEWADDR

ADDRESS_PROTOCOL = 72
"""IFA_PROTO of our addresses, by which leftovers are found; kernels before 5.18 ignore it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One address as the kernel lists it."""

    index: int
    packed: bytes
    prefix_length: int
    tagged: bool
    created: int
    """When it was put there, in hundredths of a second of the kernel's own count."""


def read(requests: socket.socket, number: int, index: int) -> tuple[list[Entry], bool]:
    """Return the addresses of one interface, or of all, and whether nothing changed meanwhile.

    ``number``: of the request, as no earlier one.
    Raises: OSError, ENODEV when there is no such interface.
    """
    header = (_HEADER.size + _ADDRESS.size, RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, number, 0)
    requests.send(_HEADER.pack(*header) + _ADDRESS.pack(0, 0, 0, 0, index))
    entries, whole = [], True
    while True:
        for kind, flags, sequence, payload in _messages(requests.recv(65536)):
            if sequence != number:
                continue  # the rest of a listing that ended in an error
            whole &= not flags & NLM_F_DUMP_INTR
            if kind == RTM_NEWADDR:
                entries.append(_entry(payload))
            if kind in (NLMSG_ERROR, NLMSG_DONE):
                (code,) = struct.unpack_from("=i", payload)
                if code:
                    raise OSError(-code, os.strerror(-code))
                return entries, whole


_HEADER = struct.Struct("=IHHII")
"""``struct nlmsghdr``: length, type, flags, sequence number, sender."""

_ADDRESS = struct.Struct("=BBBBI")
"""``struct ifaddrmsg``: family, prefix length, flags, scope, interface."""

_ATTRIBUTE = struct.Struct("=HH")
"""``struct nlattr``: length, type."""

_CACHEINFO = struct.Struct("=IIII")
"""``struct ifa_cacheinfo``: preferred and valid lifetime, created, changed."""

_IFA_ADDRESS, _IFA_LOCAL, _IFA_CACHEINFO, _IFA_PROTO = 1, 2, 6, 11


def _messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield type, flags, sequence number and payload of each message."""
    start = 0
    while start < len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, start)
        yield kind, flags, sequence, data[start + _HEADER.size : start + length]
        start += _aligned(length)


def _entry(payload: bytes) -> Entry:
    _, prefix_length, _, _, index = _ADDRESS.unpack_from(payload)
    attributes = {}
    start = _ADDRESS.size
    while start < len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, start)
        attributes[kind] = payload[start + _ATTRIBUTE.size : start + length]
        start += _aligned(length)
    # With a peer, IFA_ADDRESS is the peer's.
    packed = attributes.get(_IFA_LOCAL) or attributes[_IFA_ADDRESS]
    tagged = attributes.get(_IFA_PROTO) == bytes([ADDRESS_PROTOCOL])
    _, _, created, _ = _CACHEINFO.unpack(attributes[_IFA_CACHEINFO])
    return Entry(index, packed, prefix_length, tagged, created)


def _aligned(length: int) -> int:
    return (length + 3) & ~3
