"""Where app nodes are heard and answered: two UDP sockets for each interface, IPv4 and IPv6.

Run :meth:`NodeDatagrams.run` as a task.  Each datagram is read by ``read``; what was heard in
one go is given to ``hear`` together.  A socket takes what is sent to an address of this host on
its interface, and to the multicast group of the heartbeat path there.  It is open while its
interface exists; the interfaces are looked at once a second.  What ails an interface goes to
``trouble``, once for each change, and "" when all is well again.

The sockets are not those of the peers: a fleet that fills a receive buffer fills its own.

An answer leaves from the address at which the node was heard, so that translators of addresses
let it through.  A node that was heard by multicast gets it from the address that the kernel
would choose.

What this module does not do: judge a datagram (``haagent.wire``), or a node (``haagent.core``).

Source: ip(7), ipv6(7), RFC 3542 (IPv6 packet information).
"""

import asyncio
import errno
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from haagent.adapters.datagrams.node_reader import NodeReader, Read
from haagent.core.events import NodesHeard
from haagent.core.settings import (
    MULTICAST_IPV4,
    MULTICAST_IPV6,
    HeartbeatSettings,
    IPAddress,
    NodesSettings,
)
from haagent.core.units import Moment

_POLL_S = 1.0
RECEIVE_BUFFER = 16 << 20
"""Bytes; what 10,000 nodes send in two seconds, as the kernel counts."""

_SO_RCVBUFFORCE = 33
"""From asm-generic/socket.h; what net.core.rmem_max does not bound.  Takes CAP_NET_ADMIN."""

# From linux/in.h and linux/in6.h; Python 3.11 does not name them.
_IP_PKTINFO = 8
_IP_MULTICAST_ALL = 49
_IPV6_MULTICAST_ALL = 29

_IPV4_INFO = struct.Struct("=i4s4s")
"""Interface, the address of ours that it is for or would be answered from, destination."""
_IPV6_INFO = struct.Struct("=16si")
"""Destination, interface."""

_Ear: TypeAlias = tuple[str, int]
"""Interface and version of IP."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a socket is attached now."""

    index: int
    port: int
    groups: frozenset[IPAddress]


@dataclass(frozen=True, slots=True)
class _Open:
    place: _Place
    reader: NodeReader


@dataclass(frozen=True, slots=True)
class _Way:
    """How a node was heard: through which socket, at which address of ours."""

    ear: _Ear
    local: bytes
    """Zeros where the kernel may choose."""


class NodeDatagrams:
    """See the module docstring.  All methods belong to the thread of the loop."""

    def __init__(
        self,
        *,
        settings: NodesSettings | None,
        heartbeat: HeartbeatSettings,
        read: Read,
        hear: Callable[[NodesHeard], None],
        now: Callable[[], Moment],
        trouble: Callable[[str, str], None],
    ) -> None:
        self.settings = settings
        """A change counts from the next look at the interfaces on; None: nobody is heard."""
        self._paths = heartbeat.paths
        self._read = read
        self._hear = hear
        self._now = now
        self._trouble = trouble
        self._open: dict[_Ear, _Open] = {}
        self._conditions: dict[str, str] = {}
        self._ways: list[_Way] = []
        """By number; they are as few as the addresses of this host."""

    async def run(self) -> None:
        """Keep the sockets open for as long as their interfaces are there; until cancelled."""
        try:
            while True:
                self._follow()
                await asyncio.sleep(_POLL_S)
        finally:
            self._close(set(self._open))

    def send(self, way: int, destination: IPAddress, port: int, payload: bytes) -> None:
        """Send an answer back by the way that a node was heard.

        Never blocks and never raises: an answer that gets lost is asked for again.
        """
        back = self._ways[way]
        opened = self._open.get(back.ear)
        if opened is None:
            return
        if destination.version == 4:
            info = _IPV4_INFO.pack(0, back.local, bytes(4))
            control = (socket.IPPROTO_IP, _IP_PKTINFO, info)
        else:
            # A link-local destination needs no scope: the socket is bound to the interface.
            control = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _IPV6_INFO.pack(back.local, 0))
        with suppress(OSError):
            opened.reader.send(payload, control, (str(destination), port))

    def _follow(self) -> None:
        """Open, close and reopen what the settings and the interfaces ask for."""
        interfaces = self._interfaces()
        wanted = {(name, version) for name in interfaces for version in (4, 6)}
        self._close(set(self._open) - wanted)
        for gone in set(self._conditions) - set(interfaces):
            del self._conditions[gone]
        for name in interfaces:
            self._report(name, "; ".join(self._attend(name)))

    def _interfaces(self) -> list[str]:
        if self.settings is None:
            return []
        every_path = (path.interface for path in self._paths)
        return list(dict.fromkeys(self.settings.interfaces or every_path))

    def _attend(self, name: str) -> Iterator[str]:
        """See to the sockets of an interface; yield what is wrong."""
        assert self.settings is not None, "otherwise there are no interfaces"
        try:
            index = socket.if_nametoindex(name)
        except OSError:
            self._close({(name, 4), (name, 6)})
            yield f"{name}: no such interface, waiting for it"
            return
        for version in (4, 6):
            place = _Place(index, self.settings.port, self._groups(name, version))
            opened = self._open.get((name, version))
            if opened and opened.place == place:
                continue
            self._close({(name, version)})
            try:
                self._attach((name, version), place)
            except OSError as error:
                if error.errno != errno.EAFNOSUPPORT:  # A host without IPv6 has no IPv6 nodes.
                    why = error.strerror or str(error)
                    yield f"{name}: cannot hear app nodes over IPv{version}: {why}, trying again"

    def _groups(self, name: str, version: int) -> frozenset[IPAddress]:
        """Return the multicast groups that are heard on an interface."""
        default = MULTICAST_IPV4 if version == 4 else MULTICAST_IPV6
        of_paths = frozenset(
            path.group
            for path in self._paths
            if path.interface == name and not path.peers and path.group.version == version
        )
        return of_paths or frozenset({default})

    def _attach(self, ear: _Ear, place: _Place) -> None:
        """Open the socket of ``ear``.  Raises: OSError."""
        sock = _open_socket(ear, place)
        reader = NodeReader(sock, self._read, self._hear, partial(self._way, ear), self._now)
        self._open[ear] = _Open(place, reader)

    def _way(self, ear: _Ear, info: bytes) -> int:
        way = _Way(ear, _local(info))
        if way not in self._ways:
            self._ways.append(way)
        return self._ways.index(way)

    def _close(self, ears: set[_Ear]) -> None:
        for ear in ears & set(self._open):
            self._open.pop(ear).reader.close()

    def _report(self, name: str, condition: str) -> None:
        if condition != self._conditions.get(name):
            self._conditions[name] = condition
            self._trouble(name, condition)


def _local(info: bytes) -> bytes:
    """Return the address of ours that a datagram was for; zeros where the kernel may choose."""
    if len(info) == _IPV4_INFO.size:
        _, local, _ = _IPV4_INFO.unpack(info)
        return bytes(local)
    if len(info) == _IPV6_INFO.size and info[0] != 0xFF:
        return info[:16]
    return bytes(16)


def _open_socket(ear: _Ear, place: _Place) -> socket.socket:
    name, version = ear
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        _enlarge(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode() + b"\0")
        (_prepare_ipv4 if version == 4 else _prepare_ipv6)(sock, place)
        # Last, so that nothing arrives before the socket is restricted to its interface.
        sock.bind(("", place.port))
    except OSError:
        sock.close()
        raise
    return sock


def _enlarge(sock: socket.socket) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)


def _prepare_ipv4(sock: socket.socket, place: _Place) -> None:
    sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    # Only what this socket joined, whatever else the host has.
    sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
    for group in place.groups:
        membership = struct.pack("=4s4si", group.packed, bytes(4), place.index)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)


def _prepare_ipv6(sock: socket.socket, place: _Place) -> None:
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
    for group in place.groups:
        membership = struct.pack("=16si", group.packed, place.index)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)
