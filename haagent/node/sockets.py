"""One UDP socket for each path of an app node, to send heartbeats and hear answers.

A path is open while its interface exists.  What ails a path goes to ``trouble``, once for each
change, and "" when it is fine again.  The port is any: answers come to where a heartbeat left.

What this module does not do: judge an answer (``haagent.wire.node``).
"""

import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from selectors import EVENT_READ, BaseSelector

import psutil

from haagent.core.appnode.sender import Endpoint
from haagent.core.appnode.settings import NodePathSettings, NodeSettings
from haagent.core.settings import IPAddress

MAX_PAYLOAD = 2048
_MOST_AT_ONCE = 16
_RECEIVE_BUFFER = 32 << 10
"""An answer has 80 bytes: a flood of anything else need not be kept."""

_HOP_LIMIT = 64
"""Unlike those between agents, these datagrams may cross routers."""

_TRAFFIC_CLASS = 0xC0
"""DSCP CS6, network control (RFC 4594 3.1)."""


@dataclass(frozen=True, slots=True)
class _Open:
    """A path that carries heartbeats."""

    index: int
    """Of its interface: another one when the interface was made anew."""
    sock: socket.socket


class Sockets:
    """See the module docstring.  Nothing blocks, and nothing raises for what the world does."""

    def __init__(
        self,
        settings: NodeSettings,
        selector: BaseSelector,
        arrived: Callable[[int], None],
        trouble: Callable[[str], None],
    ) -> None:
        """``selector`` gets as data what calls ``arrived`` with the path that has something."""
        self._paths = settings.paths
        self._port = settings.port
        self._selector = selector
        self._arrived = arrived
        self._trouble = trouble
        self._open: dict[int, _Open] = {}
        self._conditions = [""] * len(settings.paths)

    def follow(self) -> bool:
        """Open and close paths as their interfaces come and go; return whether one has opened."""
        any_new = False
        for path, settings in enumerate(self._paths):
            index = _index(settings.interface)
            known = self._open.get(path)
            if known and known.index == index:
                continue
            self._close(path)
            if index is None:
                self._say(path, f"{settings.interface}: no such interface, waiting for it")
                continue
            any_new |= self._attach(path, index)
        return any_new

    def send(self, path: int, payload: bytes, to: Endpoint | None) -> None:
        """Send to all agents on the path, or to one."""
        known = self._open.get(path)
        if known is None:
            return
        if to is not None:
            targets = [(str(to.address), to.port)]
        else:
            targets = [(str(each), self._port) for each in self._paths[path].targets]
        failures = [f"{to}: {why}" for to in targets if (why := _send(known.sock, payload, to))]
        interface = self._paths[path].interface
        self._say(path, f"{interface}: cannot send to {'; '.join(failures)}" if failures else "")

    def receive(self, path: int) -> Iterator[tuple[bytes, Endpoint]]:
        """Yield what has arrived, and where from; some of it when it is much."""
        known = self._open.get(path)
        for _ in range(_MOST_AT_ONCE if known else 0):
            assert known is not None
            try:
                payload, (host, port, *_) = known.sock.recvfrom(MAX_PAYLOAD)
            except OSError:  # nothing more, or the complaint of a host that does not listen
                return
            yield payload, Endpoint(path, ip_address(host.partition("%")[0]), port)

    def close(self) -> None:
        """Close all paths."""
        for path in list(self._open):
            self._close(path)

    def _attach(self, path: int, index: int) -> bool:
        settings = self._paths[path]
        try:
            sock = _open_socket(settings, index)
        except OSError as error:
            self._say(path, f"{settings.interface}: cannot be used: {error.strerror}")
            return False
        self._open[path] = _Open(index, sock)
        self._selector.register(sock, EVENT_READ, partial(self._arrived, path))
        self._say(path, "")
        return True

    def _close(self, path: int) -> None:
        known = self._open.pop(path, None)
        if known:
            self._selector.unregister(known.sock)
            known.sock.close()

    def _say(self, path: int, condition: str) -> None:
        if condition != self._conditions[path]:
            self._conditions[path] = condition
            self._trouble(condition or f"{self._paths[path].interface}: heartbeats leave again")


def own_address(settings: NodePathSettings) -> IPAddress | None:
    """Return this host's first address on the path that clients can use; None while it has none.

    Of IPv6 none that is link-local: HAProxy would have to know on which link.
    """
    version = settings.targets[0].version
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    for each in psutil.net_if_addrs().get(settings.interface, ()):
        if each.family is family:
            address = ip_address(each.address.partition("%")[0])
            if version == 4 or not address.is_link_local:
                return address
    return None


def _index(interface: str) -> int | None:
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        return None


def _open_socket(settings: NodePathSettings, index: int) -> socket.socket:
    ipv4 = settings.targets[0].version == 4
    sock = socket.socket(socket.AF_INET if ipv4 else socket.AF_INET6, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        # Permitted to everybody since Linux 5.7.
        name = settings.interface.encode() + b"\0"
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
        if ipv4:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _TRAFFIC_CLASS)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, _HOP_LIMIT)
            interface = struct.pack("=8xi", index)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _TRAFFIC_CLASS)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _HOP_LIMIT)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    except OSError:
        sock.close()
        raise
    return sock


def _send(sock: socket.socket, payload: bytes, to: tuple[str, int]) -> str:
    """Return why it could not be sent; "" when it was."""
    try:
        sock.sendto(payload, to)
    except OSError as error:
        return error.strerror or str(error)
    return ""
