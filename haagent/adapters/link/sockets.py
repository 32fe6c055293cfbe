"""Sockets on one interface, which read in portions only what a filter in the kernel passes.

What this module does not do: read or build a frame (``haagent.wire``).

Source: packet(7), netdevice(7).
"""

import asyncio
import errno
import socket
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from fcntl import ioctl

from haagent.core.settings import IPAddress
from haagent.wire import bpf

ETH_P_ALL, ETH_P_ARP, ETH_P_IPV6 = 0x0003, 0x0806, 0x86DD

_MOST, _WINDOW_S = 64, 0.05
"""So many frames are read at most in such a time: a flood says nothing that its first frames did
not, and what does not fit into the socket the kernel throws away.  All others are read at once: a
frame that waits while the role changes would be taken for a conflict."""

_FRAME_SIZE = 2048

PRIORITY = 6
"""The highest that needs no privilege; the default queueing discipline sends it first."""

_ARPHRD_ETHER = 1
_SOL_PACKET = 263
_PACKET_IGNORE_OUTGOING = 23
_SIOCGIFHWADDR = 0x8927


class Portions:
    """Hands what arrives on a socket to ``take``, but no flood.  Owns the socket."""

    def __init__(self, opened: socket.socket, take: Callable[[bytes], None]) -> None:
        """To be made inside the running loop."""
        self.socket = opened
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._end_s = 0.0
        """Of the window, in which so many may still be read."""
        self._left = 0
        self._pause: asyncio.TimerHandle | None = None
        self._listen()

    def read(self) -> None:
        """Read now what waits, as far as may be."""
        if self._end_s <= self._loop.time():
            self._end_s, self._left = self._loop.time() + _WINDOW_S, _MOST
        while self._left:
            try:
                data = self.socket.recv(_FRAME_SIZE)
            except OSError:
                return  # empty, or the link is down, which haagent.adapters.netlink tells
            self._left -= 1
            self._take(data)
        if self._pause is None:
            self._loop.remove_reader(self.socket)
            self._pause = self._loop.call_at(self._end_s, self._listen)

    def close(self) -> None:
        """Give up the socket."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self.socket)
        self.socket.close()

    def _listen(self) -> None:
        self._pause = None
        self._loop.add_reader(self.socket, self.read)


def open_on(interface: str, protocol: int, program: bpf.Program) -> socket.socket:
    """Return a packet socket for whole frames of ``protocol`` that ``program`` passes.

    Raises: OSError.
    """
    # Protocol 0: nothing arrives before the filter stands.
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    try:
        opened.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, PRIORITY)
        pass_only(opened, program)
        opened.bind((interface, protocol))
    except OSError:
        opened.close()
        raise
    return opened


def pass_only(opened: socket.socket, program: bpf.Program) -> None:
    """Replace the filter.  Raises: OSError."""
    opened.setsockopt(socket.SOL_SOCKET, bpf.SO_ATTACH_FILTER, bpf.sock_fprog(program))


def is_on(opened: socket.socket, interface: str) -> bool:
    """Return whether the packet socket is on the interface that bears the name now."""
    # The kernel forgets the index of a deleted interface, and then knows no name.
    return bool(opened.getsockname()[0] == interface)


def mac_of(opened: socket.socket) -> bytes:
    """Return the MAC of the interface of a packet socket.  Raises: OSError."""
    _, _, _, hardware, mac = opened.getsockname()
    if hardware != _ARPHRD_ETHER:
        raise OSError(errno.EOPNOTSUPP, "not an Ethernet interface")
    return bytes(mac)


def own_macs() -> set[bytes]:
    """Return the MACs of all interfaces: of two on one link, our kernel answers from either."""
    macs = set()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # it has gone since
                reply = ioctl(any_socket, _SIOCGIFHWADDR, struct.pack("16s24x", name.encode()))
                macs.add(reply[18:24])
    return macs


def claims_of(addresses: Iterable[IPAddress]) -> bpf.Program:
    """Return the program that passes ARP from, and advertisements of, ``addresses``.

    Offsets count from the Ethernet header: its type is at 12, the sender's address of ARP at 28;
    in IPv6 the next header is at 20, the ICMPv6 type at 54, the end of the target at 74.
    """
    known = frozenset(addresses)
    arp_packet = bpf.one_of(28, (int(a) for a in known if a.version == 4))
    return [
        *bpf.only(bpf.LOAD_WORD, bpf.VLAN_TAG_PRESENT, 0),
        (bpf.LOAD_HALF, 0, 0, 12),
        (bpf.IF_EQUAL, 1, 0, ETH_P_ARP),
        (bpf.JUMP, 0, 0, len(arp_packet)),
        *arp_packet,
        *bpf.only(bpf.LOAD_HALF, 12, ETH_P_IPV6),
        *bpf.only(bpf.LOAD_BYTE, 20, socket.IPPROTO_ICMPV6),
        *bpf.only(bpf.LOAD_BYTE, 54, 136),
        # The last 32 bits pass few others; Python compares the whole.
        *bpf.one_of(74, (int(a) & 0xFFFF_FFFF for a in known if a.version == 6)),
    ]


def explained(error: OSError, what: str) -> OSError:
    """Return ``error`` as one that says what could not be done."""
    hint = " (needs CAP_NET_RAW)" if error.errno == errno.EPERM else ""
    return OSError(error.errno, f"{what}: {error.strerror}{hint}")
