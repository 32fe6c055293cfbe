"""Heartbeat datagrams: one UDP socket for each configured path; ``nodes`` hears app nodes.

Run :meth:`Datagrams.run` as a task.  Each datagram read goes to ``receive``, which returns
whether it is genuine; ``haagent.adapters.datagrams.reader`` says why.  What ails a path goes
to ``trouble``, once for each change, and "" when the path is fine again, each time with
whether anything leaves this host.  A path is open while its interface exists and has an
address of its own: the addresses of the host are looked at once a second, because that needs
no privilege and no subscription, and a path that waits has nothing faster to wait for.

A virtual address is never the source of a heartbeat: it would arrive under the name of a
host that has just lost it.  Every datagram therefore names its source itself.

``Received.received_at`` is the time at which the kernel got the datagram.  Where its stamp
cannot be believed, because the wall clock has been stepped, it is the time at which the batch
was begun to be read.

What this module does not do: judge a datagram, not even its hop limit (``haagent.wire``).

Source: RFC 5082 (hop limit 255), RFC 3542 (IPv6 ancillary data), ip(7).
"""

import asyncio
import errno
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address, ip_interface
from typing import Any, TypeAlias

import psutil

from haagent.adapters.datagrams import options
from haagent.adapters.datagrams.reader import MAX_PAYLOAD, Reader, Received
from haagent.core.settings import HeartbeatSettings, IPAddress, IPInterface, PathSettings
from haagent.core.units import Moment

__all__ = ["MAX_PAYLOAD", "Datagrams", "Received", "source_addresses"]

_POLL_S = 1.0
_INET = {socket.AF_INET, socket.AF_INET6}
_Interfaces: TypeAlias = Mapping[str, Sequence[Any]]
"""What psutil knows: the addresses of each interface in their order, by name."""

_GONE = (errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ECONNREFUSED, errno.EAGAIN)
"""What is wrong with the peer, who was or is asked for on the link: we are not mute."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a path is attached now: the interface's index, and the source address."""

    index: int
    local: IPAddress


@dataclass(frozen=True, slots=True)
class _OpenPath:
    place: _Place
    sock: socket.socket
    reader: Reader


class Datagrams:
    """See the module docstring.  All methods belong to the thread of the loop."""

    def __init__(
        self,
        settings: HeartbeatSettings,
        virtual: frozenset[IPAddress],
        receive: Callable[[Received], bool],
        now: Callable[[], Moment],
        trouble: Callable[[int, str, bool], None],
    ) -> None:
        self._paths = settings.paths
        self._port = settings.port
        self.virtual = virtual
        """What is never a source; a change counts from the next look at the interfaces on."""
        self._receive = receive
        self._now = now
        self._trouble = trouble
        self._open: list[_OpenPath | None] = [None] * len(settings.paths)
        self._conditions = [("", True)] * len(settings.paths)

    async def run(self) -> None:
        """Keep each path open for as long as its interface allows; until cancelled."""
        try:
            interfaces = psutil.net_if_addrs()
            while True:
                for path in range(len(self._paths)):
                    self._follow(path, interfaces)
                await asyncio.sleep(_POLL_S)
                # In a thread: it waits for the kernel's rtnetlink lock.
                interfaces = await asyncio.to_thread(psutil.net_if_addrs)
        finally:
            for path in range(len(self._paths)):
                self._close(path)

    def local_address(self, path: int) -> IPAddress | None:
        """Return the source of our datagrams on ``path``; None while it is not open."""
        opened = self._open[path]
        return opened.place.local if opened else None

    def send(self, path: int, destination: IPAddress | None, payload: bytes) -> bool:
        """Send to ``destination``, or when that is None to the group or to each peer.

        Returns whether anything has left this host.
        Never blocks and never raises.  While the path is not open nothing is sent; that
        was reported when it closed.  Our own address among the peers is passed over, so
        that all agents can have the same list.
        """
        opened = self._open[path]
        if opened is None:
            return False
        settings = self._paths[path]
        everyone = settings.peers or (settings.group,)
        failures = []
        kept_back = 0
        targets = [t for t in everyone if t != opened.place.local]
        for target in targets if destination is None else (destination,):
            try:
                place = opened.place
                options.send_from(
                    opened.sock, place.index, place.local, (target, self._port), payload
                )
            except OSError as error:
                kept_back += error.errno not in _GONE
                failures.append(f"{settings.interface}: cannot send to {target}: {_why(error)}")
        mute = destination is None and 0 < kept_back == len(targets)
        self._report(path, "; ".join(failures), carries=not mute)
        return not mute

    def _follow(self, path: int, interfaces: _Interfaces) -> None:
        """Open, close or reopen ``path`` when its place changed."""
        opened = self._open[path]
        place = self._find(path, interfaces)
        if opened and place == opened.place:
            return
        self._close(path)
        if isinstance(place, _Place):
            self._attach(path, place)
        else:
            self._report(path, place, carries=False)

    def _find(self, path: int, interfaces: _Interfaces) -> _Place | str:
        """Return the place of ``path``, or what it waits for."""
        settings = self._paths[path]
        name = settings.interface
        try:
            index = socket.if_nametoindex(name)
            found = interfaces[name]
        except (OSError, KeyError):
            return f"{name}: no such interface, waiting for it"
        addresses = [_interface(a.address, a.netmask) for a in found if a.family in _INET]
        usable = source_addresses(settings, addresses, self.virtual)
        if not usable:
            return f"{name}: no {_kind_of_source(settings)} of its own, waiting for one"
        # A newer IPv6 address stands before an older one: peers should not see us change.
        current = self.local_address(path)
        return _Place(index, current if current in usable else usable[0])

    def _attach(self, path: int, place: _Place) -> None:
        settings = self._paths[path]
        try:
            sock = _open_socket(settings, place, self._port)
        except OSError as error:
            text = f"{settings.interface}: cannot open UDP port {self._port}: {_why(error)}"
            self._report(path, f"{text}, trying again", carries=False)
            return
        self._open[path] = _OpenPath(place, sock, Reader(path, sock, self._receive, self._now))
        self._report(path, "", carries=True)

    def _close(self, path: int) -> None:
        opened = self._open[path]
        if opened:
            opened.reader.close()
            self._open[path] = None

    def _report(self, path: int, condition: str, *, carries: bool) -> None:
        if (condition, carries) != self._conditions[path]:
            self._conditions[path] = condition, carries
            self._trouble(path, condition, carries)


def source_addresses(
    settings: PathSettings, addresses: Iterable[IPInterface], virtual: frozenset[IPAddress]
) -> list[IPAddress]:
    """Return the addresses that may be the source on this path, the best one first.

    Never a virtual one.  IPv6 multicast and link-local peers take link-local sources, other
    IPv6 peers the others.  An address on the network of the first peer is preferred;
    otherwise the order of ``addresses``, which is the interface's, decides.
    """
    towards = _towards(settings)
    usable = [
        address
        for address in addresses
        if address.version == towards.version
        and address.ip not in virtual
        and (address.version == 4 or address.is_link_local == _on_link(towards))
    ]
    usable.sort(key=lambda address: towards not in address.network)
    return [address.ip for address in usable]


def _towards(settings: PathSettings) -> IPAddress:
    return settings.peers[0] if settings.peers else settings.group


def _on_link(address: IPAddress) -> bool:
    return address.is_multicast or address.is_link_local


def _kind_of_source(settings: PathSettings) -> str:
    towards = _towards(settings)
    if towards.version == 4:
        return "IPv4 address"
    return "IPv6 link-local address" if _on_link(towards) else "IPv6 address"


@lru_cache(maxsize=4096)
def _interface(address: str, netmask: str | None) -> IPInterface:
    """Parse what psutil says: with a scope (``fe80::1%eth0``), and IPv6 masks spelt out."""
    plain = address.partition("%")[0]
    if netmask is None:
        return ip_interface(plain)
    return ip_interface(f"{plain}/{int(ip_address(netmask)).bit_count()}")


def _open_socket(settings: PathSettings, place: _Place, port: int) -> socket.socket:
    ipv4 = place.local.version == 4
    sock = socket.socket(socket.AF_INET if ipv4 else socket.AF_INET6, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if not ipv4:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        options.confine(sock, settings, place.index, place.local.version)
        # Last, so that nothing arrives before the socket is restricted to its interface.
        sock.bind(("", port))
    except OSError:
        sock.close()
        raise
    return sock


def _why(error: OSError) -> str:
    return error.strerror or str(error)
