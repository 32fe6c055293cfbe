"""What makes a socket that of a path: its interface, its group, and how far its datagrams go.

Source: RFC 5082 (hop limit 255), RFC 3542 (IPv6 ancillary data), ip(7).
"""

import socket
import struct
from ipaddress import IPv4Address

from haagent.core.settings import IPAddress, PathSettings

_RECEIVE_BUFFER = 1 << 20
"""Bytes asked for; the kernel gives up to net.core.rmem_max."""

_HOP_LIMIT = 255
_TRAFFIC_CLASS = 0xC0
"""DSCP CS6, network control (RFC 4594 3.1)."""

_PRIORITY = 6
"""The highest that needs no privilege; the default queueing discipline sends it first."""

# From linux/in.h and linux/in6.h; Python 3.11 does not name them.
_IP_PKTINFO = 8
_IP_RECVTTL = 12
_IP_MULTICAST_ALL = 49
_IPV6_MULTICAST_ALL = 29


def confine(sock: socket.socket, settings: PathSettings, index: int, version: int) -> None:
    """Have ``sock`` speak and hear on the interface of the path alone, and join its group.

    ``index``: of that interface.  ``version``: of IP.
    Raises: OSError.
    """
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    name = settings.interface.encode() + b"\0"
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
    group = None if settings.peers else settings.group.packed
    (_prepare_ipv4 if version == 4 else _prepare_ipv6)(sock, index, group)
    # After IP_TOS, which sets a priority of its own choice.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, _PRIORITY)


def send_from(
    sock: socket.socket,
    index: int,
    local: IPAddress,
    target: tuple[IPAddress, int],
    payload: bytes,
) -> None:
    """Send one datagram from ``local``, and from no virtual address.  Raises: OSError.

    A link-local target needs no scope: the socket is bound to the interface.
    """
    if isinstance(local, IPv4Address):
        control = (socket.IPPROTO_IP, _IP_PKTINFO, struct.pack("=i4s4x", index, local.packed))
    else:
        info = struct.pack("=16si", local.packed, index)
        control = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, info)
    address, port = target
    sock.sendmsg([payload], [control], 0, (str(address), port))


def _prepare_ipv4(sock: socket.socket, index: int, group: bytes | None) -> None:
    for option, value in (
        (socket.IP_TTL, _HOP_LIMIT),
        (socket.IP_MULTICAST_TTL, _HOP_LIMIT),
        (socket.IP_MULTICAST_LOOP, 0),
        (socket.IP_TOS, _TRAFFIC_CLASS),
        (_IP_RECVTTL, 1),
        (_IP_MULTICAST_ALL, 0),  # Only what this socket joined, whatever else the host has.
    ):
        sock.setsockopt(socket.IPPROTO_IP, option, value)
    if group:
        membership = struct.pack("=4s4si", group, bytes(4), index)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)


def _prepare_ipv6(sock: socket.socket, index: int, group: bytes | None) -> None:
    for option, value in (
        (socket.IPV6_UNICAST_HOPS, _HOP_LIMIT),
        (socket.IPV6_MULTICAST_HOPS, _HOP_LIMIT),
        (socket.IPV6_MULTICAST_LOOP, 0),
        (socket.IPV6_TCLASS, _TRAFFIC_CLASS),
        (socket.IPV6_RECVHOPLIMIT, 1),
        (_IPV6_MULTICAST_ALL, 0),
    ):
        sock.setsockopt(socket.IPPROTO_IPV6, option, value)
    if group:
        membership = struct.pack("=16si", group, index)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)
