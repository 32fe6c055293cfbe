"""ARP and neighbour discovery frames: announce a virtual address, notice who else has it.

:meth:`LinkFrames.announce` tells the neighbours of an interface where an address is, and
asks whether it is elsewhere too; :meth:`LinkFrames.run` listens for the answer and for
everybody else's announcements, and posts ``ForeignAddressSeen``.

A filter in the kernel passes only what shows one of the virtual addresses, so neither data
traffic nor the ARP of others wakes the agent.

What this module does not do: build or read frames (``haagent.wire.arp``, ``haagent.wire.ndp``),
choose when to announce (``haagent.core.ownership``), or follow VLANs above the interface:
those are interfaces of their own.
"""

import asyncio
import errno
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TypeAlias

from haagent.adapters.link import sockets
from haagent.core.events import Event, ForeignAddressSeen
from haagent.core.settings import IPAddress
from haagent.wire import arp, ndp

SILENCE_S = 1.0
"""How long the same MAC with the same address is not looked at again."""

REOPEN_S = 0.5
"""How often to look whether an interface came, or came again under another index."""


class LinkFrames:
    """See the module docstring.  Used inside a running loop."""

    def __init__(
        self, addresses: Mapping[str, frozenset[IPAddress]], post: Callable[[Event], None]
    ) -> None:
        """``addresses``: the virtual addresses of each interface; no other may be named."""
        self._addresses = addresses
        self._post = post
        self._open: dict[str, sockets.Portions] = {}
        self._silent_until: dict[tuple[str, IPAddress, bytes], float] = {}
        """In the order of time; loop seconds."""

    def watch(self, addresses: Mapping[str, frozenset[IPAddress]]) -> None:
        """Go by ``addresses`` from now on.  Raises: OSError."""
        self._addresses = addresses
        for interface, opened in list(self._open.items()):
            if interface in addresses:
                sockets.pass_only(opened.socket, sockets.claims_of(addresses[interface]))
            else:
                self._open.pop(interface).close()

    def announce(self, interface: str, address: IPAddress) -> None:
        """Tell the link of ``interface`` that ``address`` is here; ask who else has it.

        Raises: OSError when the interface is absent, down or not Ethernet, or for want of
        CAP_NET_RAW.
        """
        self._send(interface, address, _announcement, f"announce {address}")
        self.ask(interface, address)

    def ask(self, interface: str, address: IPAddress) -> None:
        """Ask the link of ``interface`` who else has ``address``, be it known already.

        Raises: as :meth:`announce`.
        """
        silent = self._silent_until
        self._silent_until = {k: end for k, end in silent.items() if k[:2] != (interface, address)}
        self._send(interface, address, _question, f"ask for {address}")

    async def run(self) -> None:
        """Listen on every interface, now or when it comes, until cancelled.

        Raises: OSError for want of CAP_NET_RAW.
        """
        try:
            while True:
                for interface in self._addresses:
                    self._listen(interface)
                await asyncio.sleep(REOPEN_S)
        finally:
            for opened in self._open.values():
                opened.close()
            self._open.clear()

    def _send(self, interface: str, address: IPAddress, frames: "_Frames", what: str) -> None:
        try:
            opened = self._socket(interface)
            # A link that was down leaves an error that the first send would return.
            opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            for frame in frames(interface, sockets.mac_of(opened), address):
                opened.send(frame)
        except OSError as error:
            raise sockets.explained(error, f"cannot {what} on {interface}") from error

    def _listen(self, interface: str) -> None:
        try:
            self._socket(interface)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise sockets.explained(error, f"cannot listen on {interface}") from error

    def _socket(self, interface: str) -> socket.socket:
        """Return the socket on the interface that bears the name now."""
        opened = self._open.get(interface)
        if opened is not None:
            if sockets.is_on(opened.socket, interface):
                return opened.socket
            self._open.pop(interface).close()
        program = sockets.claims_of(self._addresses[interface])
        sock = sockets.open_on(interface, sockets.ETH_P_ALL, program)
        self._open[interface] = sockets.Portions(sock, partial(self._take, interface))
        return sock

    def _take(self, interface: str, frame: bytes) -> None:
        sighting = arp.parse(frame) or ndp.parse(frame)
        if sighting:
            self._saw(interface, sighting.address, sighting.mac)

    def _saw(self, interface: str, address: IPAddress, mac: bytes) -> None:
        silent, now = self._silent_until, asyncio.get_running_loop().time()
        while silent and next(iter(silent.values())) <= now:
            del silent[next(iter(silent))]
        key = (interface, address, mac)
        if address in self._addresses[interface] and key not in silent:
            silent[key] = now + SILENCE_S
            if mac not in sockets.own_macs():
                self._post(ForeignAddressSeen(interface, address, mac.hex(":")))


_Frames: TypeAlias = Callable[[str, bytes, IPAddress], Iterable[bytes]]
"""Takes the interface, its MAC and an address; returns Ethernet frames."""


def _announcement(_interface: str, mac: bytes, address: IPAddress) -> Iterable[bytes]:
    if isinstance(address, IPv4Address):
        return arp.gratuitous_request(mac, address), arp.gratuitous_reply(mac, address)
    return (ndp.unsolicited_na(mac, address),)


def _question(interface: str, mac: bytes, address: IPAddress) -> Iterable[bytes]:
    if isinstance(address, IPv4Address):
        return (arp.probe(mac, address),)
    return (ndp.neighbor_probe(mac, own, address) for own in _link_local(interface))


def _link_local(interface: str) -> list[IPv6Address]:
    """Return what the interface calls itself: one address, as a rule (RFC 4291 2.1)."""
    with suppress(FileNotFoundError):  # no IPv6 in this kernel
        lines = Path("/proc/net/if_inet6").read_text(encoding="ascii").splitlines()
        # Address, index, prefix length, scope, flags, name.
        rows = (line.split() for line in lines)
        return [IPv6Address(int(row[0], 16)) for row in rows if row[3::2] == ["20", interface]]
    return []
