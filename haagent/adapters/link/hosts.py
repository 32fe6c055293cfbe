"""Whether hosts are there, told by their kernels: ARP or neighbour discovery, and ICMP echo.

A kernel answers for its address whatever becomes of the processes above it.  :meth:`Hosts.ask`
asks one; an answer is posted as ``HostAnswered``, at most once for each question and protocol.
Whoever has shown its MAC is asked under it, since broadcast and multicast may be filtered; who
does not answer that, and whoever is not known, is asked with all others.  So that it is known in
time, the watched hosts are asked once without cause.

Only what comes from the link counts: ARP and neighbour discovery never leave it, nor do our
echoes, whose answers bring back what nobody else has seen.  Where there is no Ethernet, ICMP
is all there is.

What this module does not do: choose whom to ask and when, or judge who is dead
(``haagent.core.detector``); build or read frames (``haagent.wire``).

Source: RFC 826, RFC 4861 7.2, RFC 792, RFC 4443 4; packet(7), raw(7), ip(7), RFC 3542 (sources).
"""

import asyncio
import secrets
import socket
import struct
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address
from typing import TypeAlias

from haagent.adapters.link import sockets
from haagent.core.events import Event, HostAnswered
from haagent.core.settings import IPAddress, PathSettings
from haagent.wire import arp, bpf, icmp, ndp

ANSWERED_WITHIN_S = 1.0
"""What comes later is no answer: it may have waited for us while we were stopped."""

REOPEN_S = 0.5
"""How often to look whether an interface came, or came again under another index."""

Place: TypeAlias = tuple[int, IPAddress]
"""Index of a path, and an address on it."""

_LINK_PROTOCOL = {4: "ARP", 6: "NDP"}
_ICMP = "ICMP"

_NOT_FOR_US = 3
"""PACKET_OTHERHOST, which is also what a VLAN without an interface of its own carries."""

_NONCE_SIZE = 8
_IP_PKTINFO = 8
"""From linux/in.h; Python 3.11 does not name it."""


@dataclass(slots=True)
class _Host:
    mac: bytes | None = None
    """Under which it was last seen."""
    sought: bool = False
    """Whether it was asked for its MAC without cause."""
    nonce: bytes = b""
    """In our echoes."""
    until_s: float = 0.0
    """When the time for an answer ends; loop seconds."""
    awaited: set[str] = field(default_factory=set)
    """Protocols that have not answered the last question."""


@dataclass(frozen=True, slots=True)
class _Link:
    """Our sockets on the interface of one path."""

    frames: sockets.Portions
    echoes: sockets.Portions

    def close(self) -> None:
        self.frames.close()
        self.echoes.close()


class Hosts:
    """See the module docstring.  Used inside a running loop."""

    def __init__(
        self,
        paths: Sequence[PathSettings],
        source: Callable[[int], IPAddress | None],
        post: Callable[[Event], None],
    ) -> None:
        """``source``: our own address on a path, None while it has none.

        Whoever is asked on a path is of the family of that address.
        """
        self._paths = paths
        self._source = source
        self._post = post
        self._identifier = secrets.randbits(16)
        """Tells our echoes from those of other programs, so that theirs do not wake us."""
        self._links: dict[int, _Link] = {}
        self._references = frozenset(
            (path, settings.reference)
            for path, settings in enumerate(paths)
            if settings.reference is not None
        )
        self._watched: frozenset[Place] = self._references
        self._hosts = {place: _Host() for place in self._watched}
        """The watched, and those asked of late; the filters pass these."""

    def watch(self, places: frozenset[Place]) -> None:
        """Know the MACs of these, and of the references of the paths."""
        self._watched = places | self._references
        self._attend(self._watched)

    def ask(self, path: int, address: IPAddress) -> None:
        """Ask the host at ``address`` whether it is there.

        Never blocks and never raises: where nothing can be sent, nobody answers.
        """
        with suppress(OSError):
            link = self._link(path)
            # What has come until now does not answer what is asked now.  And a link that was
            # down leaves an error, which the first send would return.
            link.frames.read()
            link.echoes.read()
            self._ask(path, address, link)

    async def run(self) -> None:
        """Listen on the interface of every path, now or when it comes, until cancelled.

        Raises: PermissionError for want of CAP_NET_RAW.
        """
        try:
            while True:
                for path in range(len(self._paths)):
                    self._settle(path)
                await asyncio.sleep(REOPEN_S)
        finally:
            for link in self._links.values():
                link.close()
            self._links.clear()

    def _settle(self, path: int) -> None:
        try:
            link = self._link(path)
        except PermissionError as error:
            interface = self._paths[path].interface
            raise sockets.explained(error, f"cannot ask hosts on {interface}") from error
        except OSError:
            return  # haagent.adapters.datagrams tells what ails it.
        with suppress(OSError):
            self._seek(path, link)

    def _seek(self, path: int, link: _Link) -> None:
        """Ask the watched for their MACs, once.  Raises: OSError."""
        for (on, address), host in self._hosts.items():
            source = self._source_towards(path, address)
            if on == path and not host.sought and source is not None:
                self._ask_link(link, source, address, {None})
                host.sought = True

    def _source_towards(self, path: int, address: IPAddress) -> IPAddress | None:
        source = self._source(path)
        return source if source is not None and source.version == address.version else None

    def _ask(self, path: int, address: IPAddress, link: _Link) -> None:
        """Raises: OSError."""
        source = self._source_towards(path, address)
        if source is None:
            return
        if (path, address) not in self._hosts:
            self._attend(frozenset({(path, address)}))
        host = self._hosts[path, address]
        now_s, link_protocol = asyncio.get_running_loop().time(), _LINK_PROTOCOL[address.version]
        if host.until_s <= now_s:
            host.nonce = secrets.token_bytes(_NONCE_SIZE)
        targets = {host.mac, None} if link_protocol in host.awaited else {host.mac}
        host.until_s, host.awaited = now_s + ANSWERED_WITHIN_S, {link_protocol, _ICMP}
        with suppress(OSError):
            _send_echo(link.echoes.socket, source, address, self._identifier, host.nonce)
        self._ask_link(link, source, address, targets)

    def _ask_link(
        self, link: _Link, source: IPAddress, address: IPAddress, targets: Set[bytes | None]
    ) -> None:
        """Ask for ``address`` at each MAC of ``targets``, where None is everybody.

        Raises: OSError, also where there is no Ethernet.
        """
        sock = link.frames.socket
        mac = sockets.mac_of(sock)
        for target in targets:
            sock.send(_question(mac, source, address, target))

    def _attend(self, places: frozenset[Place]) -> None:
        """Have the filters pass ``places``, and forget who is neither watched nor asked."""
        now_s = asyncio.get_running_loop().time()
        kept = {
            place: host
            for place, host in self._hosts.items()
            if place in self._watched or host.until_s > now_s
        }
        new = {place: _Host() for place in places if place not in kept}
        self._hosts = kept | new
        for path, link in self._links.items():
            sockets.pass_only(link.frames.socket, self._program(path))

    def _program(self, path: int) -> bpf.Program:
        """Return what passes frames that show a host of ``path``, be they for us or for all."""
        for_us = [(bpf.LOAD_WORD, 0, 0, bpf.PACKET_TYPE), (bpf.IF_AT_LEAST, 0, 1, _NOT_FOR_US)]
        shown = sockets.claims_of(address for on, address in self._hosts if on == path)
        return [*for_us, bpf.DROP, *shown]

    def _link(self, path: int) -> _Link:
        """Return the sockets on the interface that bears the name of the path now.

        Raises: OSError.
        """
        interface = self._paths[path].interface
        link = self._links.get(path)
        if link is not None:
            if sockets.is_on(link.frames.socket, interface):
                return link
            self._links.pop(path).close()
        version = _version(self._paths[path])
        # Data traffic does not even come to the filter of this protocol.
        protocol = sockets.ETH_P_ARP if version == 4 else sockets.ETH_P_IPV6
        frames = sockets.open_on(interface, protocol, self._program(path))
        try:
            echoes = _open_echoes(interface, version, self._identifier)
        except OSError:
            frames.close()
            raise
        link = _Link(
            sockets.Portions(frames, partial(self._take_frame, path)),
            sockets.Portions(echoes, partial(self._take_echo, path, version)),
        )
        self._links[path] = link
        return link

    def _take_frame(self, path: int, frame: bytes) -> None:
        sighting = arp.parse(frame) or ndp.parse(frame)
        host = self._hosts.get((path, sighting.address)) if sighting else None
        if sighting is None or host is None:
            return
        if sighting.mac != host.mac:
            if sighting.mac in sockets.own_macs():
                return
            host.mac = sighting.mac
        self._answered(path, sighting.address, _LINK_PROTOCOL[sighting.address.version])

    def _take_echo(self, path: int, version: int, packet: bytes) -> None:
        # Of IPv4, the kernel gives the header as well.
        message = packet[4 * (packet[0] & 0x0F) :] if version == 4 else packet
        nonce = icmp.echoed(version, self._identifier, message)
        for (on, address), host in self._hosts.items():
            if on == path and host.nonce and host.nonce == nonce:
                self._answered(path, address, _ICMP)

    def _answered(self, path: int, address: IPAddress, protocol: str) -> None:
        host = self._hosts[path, address]
        if protocol in host.awaited and asyncio.get_running_loop().time() < host.until_s:
            host.awaited.discard(protocol)
            self._post(HostAnswered(path, address, protocol))


def _version(settings: PathSettings) -> int:
    return (*settings.peers, settings.group)[0].version


def _question(mac: bytes, source: IPAddress, address: IPAddress, to: bytes | None) -> bytes:
    if isinstance(source, IPv4Address):
        assert isinstance(address, IPv4Address)
        return arp.request(mac, source, address, to)
    assert not isinstance(address, IPv4Address)
    return ndp.neighbor_probe(mac, source, address, to)


def _open_echoes(interface: str, version: int, identifier: int) -> socket.socket:
    """Return a raw socket on which the answers to our echoes arrive.  Raises: OSError."""
    ipv4 = version == 4
    family, protocol = socket.AF_INET6, socket.IPPROTO_ICMPV6
    if ipv4:
        family, protocol = socket.AF_INET, socket.IPPROTO_ICMP
    opened = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
    try:
        sockets.pass_only(opened, _answers(version, identifier))
        device = interface.encode() + b"\0"
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, sockets.PRIORITY)
        # A router does not pass our question on.
        if ipv4:
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
        else:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 1)
    except OSError:
        opened.close()
        raise
    return opened


def _answers(version: int, identifier: int) -> bpf.Program:
    """Return the program that passes echo replies to ``identifier``.

    What it sees begins with the IP header in IPv4, and behind it in IPv6.  The type is at 0, the
    identifier at 4.
    """
    if version == 6:
        return [
            *bpf.only(bpf.LOAD_BYTE, 0, icmp.REPLY[6]),
            *bpf.only(bpf.LOAD_HALF, 4, identifier),
            bpf.PASS,
        ]
    return [
        (bpf.INDEX_IP_HEADER, 0, 0, 0),
        *bpf.only(bpf.LOAD_INDEXED_BYTE, 0, icmp.REPLY[4]),
        *bpf.only(bpf.LOAD_INDEXED_HALF, 4, identifier),
        bpf.PASS,
    ]


def _send_echo(
    sock: socket.socket, source: IPAddress, address: IPAddress, identifier: int, nonce: bytes
) -> None:
    """Send from ``source``, and from no virtual address, which may be elsewhere soon."""
    if isinstance(source, IPv4Address):
        info = struct.pack("=4x4s4x", source.packed)
        control = (socket.IPPROTO_IP, _IP_PKTINFO, info)
    else:
        control = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, struct.pack("=16s4x", source.packed))
    message = icmp.echo_request(source.version, identifier, nonce)
    sock.sendmsg([message], [control], 0, (str(address), 0))
