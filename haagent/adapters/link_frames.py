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
import ctypes
import errno
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from fcntl import ioctl
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TypeAlias

from haagent.core.events import Event, ForeignAddressSeen
from haagent.core.settings import IPAddress
from haagent.wire import arp, ndp

SILENCE_S = 1.0
"""How long the same MAC with the same address is not looked at again."""

REOPEN_S = 0.5
"""How often to look whether an interface came, or came again under another index."""

_MOST, _WINDOW_S = 64, 0.05
"""So many frames are read at most in such a time: a flood says nothing that its first frames did
not, and what does not fit into the socket the kernel throws away.  All others are read at once: a
frame that waits while the role changes would be taken for a conflict."""

_FRAME_SIZE = 2048

_ETH_P_ALL, _ETH_P_ARP, _ETH_P_IPV6 = 0x0003, 0x0806, 0x86DD
_ARPHRD_ETHER = 1
_SOL_PACKET = 263
_PACKET_IGNORE_OUTGOING = 23
_SO_ATTACH_FILTER = 26
_SIOCGIFHWADDR = 0x8927


class LinkFrames:
    """See the module docstring.  Used inside a running loop."""

    def __init__(
        self, addresses: Mapping[str, frozenset[IPAddress]], post: Callable[[Event], None]
    ) -> None:
        """``addresses``: the virtual addresses of each interface; no other may be named."""
        self._addresses = addresses
        self._post = post
        self._sockets: dict[str, socket.socket] = {}
        self._allowance: dict[str, tuple[float, int]] = {}
        """End of the window, in loop seconds, and how many frames may still be read in it."""
        self._silent_until: dict[tuple[str, IPAddress, bytes], float] = {}
        """In the order of time; loop seconds."""

    def watch(self, addresses: Mapping[str, frozenset[IPAddress]]) -> None:
        """Go by ``addresses`` from now on.  Raises: OSError."""
        self._addresses = addresses
        for interface, opened in list(self._sockets.items()):
            if interface in addresses:
                _pass_only(opened, addresses[interface])
            else:
                self._close(interface)

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
            for interface in [*self._sockets]:
                self._close(interface)

    def _send(self, interface: str, address: IPAddress, frames: "_Frames", what: str) -> None:
        try:
            opened = self._socket(interface)
            # A link that was down leaves an error that the first send would return.
            opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            for frame in frames(interface, _mac(opened), address):
                opened.send(frame)
        except OSError as error:
            raise _explained(error, f"cannot {what} on {interface}") from error

    def _listen(self, interface: str) -> None:
        try:
            self._socket(interface)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise _explained(error, f"cannot listen on {interface}") from error

    def _socket(self, interface: str) -> socket.socket:
        """Return the socket on the interface that bears the name now."""
        opened = self._sockets.get(interface)
        if opened is not None:
            # The kernel forgets the index of a deleted interface, and then knows no name.
            if opened.getsockname()[0] == interface:
                return opened
            self._close(interface)
        opened = _open(interface, self._addresses[interface])
        self._sockets[interface] = opened
        self._await_frames(interface, opened)
        return opened

    def _close(self, interface: str) -> None:
        opened = self._sockets.pop(interface)
        asyncio.get_running_loop().remove_reader(opened)
        opened.close()

    def _await_frames(self, interface: str, opened: socket.socket) -> None:
        if self._sockets.get(interface) is opened:
            asyncio.get_running_loop().add_reader(opened, self._drain, interface, opened)

    def _drain(self, interface: str, opened: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        end, left = self._allowance.get(interface, (0.0, 0))
        if end <= now:
            end, left = now + _WINDOW_S, _MOST
        while left:
            left -= 1
            try:
                frame = opened.recv(_FRAME_SIZE)
            except OSError:
                break  # empty, or the link is down, which haagent.adapters.netlink tells
            sighting = arp.parse(frame) or ndp.parse(frame)
            if sighting:
                self._saw(interface, sighting.address, sighting.mac)
        self._allowance[interface] = end, left
        if not left:
            loop.remove_reader(opened)
            loop.call_at(end, self._await_frames, interface, opened)

    def _saw(self, interface: str, address: IPAddress, mac: bytes) -> None:
        silent, now = self._silent_until, asyncio.get_running_loop().time()
        while silent and next(iter(silent.values())) <= now:
            del silent[next(iter(silent))]
        key = (interface, address, mac)
        if address in self._addresses[interface] and key not in silent:
            silent[key] = now + SILENCE_S
            if mac not in _own_macs():
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


def _mac(opened: socket.socket) -> bytes:
    _, _, _, hardware, mac = opened.getsockname()
    if hardware != _ARPHRD_ETHER:
        raise OSError(errno.EOPNOTSUPP, "not an Ethernet interface")
    return bytes(mac)


def _own_macs() -> set[bytes]:
    """Return the MACs of all interfaces: of two on one link, our kernel answers from either."""
    macs = set()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # it has gone since
                reply = ioctl(any_socket, _SIOCGIFHWADDR, struct.pack("16s24x", name.encode()))
                macs.add(reply[18:24])
    return macs


def _open(interface: str, addresses: frozenset[IPAddress]) -> socket.socket:
    """Return a packet socket on which frames arrive that show one of ``addresses``."""
    # Protocol 0: nothing arrives before the filter stands.
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    try:
        opened.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        _pass_only(opened, addresses)
        opened.bind((interface, _ETH_P_ALL))
    except OSError:
        opened.close()
        raise
    return opened


def _pass_only(opened: socket.socket, addresses: frozenset[IPAddress]) -> None:
    code = _filter(addresses)
    program = ctypes.create_string_buffer(code, len(code))
    described = struct.pack("HP", len(code) // _INSTRUCTION.size, ctypes.addressof(program))
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)


_INSTRUCTION = struct.Struct("=HBBI")
"""Of classic BPF: code, jump if true, jump if false, operand.  Source: bpf(4), linux/filter.h."""

_Program = list[tuple[int, int, int, int]]

_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30
_JUMP, _IF_EQUAL = 0x05, 0x15
_PASS = (0x06, 0, 0, _FRAME_SIZE)
_DROP = (0x06, 0, 0, 0)
_VLAN_TAG_PRESENT = 0xFFFF_F000 + 48
"""SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT: the tag itself is no longer in the frame."""


def _filter(addresses: frozenset[IPAddress]) -> bytes:
    """Return the program that passes ARP from, and advertisements of, ``addresses``.

    Offsets count from the Ethernet header: its type is at 12, the sender's address of ARP at 28;
    in IPv6 the next header is at 20, the ICMPv6 type at 54, the end of the target at 74.
    """
    arp_packet = _one_of(28, (int(a) for a in addresses if a.version == 4))
    program = [
        *_only(_LOAD_WORD, _VLAN_TAG_PRESENT, 0),
        (_LOAD_HALF, 0, 0, 12),
        (_IF_EQUAL, 1, 0, _ETH_P_ARP),
        (_JUMP, 0, 0, len(arp_packet)),
        *arp_packet,
        *_only(_LOAD_HALF, 12, _ETH_P_IPV6),
        *_only(_LOAD_BYTE, 20, socket.IPPROTO_ICMPV6),
        *_only(_LOAD_BYTE, 54, 136),
        # The last 32 bits pass few others; Python compares the whole.
        *_one_of(74, (int(a) & 0xFFFF_FFFF for a in addresses if a.version == 6)),
    ]
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)


def _only(load: int, offset: int, value: int) -> _Program:
    return [(load, 0, 0, offset), (_IF_EQUAL, 1, 0, value), _DROP]


def _one_of(offset: int, words: Iterable[int]) -> _Program:
    passes = [step for word in words for step in ((_IF_EQUAL, 0, 1, word), _PASS)]
    return [(_LOAD_WORD, 0, 0, offset), *passes, _DROP]


def _explained(error: OSError, what: str) -> OSError:
    hint = " (needs CAP_NET_RAW)" if error.errno == errno.EPERM else ""
    return OSError(error.errno, f"{what}: {error.strerror}{hint}")
